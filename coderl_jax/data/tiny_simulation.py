"""Operations of the `tiny` problems that play something out step by step: walks, tanks, wallets, circles, stacks."""

import itertools
import re
from collections.abc import Iterator

from coderl_jax.data.tiny_operations import SHARES, THRESHOLDS, TOTALS, Operation

_letters = re.compile("[a-z]*").fullmatch
_WAYS = {"L": (-1, 0), "R": (1, 0), "D": (0, -1), "U": (0, 1)}
_BACK = str.maketrans("LRUD", "RLDU")


def _places(moves: str) -> Iterator[tuple[int, int]]:
    x, y = 0, 0
    yield x, y
    for move in moves:
        x, y = x + _WAYS[move][0], y + _WAYS[move][1]
        yield x, y


def _end(moves: str) -> tuple[int, int]:
    return list(_places(moves))[-1]


def _between_walls(moves: str, k: int) -> int:
    at = 0
    for move in moves:
        at = min(k, max(0, at + _WAYS[move][0]))
    return at


def _tank(values: list[int], k: int) -> int:
    level = 0
    for value in values:
        level = min(k, max(0, level + value))
    return level


def _pay(prices: list[int], k: int) -> tuple[int, int]:
    """What is left of a wallet, and how many prices it could not pay."""
    refused = 0
    for price in prices:
        if price <= k:
            k -= price
        else:
            refused += 1
    return k, refused


def _last_of_circle(values: list[int], k: int) -> int:
    left, at = list(values), 0
    while len(left) > 1:
        at = (at + k - 1) % len(left)
        left.pop(at)
    return left[0]


def _stack(values: list[int]) -> list[int]:
    stack: list[int] = []
    for value in values:
        if value >= 0:
            stack.append(value)
        elif stack:
            stack.pop()
    return stack


def _cancelled(items: list | str) -> list:
    left: list = []
    for item in items:
        if left and left[-1] == item:
            left.pop()
        else:
            left.append(item)
    return left


_WALKS = (
    Operation(
        "walk end", "moves", "ints",
        (
            "the column and row where the walk {x} from 0 0 ends (R adds to the column, U to the row)",
            "the end of the walk {x}, column then row",
        ),
        (
            '[{x}.count("R") - {x}.count("L"), {x}.count("U") - {x}.count("D")]',
            'd = {"L": (-1, 0), "R": (1, 0), "D": (0, -1), "U": (0, 1)}\n{y} = [sum(d[c][i] for c in {x}) for i in range(2)]',
        ),
        lambda moves: list(_end(moves)),
    ),
    Operation(
        "walk distance", "moves", "int",
        ("how many steps the end of the walk {x} is from its start", "the distance in steps between start and end of the walk {x}"),
        (
            'abs({x}.count("R") - {x}.count("L")) + abs({x}.count("U") - {x}.count("D"))',
            'd = 0\ni = 0\nfor c in {x}:\n    d += (c == "R") - (c == "L")\n    i += (c == "U") - (c == "D")\n{y} = abs(d) + abs(i)',
        ),
        lambda moves: sum(map(abs, _end(moves))),
    ),
    Operation(
        "comes home", "moves", "bool",
        ("whether the walk {x} ends where it starts", "if the walk {x} comes back to its start"),
        (
            '{x}.count("R") == {x}.count("L") and {x}.count("U") == {x}.count("D")',
            'd = 0\ni = 0\nfor c in {x}:\n    d += (c == "R") - (c == "L")\n    i += (c == "U") - (c == "D")\n{y} = d == 0 and i == 0',
        ),
        lambda moves: _end(moves) == (0, 0),
    ),
    Operation(
        "farthest right", "moves", "int",
        ("the largest column that the walk {x} reaches from column 0", "how far right of its start the walk {x} gets"),
        (
            'd = 0\n{y} = 0\nfor c in {x}:\n    d += (c == "R") - (c == "L")\n    {y} = max({y}, d)',
            'max({x}[:i].count("R") - {x}[:i].count("L") for i in range(len({x}) + 1))',
        ),
        lambda moves: max(x for x, _ in _places(moves)),
    ),
    Operation(
        "turns", "moves", "int",
        ("how often the walk {x} changes its direction", "the number of turns in the walk {x}"),
        (
            "sum(p != c for p, c in zip({x}, {x}[1:]))",
            "{y} = 0\nfor i in range(1, len({x})):\n    if {x}[i] != {x}[i - 1]:\n        {y} += 1",
        ),
        lambda moves: sum(p != c for p, c in itertools.pairwise(moves)),
    ),
    Operation(
        "between walls", "moves", "int",
        (
            "the last column of the walk {x} from column 0 if it cannot leave columns 0 to {k}",
            "where the walk {x} from column 0 ends between walls left of column 0 and right of column {k}",
        ),
        (
            '{y} = 0\nfor c in {x}:\n    {y} = min({k}, max(0, {y} + (c == "R") - (c == "L")))',
            '{y} = 0\nfor c in {x}:\n    if c == "R" and {y} < {k}:\n        {y} += 1\n    elif c == "L" and {y} > 0:\n        {y} -= 1',
        ),
        _between_walls, SHARES,
    ),
    Operation(
        "walked back", "moves", "moves",
        ("the moves that walk {x} back", "the walk {x} from its end to its start"),
        (
            '"".join({"L": "R", "R": "L", "U": "D", "D": "U"}[c] for c in reversed({x}))',
            '{x}[::-1].translate(str.maketrans("LRUD", "RLDU"))',
        ),
        lambda moves: moves[::-1].translate(_BACK),
    ),
)

_LISTS = (
    Operation(
        "tank", "ints", "int",
        (
            "the last level of an empty tank that gains each number of {x}, kept between 0 and {k}",
            "what a tank for {k}, empty at first, holds after the changes {x} (never below 0, never above {k})",
        ),
        (
            "{y} = 0\nfor v in {x}:\n    {y} = min({k}, max(0, {y} + v))",
            "{y} = 0\nfor v in {x}:\n    {y} += v\n    if {y} > {k}:\n        {y} = {k}\n    if {y} < 0:\n        {y} = 0",
        ),
        _tank, THRESHOLDS,
    ),
    Operation(
        "left in wallet", "ints", "int",
        (
            "what is left of {k} coins when each price of {x} is paid that can be paid",
            "the rest of {k} after paying every affordable price of {x}",
        ),
        (
            "{y} = {k}\nfor v in {x}:\n    if v <= {y}:\n        {y} -= v",
            "{y} = {k}\nfor v in {x}:\n    {y} = {y} - v if v <= {y} else {y}",
        ),
        lambda values, k: _pay(values, k)[0], TOTALS, lambda values: min(values, default=0) >= 0,
    ),
    Operation(
        "refused", "ints", "int",
        ("how many prices of {x} cannot be paid in turn from {k} coins", "the number of prices of {x} that a purse of {k} refuses in turn"),
        (
            "d = {k}\n{y} = 0\nfor v in {x}:\n    if v <= d:\n        d -= v\n    else:\n        {y} += 1",
            "d = [{k}]\nfor v in {x}:\n    if v <= d[-1]:\n        d.append(d[-1] - v)\n{y} = len({x}) - len(d) + 1",
        ),
        lambda values, k: _pay(values, k)[1], TOTALS, lambda values: min(values, default=0) >= 0,
    ),
    Operation(
        "last of circle", "ints", "int",
        (
            "the number of the circle {x} that is left when every {k}th is removed",
            "which number stays when, round and round, each {k}th of {x} goes",
        ),
        (
            "d = list({x})\ni = 0\nwhile len(d) > 1:\n    i = (i + {k} - 1) % len(d)\n    d.pop(i)\n{y} = d[0]",
            "d = list({x})\nwhile len(d) > 1:\n    for i in range({k} - 1):\n        d.append(d.pop(0))\n    d.pop(0)\n{y} = d[0]",
        ),
        _last_of_circle, SHARES, bool,
    ),
    Operation(
        "moved left", "ints", "ints",
        ("{x} after moving the first number to the end {k} times", "{x} rotated to the left by {k} places"),
        (
            "{y} = list({x})\nfor i in range({k}):\n    {y}.append({y}.pop(0))",
            "{x}[{k} % len({x}):] + {x}[:{k} % len({x})]",
        ),
        lambda values, k: values[k % len(values) :] + values[: k % len(values)], SHARES, bool,
    ),
    Operation(
        "stack", "ints", "ints",
        ("the stack after pushing each number of {x}, where one below zero removes the top instead",
         "what is on a stack after {x}, negative numbers taking one off and others being put on"),
        (
            "{y} = []\nfor v in {x}:\n    if v >= 0:\n        {y}.append(v)\n    elif {y}:\n        {y}.pop()",
            "{y} = []\nfor v in {x}:\n    {y} = {y} + [v] if v >= 0 else {y}[:-1]",
        ),
        _stack,
    ),
    Operation(
        "cancelled", "ints", "ints",
        ("{x} with equal neighbours removed in pairs until there are none", "what is left of {x} when neighbours that are equal cancel"),
        (
            "{y} = []\nfor v in {x}:\n    if {y} and {y}[-1] == v:\n        {y}.pop()\n    else:\n        {y}.append(v)",
            "{y} = []\nfor v in {x}:\n    {y} = {y}[:-1] if {y}[-1:] == [v] else {y} + [v]",
        ),
        _cancelled,
    ),
)

_WORDS = (
    Operation(
        "letters cancelled", "word", "word",
        (
            "{x} with equal neighbouring letters removed in pairs until there are none",
            "what is left of {x} when equal letters side by side cancel",
        ),
        (
            '{y} = ""\nfor c in {x}:\n    {y} = {y}[:-1] if {y}[-1:] == c else {y} + c',
            'd = []\nfor c in {x}:\n    if d and d[-1] == c:\n        d.pop()\n    else:\n        d.append(c)\n{y} = "".join(d)',
        ),
        lambda word: "".join(_cancelled(word)), defined=_letters,
    ),
)

OPERATIONS = _WALKS + _LISTS + _WORDS
