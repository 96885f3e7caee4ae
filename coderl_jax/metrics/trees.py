"""A syntax tree, whatever parser made it."""

import dataclasses
from collections.abc import Iterator


@dataclasses.dataclass(slots=True, eq=False)
class Node:
    """One node of a syntax tree.

    Attributes:
      kind: the grammar's name of it, or of an anonymous token the token's own text.
      named: whether the grammar names it.
      field: which part of its parent it is, or None.
      start: of its text, in bytes of UTF-8 from the program's beginning.
      end: after its text.
      children: named and anonymous ones, in the order of the text.
      missing: whether the parser put it there to mend the program; it then has no text.
    """

    kind: str
    named: bool
    field: str | None
    start: int
    end: int
    children: list["Node"] = dataclasses.field(default_factory=list)
    missing: bool = False

    def part(self, field: str) -> "Node | None":
        """The first child that is this part of the node, or None."""
        return next((child for child in self.children if child.field == field), None)

    @property
    def is_token(self) -> bool:
        """Whether data flows through it as a whole. Python's strings are, whatever they hold; comments never are."""
        return (not self.children or self.kind == "string") and self.kind != "comment"

    def walk(self) -> Iterator["Node"]:
        """The node and all below, each before its children."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(reversed(node.children))

    def tokens(self) -> Iterator["Node"]:
        """The tokens in it, in the order of the text."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            if node.is_token:
                yield node
            else:
                waiting.extend(reversed(node.children))


def around(kind: str, children: list[Node], field: str | None = None) -> Node:
    """A named node of this kind that holds these children, one or more."""
    return Node(kind, True, field, children[0].start, children[-1].end, children)


def within(root: Node, size: int) -> list[Node]:
    """The nodes that a program's own text became, where more stood before it (negative places) and after it (from `size` on)."""
    own, waiting = [], [root]
    while waiting:
        node = waiting.pop()
        if node.start < 0 <= node.end:
            waiting.extend(reversed(node.children))
        elif 0 <= node.start < size:
            own.append(node)
    if own and own[-1].kind == "ERROR":  # may have taken in what was put after it
        own[-1].children = [child for child in own[-1].children if child.start < size]
    return own
