"""C# as the grammar of 2020 read it, which took members of classes outside of one."""

from coderl_jax.metrics.trees import Node, around, within

_BEFORE, _AFTER = "class A{\n", "}"
_RENAMED = {
    "foreach_statement": "for_each_statement",
    "typeof_expression": "type_of_expression",
    "as_expression": "binary_expression",
    "implicit_parameter": "identifier",
}
_WRAPPED = {"this": "this_expression", "base": "base_expression"}
_LITERALS = ("string_literal", "character_literal")


def edits(code: str) -> list[tuple[int, int, str]]:
    """A program is put into a class."""
    return [(0, 0, _BEFORE), (len(code), len(code), _AFTER)]


def corrections(root: Node) -> list[tuple[int, int, str]]:
    """No tree asks for further edits."""
    return []


def reshape(root: Node, code: bytes) -> Node:
    """The tree of 2020 from today's tree of the edited program. Changes the latter."""
    program = Node("compilation_unit", True, None, 0, len(code), within(root, len(code)))
    for node in reversed(list(program.walk())):
        _renew(node, code)
    return program


def _renew(node: Node, code: bytes) -> None:
    """Make one node what it was in 2020; those below are already."""
    if node.kind == "predefined_type" and code[node.start : node.end] == b"void":
        node.kind = "void_keyword"
    node.kind = _RENAMED.get(node.kind, node.kind)
    if node.kind in _LITERALS:
        node.children = [child for child in node.children if not child.kind.endswith("_content")]
    elif node.kind == "identifier":  # some hold a keyword that is none here
        node.children = []
    elif node.kind == "variable_declarator":
        _with_value_clause(node)
    elif node.kind == "assignment_expression" and len(node.children) == 3:
        node.children[1] = around("assignment_operator", [node.children[1]])
    elif node.kind == "switch_body":
        node.children = _joined_sections(node.children)
    if node.kind != "constructor_initializer":
        node.children = [around(_WRAPPED[child.kind], [child], child.field) if child.kind in _WRAPPED else child for child in node.children]


def _with_value_clause(declarator: Node) -> None:
    declarator.children[0].field = "name"
    sign = next((i for i, child in enumerate(declarator.children) if child.kind == "="), None)
    if sign:
        declarator.children[sign:] = [around("equals_value_clause", declarator.children[sign:], "value")]


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
    """`case x :` as one node."""
    colon = next((i for i, child in enumerate(section.children) if child.kind == ":"), None)
    if not colon:
        return
    label = section.children[: colon + 1]
    pattern = label[1]
    if pattern.kind == "constant_pattern":
        label[1:2] = pattern.children
    kind = "default_switch_label" if label[0].kind == "default" else "case_switch_label"
    section.children[: colon + 1] = [around(kind, label)]
