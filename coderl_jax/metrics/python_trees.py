"""Python as the grammar of 2020 read it."""

from coderl_jax.metrics.trees import Node


def edits(code: str) -> list[tuple[int, int, str]]:
    """A program is read as it is."""
    return []


def corrections(root: Node) -> list[tuple[int, int, str]]:
    """No tree asks for further edits."""
    return []


def reshape(root: Node, code: bytes) -> Node:
    """The tree of 2020 from today's tree. A string's text and quotes had no names. Changes the latter."""
    for node in root.walk():
        if node.kind == "string":
            node.children = [part for child in node.children for part in (child.children if child.kind == "string_content" else [child])]
            for child in node.children:
                child.named = child.named and child.kind not in ("string_start", "string_end")
    return root
