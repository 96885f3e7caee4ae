"""Where the variables of a program get their values from, as CodeBLEU reads it off the syntax tree.

The life of a flow: the tree is walked in the order of execution with a memory of where each variable was last set. Each use of
a variable and each assignment is a flow. Flows at one place of the program are joined, those that neither come from
anywhere nor lead anywhere are dropped, and variables get numbers in place of names, so that renaming one changes nothing.
"""

import bisect
import dataclasses
from collections.abc import Callable, Iterable
from typing import NamedTuple

from coderl_jax.metrics.set_order import set_order
from coderl_jax.metrics.trees import Node

States = dict[str, list[int]]
"""Variable -> the places, by number of token, where it may have been set last."""


class Flow(NamedTuple):
    """The value of a variable at a place comes from, or is computed from, those of other places."""

    name: str
    place: int
    relation: str
    sources: list[str]
    source_places: list[int]


NumberedFlow = tuple[int, str, tuple[int, ...]]
"""Variable, relation, sources; variables are numbers in the order of appearance."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kinds:
    """What the kinds of nodes are called whose flows differ from those of their parts.

    Attributes:
      assignments: `left` gets the value of `right`.
      increment: gets its value from itself.
      for_each: the loop over a collection.
      item: the part of `for_each` that gets the value of `collection`.
    """

    assignments: tuple[str, ...]
    increment: str
    for_each: str
    item: str
    collection: str


KINDS = {
    "java": Kinds(
        assignments=("assignment_expression",),
        increment="update_expression",
        for_each="enhanced_for_statement",
        item="name",
        collection="value",
    ),
    "c_sharp": Kinds(
        assignments=("assignment_expression",),
        increment="postfix_unary_expression",
        for_each="for_each_statement",
        item="left",
        collection="right",
    ),
    "python": Kinds(
        assignments=("assignment", "augmented_assignment", "for_in_clause"),
        increment="",
        for_each="for_statement",
        item="left",
        collection="right",
    ),
}


def data_flow(tree: Node, code: str, language: str) -> list[NumberedFlow]:
    """The flows of a program, in the order of its text.

    A program that cannot be read (a loop without a body, say, or nested too deep) has none, as in CodeXGLUE.

    Args:
      tree: of the program.
      code: the program.
      language: a key of `KINDS`.
    """
    reader = (_PythonReader if language == "python" else _Reader)(tree, code, KINDS[language])
    try:
        flows, _ = reader.read(tree, {})
    except (_Unreadable, RecursionError):
        return []
    flows.sort(key=lambda flow: flow.place)
    connected = {flow.place for flow in flows if flow.source_places} | {place for flow in flows for place in flow.source_places}
    joined: dict[int, Flow] = {}
    for flow in flows:
        if flow.place in connected:
            known = joined.get(flow.place)
            joined[flow.place] = flow if known is None else flow._replace(sources=set_order([*known.sources, *flow.sources]))
    return _numbered(joined.values())


def _numbered(flows: Iterable[Flow]) -> list[NumberedFlow]:
    numbers: dict[str, int] = {}
    for flow in flows:
        for name in (*flow.sources, flow.name):
            numbers.setdefault(name, len(numbers))
    return [(numbers[flow.name], flow.relation, tuple(numbers[source] for source in flow.sources)) for flow in flows]


class _Unreadable(Exception):
    """A node lacks a part that its flows hang on."""


class _Reader:
    """Flows of Java and C#."""

    def __init__(self, tree: Node, code: str, kinds: Kinds):
        text = _text_of(code)
        # Two tokens at one place (both put there by the parser) are one: the later.
        self._tokens = {(token.start, token.end): (i, text(token)) for i, token in enumerate(tree.tokens())}
        self._kinds = kinds

    def read(self, node: Node, states: States) -> tuple[list[Flow], States]:
        """The flows in a node and the states after it. `states` is left as it is."""
        kinds = self._kinds
        if node.is_token:
            return self._use(node, dict(states))
        if node.kind == "variable_declarator":
            return self._declaration(node, states)
        if node.kind in kinds.assignments:
            return self._assignment(node.part("left"), node.part("right"), "computedFrom", states)
        if node.kind == kinds.increment:
            return self._set(node, node, "computedFrom", [], dict(states))
        if node.kind == "if_statement":
            return self._branches(node, states)
        if node.kind == "for_statement":
            flows, states = self._in_turn(node.children, states)
            start = next((i for i, child in enumerate(node.children) if child.kind == "local_variable_declaration"), len(node.children))
            again, states = self._in_turn(node.children[start + 1 :], states)
            return _once(flows + again), states
        if node.kind == kinds.for_each:
            return self._for_each(node, states)
        if node.kind == "while_statement":
            flows, states = self._in_turn(node.children * 2, states)
            return _once(flows), states
        return self._in_turn(node.children, states)

    def _in_turn(self, nodes: Iterable[Node], states: States) -> tuple[list[Flow], States]:
        flows = []
        for node in nodes:
            more, states = self.read(node, states)
            flows += more
        return flows, states

    def _use(self, token: Node, states: States) -> tuple[list[Flow], States]:
        place, name = self._tokens[token.start, token.end]
        if name == token.kind:
            return [], states
        if name in states:
            return [Flow(name, place, "comesFrom", [name], list(states[name]))], states
        if token.kind == "identifier":
            states[name] = [place]
        return [Flow(name, place, "comesFrom", [], [])], states

    def _variables(self, node: Node | None) -> list[tuple[int, str]]:
        """Place and name of each token in a node that is no keyword or sign."""
        if node is None:
            raise _Unreadable
        found = ((token.kind, *self._tokens[token.start, token.end]) for token in node.tokens())
        return [(place, name) for kind, place, name in found if name != kind]

    def _declaration(self, node: Node, states: States) -> tuple[list[Flow], States]:
        name, value = node.part("name"), node.part("value")
        if value is not None:
            return self._assignment(name, value, "comesFrom", states)
        variables = self._variables(name)
        return [Flow(name, place, "comesFrom", [], []) for place, name in variables], states | {name: [place] for place, name in variables}

    def _assignment(self, target: Node | None, value: Node | None, relation: str, states: States) -> tuple[list[Flow], States]:
        if value is None:
            raise _Unreadable
        flows, states = self.read(value, states)
        return self._set(target, value, relation, flows, dict(states))

    def _set(self, target: Node | None, value: Node, relation: str, flows: list[Flow], states: States) -> tuple[list[Flow], States]:
        sources = self._variables(value)
        for place, name in self._variables(target):
            flows += [Flow(name, place, relation, [source], [source_place]) for source_place, source in sources]
            states[name] = [place]
        return flows, states

    def _branches(self, node: Node, states: States) -> tuple[list[Flow], States]:
        flows: list[Flow] = []
        outcomes, current = [], states
        for child in node.children:
            if self._is_branch(child, bool(outcomes)):
                more, after = self.read(child, states)
                outcomes.append(after)
            else:
                more, current = self.read(child, current)
            flows += more
        return flows, _either([*outcomes, current], node, states)

    def _is_branch(self, child: Node, begun: bool) -> bool:
        """Whether a part of an `if` runs in one branch only; `begun`: a part before it does."""
        return begun or child.kind in ("if_statement", "else")

    def _for_each(self, node: Node, states: States) -> tuple[list[Flow], States]:
        flows: list[Flow] = []
        for _ in range(2):
            more, states = self._next_item(node, states)
            flows += more
            more, states = self._in_turn(self._body(node), states)
            flows += more
        return _once(flows), states

    def _next_item(self, node: Node, states: States) -> tuple[list[Flow], States]:
        """The item of a loop gets its value from the collection."""
        return self._assignment(node.part(self._kinds.item), node.part(self._kinds.collection), "computedFrom", states)

    def _body(self, node: Node) -> list[Node]:
        """What a loop repeats."""
        body = node.part("body")
        if body is None:
            raise _Unreadable
        return [body]


class _PythonReader(_Reader):
    """Flows of Python: several targets at once, comprehensions, `elif`."""

    def read(self, node: Node, states: States) -> tuple[list[Flow], States]:
        if node.is_token or node.kind == "while_statement":
            return super().read(node, states)
        if node.kind == "default_parameter":
            return self._declaration(node, states)
        if node.kind == "for_in_clause":
            return self._pairs([node.part("left")], [node.children[-1]], states)
        if node.kind in self._kinds.assignments:
            return ([], states) if node.part("right") is None else self._pairs(*_paired(node), states)
        if node.kind == "if_statement":
            return self._branches(node, states)
        if node.kind == self._kinds.for_each:
            return self._for_each(node, states)
        return self._in_turn(sorted(node.children, key=lambda child: child.kind != "for_in_clause"), states)

    def _pairs(self, targets: list, values: list, states: States) -> tuple[list[Flow], States]:
        flows, states = self._in_turn(values, states)
        states = dict(states)
        for target, value in zip(targets, values, strict=True):
            sources = self._variables(value)
            for place, name in self._variables(target):
                flows.append(Flow(name, place, "computedFrom", [source for _, source in sources], [at for at, _ in sources]))
                states[name] = [place]
        return flows, states

    def _is_branch(self, child: Node, begun: bool) -> bool:
        return child.kind in ("elif_clause", "else_clause")

    def _next_item(self, node: Node, states: States) -> tuple[list[Flow], States]:
        return self._pairs(*_paired(node), states)

    def _body(self, node: Node) -> list[Node]:
        return [child for child in node.children[-1:] if child.kind == "block"]


def _paired(node: Node) -> tuple[list[Node], list[Node]]:
    """What is assigned to what: part by part where both sides have as many parts, else as a whole."""
    left, right = node.part("left"), node.part("right")
    if left is None or right is None:
        raise _Unreadable
    targets, values = ([part for part in side.children if part.kind != ","] for side in (left, right))
    return (targets, values) if len(targets) == len(values) and targets else ([left], [right])


def _either(outcomes: list[States], node: Node, before: States) -> States:
    """What holds after an `if`: any of its branches may have run, or none where it has no `else`."""
    if not any("else" in child.kind for child in node.children):
        outcomes = [*outcomes, before]
    joined: dict[str, set[int]] = {}
    for states in outcomes:
        for name, places in states.items():
            joined.setdefault(name, set()).update(places)
    return {name: sorted(places) for name, places in joined.items()}


def _once(flows: list[Flow]) -> list[Flow]:
    """The flows of a body that was read twice, equal ones joined."""
    joined: dict[tuple[str, int, str], Flow] = {}
    for flow in flows:
        known = joined.get(flow[:3])
        if known is not None:
            places = sorted({*known.source_places, *flow.source_places})
            flow = known._replace(sources=set_order([*known.sources, *flow.sources]), source_places=places)
        joined[flow[:3]] = flow
    return list(joined.values())


def _text_of(code: str) -> Callable[[Node], str]:
    """A function from a token to its text.

    CodeXGLUE takes columns that count bytes for columns that count characters, and drops line ends within tokens.
    """
    if code.isascii() and "\n" not in code:
        return lambda token: code[token.start : token.end]
    lines = code.split("\n")
    starts = [0]
    for line in lines[:-1]:
        starts.append(starts[-1] + len(line.encode("utf-8", "surrogatepass")) + 1)

    def text(token: Node) -> str:
        first, last = (bisect.bisect_right(starts, offset) - 1 for offset in (token.start, token.end))
        start, end = token.start - starts[first], token.end - starts[last]
        if first == last:
            return lines[first][start:end]
        return "".join([lines[first][start:], *lines[first + 1 : last], lines[last][:end]])

    return text
