"""Which lines of a program ran, statement by statement: Python reports only some lines of one that goes over several."""

import ast
from collections.abc import Collection, Iterator

from coderl_jax.syntax import parsed


def statement_lines(program: str, executed: Collection[int]) -> frozenset[int]:
    """All lines of the statements of which a line ran; of one with a body those of its head, with `else` and `finally` as their bodies.

    Args:
      program: its text; one that does not parse keeps its lines as they are.
      executed: lines, from 1, that Python reported.
    """
    try:
        tree = parsed(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset(executed)
    ran = set(executed)
    for node in ast.walk(tree):
        for lines, tell in _heads(node):
            if not ran.isdisjoint(tell):
                ran.update(lines)
    return frozenset(ran)


def _heads(node: ast.AST) -> Iterator[tuple[range, range]]:
    """(lines, lines that tell whether they ran) of a statement or its head, and of the words before its other bodies."""
    if not isinstance(node, ast.stmt | ast.excepthandler | ast.match_case):
        return
    blocks = [block for name in ("body", "handlers", "cases", "orelse", "finalbody") if (block := getattr(node, name, None))]
    if not isinstance(node, ast.match_case):
        head = range(_first_line(node), max(node.lineno, _first_line(blocks[0][0]) - 1 if blocks else node.end_lineno) + 1)
        yield head, head
    for before, block in zip(blocks, blocks[1:], strict=False):
        line = _first_line(block[0])
        yield range(_last_line(before[-1]) + 1, line), range(line, _last_line(block[0]) + 1)


def _first_line(node: ast.AST) -> int:
    node = node.pattern if isinstance(node, ast.match_case) else node
    return min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])


def _last_line(node: ast.AST) -> int:
    return (node.body[-1] if isinstance(node, ast.match_case) else node).end_lineno
