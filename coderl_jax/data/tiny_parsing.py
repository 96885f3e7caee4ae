"""Operations of the `tiny` problems that read a notation: sums (`7+12-3`), brackets, runs (`a3b2`) and pairs (`a=3,b=5`)."""

import itertools
import re

from coderl_jax.data.tiny_operations import LETTERS, Operation

_lower_and_not_empty = re.compile("[a-z]+").fullmatch


def _terms(text: str) -> list[int]:
    return [int(term) for term in text.replace("-", "+-").split("+")]


def _depths(text: str) -> list[int]:
    return list(itertools.accumulate(1 if mark == "(" else -1 for mark in text))


def _balanced(text: str) -> bool:
    depths = _depths(text)
    return min(depths) >= 0 and depths[-1] == 0


def _runs(text: str) -> list[tuple[str, int]]:
    return [(letter, int(count)) for letter, count in zip(text[::2], text[1::2], strict=True)]


def _pairs(text: str) -> dict[str, int]:
    return {key: int(value) for key, value in (part.split("=") for part in text.split(","))}


_SUMS = (
    Operation(
        "value", "sum", "int",
        ("the value of {x}", "what {x} comes to"),
        (
            'sum(int(v) for v in {x}.replace("-", "+-").split("+"))',
            '{y} = 0\nfor v in {x}.replace("-", "+-").split("+"):\n    {y} += int(v)',
        ),
        lambda text: sum(_terms(text)),
    ),
    Operation(
        "signed terms", "sum", "ints",
        ("the terms of {x}, those after a minus sign negative", "the numbers that {x} adds up, subtracted ones with a minus sign"),
        ('[int(v) for v in {x}.replace("-", "+-").split("+")]', 'list(map(int, {x}.replace("-", "+-").split("+")))'),
        _terms,
    ),
    Operation(
        "terms", "sum", "ints",
        ("the numbers in {x} without their signs", "the numbers written in {x}, signs left out"),
        ('[int(v) for v in {x}.replace("-", "+").split("+")]', 'list(map(int, {x}.replace("-", "+").split("+")))'),
        lambda text: [abs(term) for term in _terms(text)],
    ),
)

_BRACKETS = (
    Operation(
        "depth", "brackets", "int",
        ("how deep the brackets {x} are nested", "the largest number of brackets open at once in {x}"),
        (
            'd = 0\n{y} = 0\nfor c in {x}:\n    d += 1 if c == "(" else -1\n    {y} = max({y}, d)',
            'max({x}[:i + 1].count("(") - {x}[:i + 1].count(")") for i in range(len({x})))',
        ),
        lambda text: max(_depths(text)), defined=lambda text: text[:1] == "(",
    ),
    Operation(
        "balanced", "brackets", "bool",
        ("whether the brackets {x} are balanced", "if every bracket of {x} has its partner"),
        (
            'd = {x}\nwhile "()" in d:\n    d = d.replace("()", "")\n{y} = d == ""',
            'd = 0\n{y} = True\nfor c in {x}:\n    d += 1 if c == "(" else -1\n    if d < 0:\n        {y} = False\n{y} = {y} and d == 0',
        ),
        _balanced, defined=bool,
    ),
    Operation(
        "depths", "brackets", "ints",
        ("the number of open brackets after each sign of {x}", "how many more ( than ) there are up to each place of {x}"),
        (
            'd = 0\n{y} = []\nfor c in {x}:\n    d += 1 if c == "(" else -1\n    {y}.append(d)',
            '[{x}[:i + 1].count("(") - {x}[:i + 1].count(")") for i in range(len({x}))]',
        ),
        _depths,
    ),
    Operation(
        "unmatched", "brackets", "int",
        ("how many brackets of {x} have no partner", "the number of brackets of {x} left when partners are removed"),
        (
            'd = {x}\nwhile "()" in d:\n    d = d.replace("()", "")\n{y} = len(d)',
            'd = 0\n{y} = 0\nfor c in {x}:\n    if c == "(":\n        d += 1\n    elif d > 0:\n        d -= 1\n'
            "    else:\n        {y} += 1\n{y} += d",
        ),
        lambda text: _depths(text)[-1] - 2 * min(0, min(_depths(text))), defined=bool,
    ),
)

_RUNS = (
    Operation(
        "expanded", "runs", "word",
        ("{x} expanded (a3 means aaa)", "the word that {x} stands for, each letter repeated as its digit says"),
        (
            '"".join(c * int(d) for c, d in zip({x}[::2], {x}[1::2]))',
            '{y} = ""\nfor i in range(0, len({x}), 2):\n    {y} += {x}[i] * int({x}[i + 1])',
        ),
        lambda text: "".join(letter * count for letter, count in _runs(text)),
    ),
    Operation(
        "run lengths", "runs", "ints",
        ("the digits of {x} as numbers", "the length of each run of {x}"),
        ("[int(d) for d in {x}[1::2]]", "list(map(int, {x}[1::2]))"),
        lambda text: [count for _, count in _runs(text)],
    ),
    Operation(
        "run letters", "runs", "word",
        ("the letters of {x} without the digits", "what is left of {x} when the digits are removed"),
        ("{x}[::2]", '"".join(c for c in {x} if c.isalpha())'),
        lambda text: text[::2],
    ),
    Operation(
        "packed", "word", "runs",
        ("{x} written as runs (aaab is a3b1)", "each run of equal letters of {x} as its letter and its length"),
        (
            'd = []\nfor c in {x}:\n    if d and d[-1][0] == c:\n        d[-1][1] += 1\n    else:\n        d.append([c, 1])\n'
            '{y} = "".join(c + str(v) for c, v in d)',
            '{y} = ""\ni = 0\nwhile i < len({x}):\n    d = len({x}[i:]) - len({x}[i:].lstrip({x}[i]))\n'
            "    {y} += {x}[i] + str(d)\n    i += d",
        ),
        lambda word: "".join(f"{letter}{len(list(group))}" for letter, group in itertools.groupby(word)),
        defined=lambda word: _lower_and_not_empty(word) and all(len(list(group)) < 10 for _, group in itertools.groupby(word)),
    ),
)

_PAIRS = (
    Operation(
        "values", "pairs", "ints",
        ("the numbers in {x}", "the values of {x} from left to right"),
        ('[int(v.split("=")[1]) for v in {x}.split(",")]', '[int(v[2:]) for v in {x}.split(",")]'),
        lambda text: list(_pairs(text).values()),
    ),
    Operation(
        "keys", "pairs", "words",
        ("the letters in {x}", "the names in {x} from left to right"),
        ('[v.split("=")[0] for v in {x}.split(",")]', '[v[0] for v in {x}.split(",")]'),
        lambda text: list(_pairs(text)),
    ),
    Operation(
        "value of", "pairs", "int",
        ("the value of {k} in {x} (0 if missing)", "the number that {x} gives to the letter {k}, 0 if none"),
        (
            'd = dict(v.split("=") for v in {x}.split(","))\n{y} = int(d.get({k}, 0))',
            '{y} = 0\nfor v in {x}.split(","):\n    if v[0] == {k}:\n        {y} = int(v[2:])',
        ),
        lambda text, k: _pairs(text).get(k, 0), LETTERS,
    ),
    Operation(
        "best key", "pairs", "word",
        ("the letter with the largest number in {x}, the first of ties", "the name whose value in {x} is greatest (the first if tied)"),
        (
            'max({x}.split(","), key=lambda v: int(v[2:]))[0]',
            'd = dict(v.split("=") for v in {x}.split(","))\n{y} = max(d, key=lambda v: int(d[v]))',
        ),
        lambda text: max(_pairs(text), key=_pairs(text).get),
    ),
)

OPERATIONS = _SUMS + _BRACKETS + _RUNS + _PAIRS
