"""Operations of the `tiny` problems that take a list of whole numbers."""

import dataclasses
import itertools
from collections.abc import Callable

from coderl_jax.data.tiny_operations import FACTORS, NONE, SHARES, THRESHOLDS, TOTALS, Operation, Values


@dataclasses.dataclass(frozen=True)
class _Property:
    """What a number can be: adjectives that follow `are`, a test of `v` in Python, the same as a function."""

    name: str
    adjectives: tuple[str, ...]
    code: str
    holds: Callable[..., bool]
    values: Values = NONE


_EVEN = _Property("even", ("even", "divisible by 2"), "v % 2 == 0", lambda v: v % 2 == 0)
_ODD = _Property("odd", ("odd", "not even"), "v % 2 == 1", lambda v: v % 2 == 1)
_POSITIVE = _Property("positive", ("positive", "above zero"), "v > 0", lambda v: v > 0)
_NEGATIVE = _Property("negative", ("negative", "below zero"), "v < 0", lambda v: v < 0)
_GREATER = _Property("greater", ("greater than {k}", "above {k}", "larger than {k}"), "v > {k}", lambda v, k: v > k, THRESHOLDS)
_LESS = _Property("less", ("less than {k}", "below {k}", "smaller than {k}"), "v < {k}", lambda v, k: v < k, THRESHOLDS)
_MULTIPLE = _Property("multiple", ("divisible by {k}", "multiples of {k}"), "v % {k} == 0", lambda v, k: v % k == 0, FACTORS)


def _phrases(templates: tuple[str, ...], quality: _Property) -> tuple[str, ...]:
    return tuple(template.replace("{p}", adjective) for template, adjective in itertools.product(templates, quality.adjectives))


def _codes(templates: tuple[str, ...], quality: _Property) -> tuple[str, ...]:
    return tuple(template.replace("{t}", quality.code) for template in templates)


def _keep(quality: _Property) -> Operation:
    return Operation(
        f"keep {quality.name}", "ints", "ints",
        _phrases(("the numbers in {x} that are {p}", "only those numbers of {x} that are {p}", "all values of {x} that are {p}"), quality),
        _codes(
            (
                "[v for v in {x} if {t}]",
                "list(filter(lambda v: {t}, {x}))",
                "{y} = []\nfor v in {x}:\n    if {t}:\n        {y}.append(v)",
            ),
            quality,
        ),
        lambda values, *k: [v for v in values if quality.holds(v, *k)], quality.values,
    )


def _count(quality: _Property) -> Operation:
    return Operation(
        f"count {quality.name}", "ints", "int",
        _phrases(("how many numbers in {x} are {p}", "the number of values in {x} that are {p}"), quality),
        _codes(
            (
                "sum(1 for v in {x} if {t})",
                "len([v for v in {x} if {t}])",
                "{y} = 0\nfor v in {x}:\n    if {t}:\n        {y} += 1",
            ),
            quality,
        ),
        lambda values, *k: sum(quality.holds(v, *k) for v in values), quality.values,
    )


def _all(quality: _Property) -> Operation:
    return Operation(
        f"all {quality.name}", "ints", "bool",
        _phrases(("whether all numbers in {x} are {p}", "if all values of {x} are {p}"), quality),
        _codes(("all({t} for v in {x})", "{y} = True\nfor v in {x}:\n    if not {t}:\n        {y} = False"), quality),
        lambda values, *k: all(quality.holds(v, *k) for v in values), quality.values,
    )


def _any(quality: _Property) -> Operation:
    return Operation(
        f"any {quality.name}", "ints", "bool",
        _phrases(("whether some numbers in {x} are {p}", "if any values of {x} are {p}"), quality),
        _codes(("any({t} for v in {x})", "{y} = False\nfor v in {x}:\n    if {t}:\n        {y} = True"), quality),
        lambda values, *k: any(quality.holds(v, *k) for v in values), quality.values,
    )


_SELECTIONS = (
    *map(_keep, (_EVEN, _ODD, _POSITIVE, _GREATER, _LESS, _MULTIPLE)),
    *map(_count, (_EVEN, _NEGATIVE, _GREATER, _MULTIPLE)),
    *map(_all, (_EVEN, _POSITIVE, _GREATER)),
    *map(_any, (_NEGATIVE, _MULTIPLE)),
)


def _each(name: str, phrases: tuple[str, ...], code: str, function: Callable[..., int], values: Values = NONE) -> Operation:
    return Operation(
        f"each {name}", "ints", "ints", phrases,
        (f"[{code} for v in {{x}}]", f"list(map(lambda v: {code}, {{x}}))", f"{{y}} = []\nfor v in {{x}}:\n    {{y}}.append({code})"),
        lambda numbers, *k: [function(v, *k) for v in numbers], values,
    )


_MAPS = (
    _each("plus", ("{x} with {k} added to each number", "every number of {x} increased by {k}"), "v + {k}", lambda v, k: v + k, THRESHOLDS),
    _each("times", ("{x} with each number multiplied by {k}", "{k} times every number of {x}"), "v * {k}", lambda v, k: v * k, FACTORS),
    _each("squared", ("the squares of the numbers in {x}", "{x} with each number squared"), "v * v", lambda v: v * v),
    _each(
        "modulo", ("each number of {x} modulo {k}", "the remainders of the numbers in {x} divided by {k}"),
        "v % {k}", lambda v, k: v % k, FACTORS,
    ),
    _each("at most", ("{x} with numbers above {k} lowered to {k}", "each number of {x}, but at most {k}"), "min(v, {k})", min, THRESHOLDS),
)

_ORDERS = (
    Operation(
        "reverse", "ints", "ints",
        ("{x} in reverse order", "the numbers of {x} from last to first", "{x} reversed"),
        ("{x}[::-1]", "list(reversed({x}))", "{y} = []\nfor v in {x}:\n    {y}.insert(0, v)"),
        lambda values: values[::-1],
    ),
    Operation(
        "sort", "ints", "ints",
        ("{x} sorted", "the numbers of {x} from smallest to largest", "{x} in increasing order"),
        ("sorted({x})", "{y} = list({x})\n{y}.sort()"),
        sorted,
    ),
    Operation(
        "distinct", "ints", "ints",
        ("{x} without repeats, first occurrences kept", "the different numbers of {x} in order of first appearance"),
        ("list(dict.fromkeys({x}))", "{y} = []\nfor v in {x}:\n    if v not in {y}:\n        {y}.append(v)"),
        lambda values: list(dict.fromkeys(values)),
    ),
    Operation(
        "first few", "ints", "ints",
        ("the first {k} numbers of {x} (all if fewer)", "{x} cut to at most {k} numbers"),
        ("{x}[:{k}]", "[v for i, v in enumerate({x}) if i < {k}]"),
        lambda values, k: values[:k], SHARES,
    ),
    Operation(
        "every second", "ints", "ints",
        ("the numbers of {x} at even indices (from 0)", "every second number of {x}, beginning with the first"),
        ("{x}[::2]", "[v for i, v in enumerate({x}) if i % 2 == 0]"),
        lambda values: values[::2],
    ),
    Operation(
        "running sums", "ints", "ints",
        ("the running sums of {x}", "the sums of {x} so far at each position"),
        ("[sum({x}[:i + 1]) for i in range(len({x}))]", "d = 0\n{y} = []\nfor v in {x}:\n    d += v\n    {y}.append(d)"),
        lambda values: list(itertools.accumulate(values)),
    ),
    Operation(
        "differences", "ints", "ints",
        (
            "the differences between neighbours in {x} (next minus previous)",
            "each number of {x} minus the one before it, from the second on",
        ),
        ("[v - p for p, v in zip({x}, {x}[1:])]", "[{x}[i] - {x}[i - 1] for i in range(1, len({x}))]"),
        lambda values: [v - p for p, v in itertools.pairwise(values)],
    ),
)

_TALLIES = (  # with a dictionary of how often each number occurs
    Operation(
        "only once", "ints", "ints",
        ("the numbers that occur exactly once in {x}", "only those numbers of {x} that are not repeated"),
        ("[v for v in {x} if {x}.count(v) == 1]", "d = {}\nfor v in {x}:\n    d[v] = d.get(v, 0) + 1\n{y} = [v for v in d if d[v] == 1]"),
        lambda values: [v for v in values if values.count(v) == 1],
    ),
    Operation(
        "repeated count", "ints", "int",
        ("how many different numbers occur more than once in {x}", "the number of distinct values that {x} repeats"),
        (
            "sum({x}.count(v) > 1 for v in set({x}))",
            "d = {}\nfor v in {x}:\n    d[v] = d.get(v, 0) + 1\n{y} = sum(1 for v in d if d[v] > 1)",
        ),
        lambda values: sum(values.count(v) > 1 for v in set(values)),
    ),
)

_SUMMARIES = (
    Operation(
        "sum", "ints", "int",
        ("the sum of {x}", "the total of the numbers in {x}", "the numbers of {x} added up"),
        ("sum({x})", "{y} = 0\nfor v in {x}:\n    {y} += v"),
        sum,
    ),
    Operation(
        "largest", "ints", "int",
        ("the largest number in {x}", "the maximum of {x}", "the greatest value of {x}"),
        ("max({x})", "sorted({x})[-1]", "{y} = {x}[0]\nfor v in {x}:\n    if v > {y}:\n        {y} = v"),
        max, defined=bool,
    ),
    Operation(
        "smallest", "ints", "int",
        ("the smallest number in {x}", "the minimum of {x}", "the least value of {x}"),
        ("min({x})", "sorted({x})[0]", "{y} = {x}[0]\nfor v in {x}:\n    if v < {y}:\n        {y} = v"),
        min, defined=bool,
    ),
    Operation(
        "distinct count", "ints", "int",
        ("how many different numbers {x} has", "the number of distinct values in {x}"),
        ("len(set({x}))", "d = []\nfor v in {x}:\n    if v not in d:\n        d.append(v)\n{y} = len(d)"),
        lambda values: len(set(values)),
    ),
    Operation(
        "most common", "ints", "int",
        ("the most common number in {x} (the smallest of ties)", "the number that occurs most often in {x}, the smallest if tied"),
        ("max(sorted({x}), key={x}.count)", "d = {}\nfor v in sorted({x}):\n    d[v] = d.get(v, 0) + 1\n{y} = max(d, key=d.get)"),
        lambda values: min(values, key=lambda v: (-values.count(v), v)), defined=bool,
    ),
    Operation(
        "index of largest", "ints", "int",
        ("the index (from 0) of the largest number in {x}, the first of ties", "where the maximum of {x} first stands, counted from 0"),
        ("{x}.index(max({x}))", "{y} = 0\nfor i, v in enumerate({x}):\n    if v > {x}[{y}]:\n        {y} = i"),
        lambda values: max(range(len(values)), key=lambda i: (values[i], -i)), defined=bool,
    ),
    Operation(
        "rises", "ints", "int",
        ("how many numbers in {x} are greater than the one before", "the number of rises between neighbours in {x}"),
        (
            "sum(v > p for p, v in zip({x}, {x}[1:]))",
            "{y} = 0\nfor i in range(1, len({x})):\n    if {x}[i] > {x}[i - 1]:\n        {y} += 1",
        ),
        lambda values: sum(v > p for p, v in itertools.pairwise(values)),
    ),
    Operation(
        "occurrences", "ints", "int",
        ("how often {k} occurs in {x}", "the number of times {x} contains {k}"),
        ("{x}.count({k})", "sum(1 for v in {x} if v == {k})", "{y} = 0\nfor v in {x}:\n    if v == {k}:\n        {y} += 1"),
        lambda values, k: values.count(k), THRESHOLDS,
    ),
    Operation(
        "mean", "ints", "int",
        ("the average of {x}, rounded down", "the mean of the numbers in {x}, rounded down"),
        ("sum({x}) // len({x})", "{y} = 0\nfor v in {x}:\n    {y} += v\n{y} //= len({x})"),
        lambda values: sum(values) // len(values), defined=bool,
    ),
)

_QUESTIONS = (
    Operation(
        "is sorted", "ints", "bool",
        ("whether {x} is in increasing order (ties allowed)", "if no number in {x} is less than the one before"),
        ("{x} == sorted({x})", "all(p <= v for p, v in zip({x}, {x}[1:]))"),
        lambda values: all(p <= v for p, v in itertools.pairwise(values)),
    ),
    Operation(
        "contains", "ints", "bool",
        ("whether {k} is in {x}", "if {x} contains {k}"),
        ("{k} in {x}", "{x}.count({k}) > 0", "any(v == {k} for v in {x})"),
        lambda values, k: k in values, THRESHOLDS,
    ),
    Operation(
        "sum above", "ints", "bool",
        ("whether the sum of {x} is greater than {k}", "if the numbers of {x} add up to more than {k}"),
        ("sum({x}) > {k}", "{y} = 0\nfor v in {x}:\n    {y} += v\n{y} = {y} > {k}"),
        lambda values, k: sum(values) > k, TOTALS,
    ),
)

OPERATIONS = _SELECTIONS + _MAPS + _ORDERS + _TALLIES + _SUMMARIES + _QUESTIONS
