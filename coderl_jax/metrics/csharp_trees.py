"""C# as the grammar of 2020 read it, which took members of classes outside of one."""

from coderl_jax.metrics.trees import Node, around

_BEFORE, _AFTER = "class A{\n", "}"
_RENAMED = {
    "foreach_statement": "for_each_statement",
    "typeof_expression": "type_of_expression",
    "as_expression": "binary_expression",
    "implicit_parameter": "identifier",
}
_WRAPPED = {"this": "this_expression", "base": "base_expression"}
_LITERALS = ("string_literal", "character_literal")


def edits(code: str) -> list[list[tuple[int, int, str]]]:
    """The one way to edit a program: it is put into a class."""
    return [[(0, 0, _BEFORE), (len(code), len(code), _AFTER)]]


def is_misread(root: Node) -> bool:
    """No tree asks for another edit."""
    return False


def reshape(root: Node, code: bytes) -> Node:
    """The tree of 2020 from today's tree of the edited program. Changes the latter."""
    program = Node("compilation_unit", True, None, 0, len(code), _own_part(root, len(code)))
    for node in reversed(list(program.walk())):
        _renew(node, code)
    return program


def _own_part(root: Node, size: int) -> list[Node]:
    """What the program's own text became."""
    children, opened = root.children, root
    while opened.children and opened.children[0].start < 0:
        body = next((child for child in opened.children if child.start < 0 <= child.end and child.children and child.end > 0), None)
        if body is None:
            break
        following = opened.children[opened.children.index(body) + 1 :]
        if opened is root:
            children = following
        else:
            children = following + children
        opened = body
    inner = [child for child in opened.children if child.start >= 0]
    return [child for child in [*inner, *(children if opened is not root else [])] if not (child.kind == "}" and child.start >= size)]


def _renew(node: Node, code: bytes) -> None:
    if node.kind == "predefined_type" and code[node.start : node.end] == b"void":
        node.kind = "void_keyword"
    node.kind = _RENAMED.get(node.kind, node.kind)
    if node.kind in _LITERALS:
        node.children = [child for child in node.children if not child.kind.endswith("_content")]
    elif node.kind == "identifier":
        node.children = []
    elif node.kind == "variable_declarator":
        at = next((i for i, child in enumerate(node.children) if child.kind == "="), None)
        if at:
            node.children[at:] = [around("equals_value_clause", node.children[at:])]
    elif node.kind == "assignment_expression" and len(node.children) == 3:
        node.children[1] = around("assignment_operator", [node.children[1]])
    elif node.kind == "switch_body":
        node.children = _joined_sections(node.children)
    node.children = [around(_WRAPPED[c.kind], [c], c.field) if c.kind in _WRAPPED and not c.named else c for c in node.children]


def _joined_sections(children: list[Node]) -> list[Node]:
    """Labels became nodes; those that share their statements share a section."""
    joined: list[Node] = []
    for child in children:
        if child.kind == "switch_section":
            _gather_label(child)
            previous = joined[-1] if joined else None
            if previous is not None and previous.kind == "switch_section" and previous.children[-1].kind.endswith("switch_label"):
                previous.children += child.children
                previous.end = child.end
                continue
        joined.append(child)
    return joined


def _gather_label(section: Node) -> None:
    colon = next((i for i, child in enumerate(section.children) if child.kind == ":"), None)
    if colon is None:
        return
    label = section.children[: colon + 1]
    pattern = label[1]
    if pattern.kind == "constant_pattern":
        label[1:2] = pattern.children
    kind = "default_switch_label" if label[0].kind == "default" else "case_switch_label"
    section.children[: colon + 1] = [around(kind, label)]
