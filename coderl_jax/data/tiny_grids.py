"""Operations of the `tiny` problems that take a grid: rows of whole numbers, all of the same length."""

from collections.abc import Callable
from typing import Any

from coderl_jax.data.tiny_operations import FACTORS, THRESHOLDS, Operation, Values

_Grid = list[list[int]]


def _transposed(grid: _Grid) -> _Grid:
    return [list(column) for column in zip(*grid, strict=True)]


def _border(grid: _Grid) -> int:
    return sum(sum(row) if i in (0, len(grid) - 1) else row[0] + (row[-1] if len(row) > 1 else 0) for i, row in enumerate(grid))


def _cells(name: str, phrases: tuple[str, ...], code: str, function: Callable[[int, Any], int], values: Values) -> Operation:
    return Operation(
        f"cells {name}", "grid", "grid", phrases,
        (
            f"[[{code} for v in row] for row in {{x}}]",
            f"{{y}} = []\nfor row in {{x}}:\n    {{y}}.append([{code} for v in row])",
        ),
        lambda grid, k: [[function(v, k) for v in row] for row in grid], values,
    )


_SUMMARIES = (
    Operation(
        "row sums", "grid", "ints",
        ("the sum of each row of {x}", "the row sums of {x}"),
        ("[sum(row) for row in {x}]", "list(map(sum, {x}))", "{y} = []\nfor row in {x}:\n    {y}.append(sum(row))"),
        lambda grid: [sum(row) for row in grid],
    ),
    Operation(
        "column sums", "grid", "ints",
        ("the sum of each column of {x}", "the column sums of {x}"),
        ("[sum(c) for c in zip(*{x})]", "list(map(sum, zip(*{x})))", "[sum(row[i] for row in {x}) for i in range(len({x}[0]))]"),
        lambda grid: [sum(column) for column in zip(*grid, strict=True)],
    ),
    Operation(
        "row maxima", "grid", "ints",
        ("the largest number of each row of {x}", "the maximum of every row of {x}"),
        ("[max(row) for row in {x}]", "list(map(max, {x}))", "{y} = []\nfor row in {x}:\n    {y}.append(max(row))"),
        lambda grid: [max(row) for row in grid],
    ),
    Operation(
        "column minima", "grid", "ints",
        ("the smallest number of each column of {x}", "the minimum of every column of {x}"),
        ("[min(c) for c in zip(*{x})]", "list(map(min, zip(*{x})))", "[min(row[i] for row in {x}) for i in range(len({x}[0]))]"),
        lambda grid: [min(column) for column in zip(*grid, strict=True)],
    ),
    Operation(
        "diagonal", "grid", "ints",
        ("the diagonal of {x} from the upper left corner", "the numbers of {x} whose row and column index are equal"),
        ("[row[i] for i, row in enumerate({x}) if i < len(row)]", "[{x}[i][i] for i in range(min(len({x}), len({x}[0])))]"),
        lambda grid: [row[i] for i, row in enumerate(grid) if i < len(row)],
    ),
    Operation(
        "flattened", "grid", "ints",
        ("the numbers of {x} row by row", "all rows of {x} one after the other"),
        ("[v for row in {x} for v in row]", "sum({x}, [])", "{y} = []\nfor row in {x}:\n    {y} += row"),
        lambda grid: [v for row in grid for v in row],
    ),
    Operation(
        "border sum", "grid", "int",
        ("the sum of the numbers on the border of {x}", "the total of the cells at the edge of {x}"),
        (
            "{y} = 0\nfor i, row in enumerate({x}):\n    for j, v in enumerate(row):\n"
            "        if i in (0, len({x}) - 1) or j in (0, len(row) - 1):\n            {y} += v",
            "sum(map(sum, {x})) - sum(sum(row[1:-1]) for row in {x}[1:-1])",
        ),
        _border,
    ),
    Operation(
        "cells greater", "grid", "int",
        ("how many cells of {x} are greater than {k}", "the number of cells of {x} above {k}"),
        (
            "sum(v > {k} for row in {x} for v in row)",
            "{y} = 0\nfor row in {x}:\n    for v in row:\n        if v > {k}:\n            {y} += 1",
        ),
        lambda grid, k: sum(v > k for row in grid for v in row), THRESHOLDS,
    ),
    Operation(
        "some row sums to", "grid", "bool",
        ("whether some row of {x} adds up to more than {k}", "if any row of {x} has a sum above {k}"),
        ("any(sum(row) > {k} for row in {x})", "max(sum(row) for row in {x}) > {k}"),
        lambda grid, k: any(sum(row) > k for row in grid), THRESHOLDS,
    ),
)

_CHANGES = (
    Operation(
        "transposed", "grid", "grid",
        ("{x} transposed", "{x} with rows and columns exchanged"),
        ("[list(c) for c in zip(*{x})]", "list(map(list, zip(*{x})))", "[[row[i] for row in {x}] for i in range(len({x}[0]))]"),
        _transposed,
    ),
    Operation(
        "rows mirrored", "grid", "grid",
        ("{x} with each row reversed", "{x} mirrored from left to right"),
        ("[row[::-1] for row in {x}]", "{y} = []\nfor row in {x}:\n    {y}.append(row[::-1])"),
        lambda grid: [row[::-1] for row in grid],
    ),
    Operation(
        "upside down", "grid", "grid",
        ("{x} turned upside down", "{x} with its rows from last to first"),
        ("{x}[::-1]", "list(reversed({x}))"),
        lambda grid: grid[::-1],
    ),
    Operation(
        "turned right", "grid", "grid",
        ("{x} turned to the right by 90 degrees", "{x} rotated clockwise"),
        ("[list(c) for c in zip(*{x}[::-1])]", "list(map(list, zip(*{x}[::-1])))"),
        lambda grid: _transposed(grid[::-1]),
    ),
    Operation(
        "rows sorted", "grid", "grid",
        ("{x} with each row sorted", "{x} with every row in increasing order"),
        ("[sorted(row) for row in {x}]", "list(map(sorted, {x}))"),
        lambda grid: [sorted(row) for row in grid],
    ),
    _cells("plus", ("{x} with {k} added to each cell", "every cell of {x} increased by {k}"), "v + {k}", lambda v, k: v + k, THRESHOLDS),
    _cells(
        "modulo", ("each cell of {x} modulo {k}", "{x} with every cell replaced by its remainder divided by {k}"),
        "v % {k}", lambda v, k: v % k, FACTORS,
    ),
)

OPERATIONS = _SUMMARIES + _CHANGES
