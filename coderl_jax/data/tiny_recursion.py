"""Operations of the `tiny` problems that are defined by themselves: each has a recursive idiom and, where there is one, a loop."""

import functools
import math

from coderl_jax.data.tiny_operations import SHARES, THRESHOLDS, Operation


@functools.cache
def _fibonacci(n: int) -> int:
    return n if n < 2 else _fibonacci(n - 1) + _fibonacci(n - 2)


@functools.cache
def _ways(n: int, k: int) -> int:
    return 1 if n < k else _ways(n - 1, k) + _ways(n - k, k)


def _root(n: int) -> int:
    return n if n < 10 else _root(sum(map(int, str(n))))


def _collatz(n: int) -> int:
    return 0 if n == 1 else 1 + _collatz(3 * n + 1 if n % 2 else n // 2)


def _halves(n: int) -> list[int]:
    return [n] if n < 2 else [n, *_halves(n // 2)]


def _pyramid(values: list[int]) -> int:
    return values[0] if len(values) == 1 else _pyramid([p + v for p, v in zip(values, values[1:], strict=False)])


_NUMBERS = (
    Operation(
        "fibonacci", "int", "int",
        ("the Fibonacci number F({x}), where F(0) = 0 and F(1) = 1", "number {x} of the Fibonacci sequence 0, 1, 1, 2, ... (from 0)"),
        (
            "d = lambda v: v if v < 2 else d(v - 1) + d(v - 2)\n{y} = d({x})",
            "d = [0, 1]\nfor i in range({x}):\n    d.append(d[-1] + d[-2])\n{y} = d[{x}]",
        ),
        _fibonacci, defined=lambda n: 0 <= n <= 20,
    ),
    Operation(
        "factorial", "int", "int",
        ("the factorial of {x}", "the product of all numbers from 1 to {x} (1 for 0)"),
        ("d = lambda v: 1 if v < 2 else v * d(v - 1)\n{y} = d({x})", "{y} = 1\nfor i in range(1, {x} + 1):\n    {y} *= i"),
        math.factorial, defined=lambda n: 0 <= n <= 12,
    ),
    Operation(
        "digital root", "int", "int",
        ("the digit sum of {x}, taken again until one digit is left", "the digital root of {x}"),
        (
            "d = lambda v: v if v < 10 else d(sum(map(int, str(v))))\n{y} = d({x})",
            "{y} = {x}\nwhile {y} > 9:\n    {y} = sum(map(int, str({y})))",
        ),
        _root, defined=lambda n: n >= 0,
    ),
    Operation(
        "collatz steps", "int", "int",
        (
            "how often v must be replaced, v // 2 if even and 3 * v + 1 if odd, to get from {x} to 1",
            "the number of Collatz steps from {x} to 1",
        ),
        (
            "d = lambda v: 0 if v == 1 else 1 + d(3 * v + 1 if v % 2 else v // 2)\n{y} = d({x})",
            "d = {x}\n{y} = 0\nwhile d > 1:\n    d = 3 * d + 1 if d % 2 else d // 2\n    {y} += 1",
        ),
        _collatz, defined=lambda n: 1 <= n <= 200,
    ),
    Operation(
        "halves", "int", "ints",
        ("{x} and its halves, rounded down, until 1", "the numbers from {x} on, each half of the one before (rounded down), down to 1"),
        (
            "d = lambda v: [v] if v < 2 else [v] + d(v // 2)\n{y} = d({x})",
            "{y} = [{x}]\nwhile {y}[-1] > 1:\n    {y}.append({y}[-1] // 2)",
        ),
        _halves, defined=lambda n: n >= 1,
    ),
    Operation(
        "binary", "int", "word",
        ("{x} in binary", "the binary digits of {x}"),
        ("d = lambda v: str(v) if v < 2 else d(v // 2) + str(v % 2)\n{y} = d({x})", "bin({x})[2:]", 'format({x}, "b")'),
        lambda n: format(n, "b"), defined=lambda n: n >= 0,
    ),
    Operation(
        "common divisor", "int", "int",
        ("the greatest common divisor of {x} and {k}", "the largest number that divides both {x} and {k}"),
        (
            "d = lambda v, w: v if w == 0 else d(w, v % w)\n{y} = d({x}, {k})",
            "{y} = {k}\nwhile {x} % {y} or {k} % {y}:\n    {y} -= 1",
        ),
        math.gcd, THRESHOLDS[3:], lambda n: n >= 1,
    ),
    Operation(
        "stairs", "int", "int",
        ("the number of ways to climb {x} stairs in steps of 1 or {k}", "the number of ways to write {x} as a sum of ones and {k}s"),
        (
            "d = lambda v: 1 if v < {k} else d(v - 1) + d(v - {k})\n{y} = d({x})",
            "d = [1] * {k}\nfor i in range({x}):\n    d.append(d[-1] + d[-{k}])\n{y} = d[{x}]",
        ),
        _ways, SHARES, lambda n: 0 <= n <= 20,
    ),
    Operation(
        "power", "int", "int",
        ("{k} to the power of {x}", "the product of {x} factors {k}"),
        ("d = lambda v: 1 if v == 0 else {k} * d(v - 1)\n{y} = d({x})", "{k} ** {x}", "{y} = 1\nfor i in range({x}):\n    {y} *= {k}"),
        lambda n, k: k**n, SHARES, lambda n: 0 <= n <= 12,
    ),
)

_LISTS = (
    Operation(
        "alternating sum", "ints", "int",
        ("the numbers of {x} alternately added and subtracted", "the first number of {x} minus the second plus the third and so on"),
        (
            "d = lambda v: v[0] - d(v[1:]) if v else 0\n{y} = d({x})",
            "sum({x}[::2]) - sum({x}[1::2])",
        ),
        lambda values: sum(values[::2]) - sum(values[1::2]),
    ),
    Operation(
        "pyramid", "ints", "int",
        (
            "what is left of {x} when all neighbours are added, again and again, until one number is left",
            "the top of the pyramid built on {x}, each number the sum of the two below",
        ),
        (
            "d = lambda v: v[0] if len(v) == 1 else d([p + w for p, w in zip(v, v[1:])])\n{y} = d({x})",
            "d = {x}\nwhile len(d) > 1:\n    d = [p + v for p, v in zip(d, d[1:])]\n{y} = d[0]",
        ),
        _pyramid, defined=bool,
    ),
)

OPERATIONS = _NUMBERS + _LISTS
