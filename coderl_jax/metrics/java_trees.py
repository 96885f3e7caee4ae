"""Java as the grammar of 2020 read it.

That grammar knew no method outside of a class. It read `int f(int x) { ... }` as the statements of a block, and mended on the way:
a declaration `int f` with its semicolon missing, the parameters as an error, a block. Today's grammar does the same to a method
that stands within a block.
"""

import re

from coderl_jax.metrics.trees import Node, around, within

# What stands before the method makes it dear for the parser to pass over the opening brace.
_BEFORE = "{" + "f();" * 8 + "\n"
_AFTER = "}"

_TOKEN = re.compile(
    r"""
    "(?:[^"\\\n]|\\(?:.|\n))*" | '(?:[^'\\\n]|\\(?:.|\n))+'             # literals
    | (?P<no_token>"(?:[^"\\\n]|\\(?:.|\n))* | '(?:[^'\\\n]|\\(?:.|\n))* | \\ )
    | [\w$]+ | [{}]
    """,
    re.VERBOSE,
)
_SKIPPED = "#"  # which no token begins with
_NEW_KEYWORDS = {"record", "sealed", "permits", "yield", "when", "_"}

# How tightly operators bound in the grammar of 2020, loosest first. It was wrong about comparisons.
_LEVELS = ("|| | ^", "&& &", "+ -", "< > <= >= == != instanceof", "* / % << >> >>>")
_TIGHTNESS = {operator: level for level, operators in enumerate(_LEVELS) for operator in operators.split()}
_HOLDERS = ("argument_list", "array_initializer", "return_statement", "throw_statement", "variable_declarator")  # of expressions
_OPERATIONS = ("binary_expression", "instanceof_expression")


def edits(code: str) -> list[tuple[int, int, str]]:
    """Edits by which today's parser meets what that of 2020 met.

    A string was one token then and is several now, which matters where the parser skips some: a character literal is still
    one, and may hold any number of characters. A quote that nothing closed took the rest of its line with it, and a backslash
    outside of literals was no token. What became a keyword since is made a name.
    """
    changes = [(0, 0, _BEFORE)]
    for match in _TOKEN.finditer(code):
        token, (start, end) = match[0], match.span()
        if match["no_token"]:
            changes.append((start, end, _SKIPPED * len(token)))
        elif token[0] == '"':
            changes.append((start, end, "'" + (re.sub(r"[\\'\n]", " ", token[1:-1]) or " ") + "'"))
        elif token in _NEW_KEYWORDS:
            changes.append((start, end, token[:-1] + "$"))
    return [*changes, (len(code), len(code), _AFTER)]


def corrections(root: Node) -> list[tuple[int, int, str]]:
    """Further edits, in bytes, where today's parser read what that of 2020 could not have read.

    Mending, it passed over the brace that opens the method's body together with a `throws` before it: that gets a semicolon.
    And it took a `switch` for an expression, which was a statement only: another statement's keyword stands for it.
    """
    further = []
    for child in root.children:
        if child.kind == "ERROR" and child.children and child.children[0].kind == "formal_parameters":
            braces = [part.start for part in child.children if part.kind == "{"]
            if braces and any(part.kind == "throws" for part in child.children):
                further.append((braces[0], braces[0], ";"))
    for node in root.walk():
        if node.kind.endswith("_expression") or node.kind in _HOLDERS:
            further += [(child.start, child.start + len("switch"), "if") for child in node.children if child.kind == "switch_statement"]
    return further


def reshape(root: Node, code: bytes) -> Node:
    """The tree of 2020 from today's tree of the edited program. Changes the latter.

    Args:
      root: today's tree, places as in the program.
      code: the program.
    """
    # A brace of the program that closed what was put before it closes nothing of its own.
    children = [around("ERROR", [node]) if node.kind == "}" else node for node in within(root, len(code))]
    unclosed = _unclosed_braces(code.decode("utf-8", "surrogatepass"))
    kind, children = _left_open(children, len(code), unclosed) if unclosed > 0 else ("program", children)
    program = Node(kind, True, None, 0, len(code), children)
    for node in reversed(list(program.walk())):
        _renew(node, code)
    return program


def _unclosed_braces(code: str) -> int:
    tokens = [match[0] for match in _TOKEN.finditer(code)]
    return tokens.count("{") - tokens.count("}")


def _left_open(children: list[Node], size: int, unclosed: int) -> tuple[str, list[Node]]:
    """Kind and children of a program that ends too early.

    Where one brace stays open, the grammar of 2020 put the whole body into the error that began with the parameters; where
    more do, it left all that is open in pieces.
    """
    pieces: list[Node] = []
    while children:
        if _is_added_brace(children[-1], size):
            children = children[:-1]
        elif _ends_open(children[-1], size):
            pieces += children[:-1]
            children = children[-1].children
            for child in children:
                child.field = None
        else:
            pieces += children
            break
    error = next((i for i, piece in enumerate(pieces) if piece.kind == "ERROR" and piece.children), None)
    if unclosed > 1 or error is None:
        return "ERROR", pieces
    return "program", [*pieces[:error], around("ERROR", [*pieces[error].children, *pieces[error + 1 :]])]


def _is_added_brace(node: Node, size: int) -> bool:
    return node.kind == "}" and (node.missing or node.start >= size)


def _ends_open(node: Node, size: int) -> bool:
    while node.children:
        node = node.children[-1]
    return _is_added_brace(node, size)


def _renew(node: Node, code: bytes) -> None:
    """Make one node what it was in 2020; those below are already."""
    kind = node.kind
    if kind == "identifier" and code[node.start : node.end] == b"class":  # left over where the parser skipped what is before
        node.kind, node.named = "class", False
    elif kind == "character_literal" and code[node.start : node.start + 1] == b'"':
        node.kind = "string_literal"
    elif kind == "octal_integer_literal" and code[node.start + 1 : node.start + 2] not in (b"o", b"O"):
        node.kind = "decimal_integer_literal"
    elif kind == "class_literal" and node.children[0].kind in ("type_identifier", "scoped_type_identifier"):
        _as_field_access(node)
    elif kind == ";" and node.start == node.end:  # put in by an edit
        node.missing = True
    elif kind == "switch_expression":
        node.kind = "switch_statement"
    elif kind == "switch_block":
        node.children = [part for child in node.children for part in _cases(child)]
    if kind not in _OPERATIONS:
        node.children = [_rebound(child) if child.kind in _OPERATIONS else child for child in node.children]


def _as_field_access(node: Node) -> None:
    """`a.b.class` was taken for a field named class."""
    for access in node.walk():
        if access.kind in ("class_literal", "scoped_type_identifier"):
            access.kind = "field_access"
            access.children[0].field, access.children[-1].field = "object", "field"
        elif access.kind in ("type_identifier", "class"):
            access.kind, access.named = "identifier", True


def _cases(group: Node) -> list[Node]:
    """Labels, each with its colon, and statements."""
    if group.kind != "switch_block_statement_group":
        return [group]
    parts: list[Node] = []
    for child in group.children:
        if child.kind == ":" and parts and parts[-1].kind == "switch_label":
            parts[-1].children.append(child)
            parts[-1].end = child.end
        else:
            parts.append(child)
    return parts


def _rebound(operation: Node) -> Node:
    """The same operands and operators, bound as tightly as in 2020."""
    field = operation.field
    first, *others = _sequence(operation)
    operands, operators = [first], []

    def bind() -> None:
        right, operator, left = operands.pop(), operators.pop(), operands.pop()
        left.field, right.field = "left", "right"
        operands.append(around(_OPERATIONS[operator.kind == "instanceof"], [left, operator, right]))

    for operator, operand in zip(others[::2], others[1::2], strict=True):
        while operators and _TIGHTNESS[operators[-1].kind] >= _TIGHTNESS[operator.kind]:
            bind()
        operators.append(operator)
        operands.append(operand)
    while operators:
        bind()
    operands[0].field = field
    return operands[0]


def _sequence(operation: Node) -> list[Node]:
    """Operands and operators in turn. What is not made of three parts is an operand."""
    sequence, waiting = [], [operation]
    while waiting:
        node = waiting.pop()
        if node.kind in _OPERATIONS and len(node.children) == 3 and node.children[1].kind in _TIGHTNESS:
            waiting += reversed(node.children)
        else:
            sequence.append(node)
    return sequence
