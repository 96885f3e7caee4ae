"""Is an answer right? Runs in our own process, on text and plain data only.

`strict` asks for the same tokens in the same order, as contests do: blanks and line breaks only separate, and printed numbers that
are not both whole may differ by 1e-5; what is returned has to be equal. `apps` reproduces the rules by which the judge of APPS and of
the released CodeRL accepts an answer; they are lenient (the last two ignore order), and needed for numbers comparable with theirs.

An answer may be made to be hard to compare, and a thread of ours does nothing else meanwhile: all here takes time and memory in
proportion to its length.
"""

import decimal
import math
import re
from collections.abc import Callable
from typing import Any, Literal

Comparison = Literal["strict", "apps"]

_TOKEN = re.compile(r"\S+")
_TOLERANCE = decimal.Decimal("1e-5")
_WHOLE = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")  # one way only to read a text: no backtracking
# Of any exponent; a difference is rounded, but only after it was taken exactly.
_EXACT = decimal.Context(Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN, traps=[decimal.InvalidOperation, decimal.Overflow])


def printed_right(output: str, expected: str, comparison: Comparison) -> bool:
    """Whether what a program printed is the expected text."""
    return _printed_right_apps(output, expected) if comparison == "apps" else _printed_right_strict(output, expected)


def returned_right(answer: Any, expected: Any, comparison: Comparison) -> bool:
    """Whether what a function returned is the expected value.

    Args:
      answer: plain data; tuples, sets and so on kept as such.
      expected: a JSON value.
    """
    try:
        if comparison == "apps":
            return _returned_right_apps(answer, _expected_apps(expected))
        return _lists(answer) == _lists(expected) or _lists(answer) == _lists(_whole_keys(expected))
    except RecursionError:
        return False


def largest_dict(value: Any) -> int:
    """How many keys the largest dict within a JSON value has."""
    if isinstance(value, list):
        return max((largest_dict(part) for part in value if isinstance(part, list | dict)), default=0)
    return max(len(value), largest_dict(list(value.values()))) if isinstance(value, dict) else 0


def call_arguments(arguments: list[Any], comparison: Comparison) -> list[Any]:
    """The arguments a test's call is made with. JSON has only text keys: those of dicts become ints where all of them can.

    The APPS judge does so for a dict that comes first, and drops the arguments after it.
    """
    if comparison == "apps":
        first = _int_keys(arguments[0]) if arguments and isinstance(arguments[0], dict) else None
        return arguments if first is None else [first]
    return [_whole_keys(value) for value in arguments]


def _printed_right_strict(output: str, expected: str) -> bool:
    if output.strip() == expected.strip():
        return True
    got, wanted = output.split(), expected.split()
    return len(got) == len(wanted) and all(map(_same_token, got, wanted))


def _same_token(got: str, wanted: str) -> bool:
    if got == wanted:
        return True
    if not (_NUMBER.fullmatch(wanted) and _NUMBER.fullmatch(got)):
        return False
    whole = _WHOLE.fullmatch(wanted)
    if whole and _WHOLE.fullmatch(got):
        return False  # a whole number is right or wrong: 1000000008 is not nearly 1000000007
    try:
        a, b = decimal.Decimal(got, _EXACT), decimal.Decimal(wanted, _EXACT)
        error = _EXACT.subtract(a, b).copy_abs()
        size = 1 if whole else max(1, a.copy_abs(), b.copy_abs())
        return error <= _EXACT.multiply(_TOLERANCE, size)
    except decimal.DecimalException:  # an exponent of 19 digits
        return False


def _printed_right_apps(output: str, expected: str) -> bool:
    lines = output.splitlines()
    if "\n".join(lines).strip() == expected.strip():
        return True
    if "\n".join(line.strip() for line in lines).strip() == expected.strip():
        return True
    if lines == [expected]:
        return True
    wanted = [line.strip() for line in expected.split("\n") if line]
    if lines == wanted:
        return True
    lines = [line for line in lines if line]
    return lines == wanted or _all_close(lines, wanted) or _same_sets(lines, wanted)


def _all_close(got: list[str], wanted: list[str]) -> bool:
    """numpy.allclose on the lines: |a - b| <= 1e-8 + 1e-5 |b|, infinities equal, NaN unequal."""
    if len(got) != len(wanted):
        return False
    try:
        pairs = list(zip(map(float, got), map(float, wanted), strict=True))
    except ValueError:
        return False
    return all(a == b or (math.isfinite(b) and abs(a - b) <= 1e-8 + 1e-5 * abs(b)) for a, b in pairs)


def _same_sets(got: list[str], wanted: list[str]) -> bool:
    different = [line for line in set(got) if not line.isspace()]
    return _covered(different, wanted, str) or _covered(different, wanted, lambda token: round(float(token), 3))


def _covered(got: list[str], wanted: list[str], key: Callable[[str], Any]) -> bool:
    """Whether the lines of both are the same set, each line the set of its tokens' keys. Ends at the first token that is not wanted."""
    try:
        sets = {frozenset(map(key, line.split())) for line in wanted}
        known, missing = frozenset().union(*sets), set(sets)
        for line in got:
            tokens = set()
            for found in _TOKEN.finditer(line):
                token = key(found.group())
                if token not in known:
                    return False
                tokens.add(token)
            if tokens not in sets:
                return False
            missing.discard(frozenset(tokens))
    except ValueError:
        return False
    return not missing


def _expected_apps(expected: Any) -> Any:
    """The expected value as the APPS judge prepares it: dict keys to ints, in a list of one."""
    if isinstance(expected, dict):
        converted = _int_keys(expected)
        expected = expected if converted is None else [converted]
    if isinstance(expected, list) and expected and isinstance(expected[0], dict):
        converted = _int_keys(expected[0])
        expected = expected if converted is None else [converted]
    return expected


def _returned_right_apps(answer: Any, expected: Any) -> bool:
    if isinstance(answer, tuple):
        answer = list(answer)
    if answer == expected:
        return True
    if not isinstance(expected, list) or not expected:
        return False
    if answer == expected[0]:
        return True
    if isinstance(answer, list | str) and answer and isinstance(answer[0], tuple):
        try:
            return [list(part) for part in answer] == expected[0]
        except TypeError:
            return False
    return False


def _int_keys(value: dict[Any, Any]) -> dict[int, Any] | None:
    try:
        return {int(key): part for key, part in value.items()}
    except (ValueError, TypeError):
        return None


def _whole_keys(value: Any) -> Any:
    """Dicts within a JSON value, with int keys where all are whole numbers."""
    if isinstance(value, list):
        return [_whole_keys(part) for part in value] if any(isinstance(p, list | dict) for p in value) else value
    if not isinstance(value, dict):
        return value
    parts = {key: _whole_keys(part) for key, part in value.items()}
    return (_int_keys(parts) if parts and all(map(_WHOLE.fullmatch, parts)) else None) or parts


def _lists(value: Any) -> Any:
    """The value with tuples as lists, at any depth."""
    if isinstance(value, list | tuple):
        return [_lists(part) for part in value]
    if isinstance(value, dict):
        return {key: _lists(part) for key, part in value.items()}
    return value
