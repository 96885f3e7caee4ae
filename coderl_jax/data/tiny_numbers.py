"""Operations of the `tiny` problems that take one whole number."""

from coderl_jax.data.tiny_operations import FACTORS, LETTERS, THRESHOLDS, Operation

_TRANSFORMS = (
    Operation(
        "add", "int", "int",
        ("{x} plus {k}", "the sum of {x} and {k}", "{x} increased by {k}"),
        ("{x} + {k}", "{k} + {x}", "{y} = {x}\n{y} += {k}"),
        lambda n, k: n + k, THRESHOLDS,
    ),
    Operation(
        "times", "int", "int",
        ("{x} times {k}", "the product of {x} and {k}", "{x} multiplied by {k}"),
        ("{x} * {k}", "{k} * {x}", "{y} = {x}\n{y} *= {k}"),
        lambda n, k: n * k, FACTORS,
    ),
    Operation(
        "taken from", "int", "int",
        ("{k} minus {x}", "what is left of {k} after taking away {x}"),
        ("{k} - {x}", "-{x} + {k}", "{y} = {k}\n{y} -= {x}"),
        lambda n, k: k - n, THRESHOLDS,
    ),
    Operation(
        "square", "int", "int",
        ("the square of {x}", "{x} squared", "{x} times itself"),
        ("{x} ** 2", "{x} * {x}", "pow({x}, 2)"),
        lambda n: n * n,
    ),
    Operation(
        "remainder", "int", "int",
        ("the remainder of {x} divided by {k}", "{x} modulo {k}", "what remains when {x} is divided by {k}"),
        ("{x} % {k}", "divmod({x}, {k})[1]", "{y} = {x}\nwhile {y} >= {k}:\n    {y} -= {k}"),
        lambda n, k: n % k, FACTORS, lambda n: n >= 0,
    ),
    Operation(
        "distance", "int", "int",
        ("the distance between {x} and {k}", "the absolute difference of {x} and {k}", "how far {x} is from {k}"),
        ("abs({x} - {k})", "abs({k} - {x})", "{y} = {x} - {k}\nif {y} < 0:\n    {y} = -{y}"),
        lambda n, k: abs(n - k), THRESHOLDS,
    ),
    Operation(
        "at most", "int", "int",
        ("{x}, but at most {k}", "the smaller of {x} and {k}"),
        ("min({x}, {k})", "min({k}, {x})", "{y} = {x}\nif {y} > {k}:\n    {y} = {k}"),
        lambda n, k: min(n, k), THRESHOLDS,
    ),
)

_DIGITS = (
    Operation(
        "digit sum", "int", "int",
        ("the sum of the digits of {x}", "the digit sum of {x}", "the digits of {x} added up"),
        (
            "sum(int(d) for d in str({x}))",
            "sum(map(int, str({x})))",
            "{y} = 0\nfor d in str({x}):\n    {y} += int(d)",
            "d = {x}\n{y} = 0\nwhile d > 0:\n    {y} += d % 10\n    d //= 10",
        ),
        lambda n: sum(map(int, str(n))), defined=lambda n: n >= 0,
    ),
    Operation(
        "digits reversed", "int", "int",
        ("{x} with its digits reversed", "the number you get by reading {x} backwards"),
        (
            "int(str({x})[::-1])",
            'int("".join(reversed(str({x}))))',
            "d = {x}\n{y} = 0\nwhile d > 0:\n    {y} = {y} * 10 + d % 10\n    d //= 10",
        ),
        lambda n: int(str(n)[::-1]), defined=lambda n: n >= 0,
    ),
    Operation(
        "digits", "int", "ints",
        ("the list of the digits of {x}", "the digits of {x} from left to right"),
        ("[int(d) for d in str({x})]", "list(map(int, str({x})))", "{y} = []\nfor d in str({x}):\n    {y}.append(int(d))"),
        lambda n: [int(d) for d in str(n)], defined=lambda n: n >= 0,
    ),
)

_LOOPS = (
    Operation(
        "sum to", "int", "int",
        ("the sum of the whole numbers from 1 to {x}", "1 + 2 + ... up to {x}"),
        ("sum(range(1, {x} + 1))", "{x} * ({x} + 1) // 2", "{y} = 0\nfor i in range(1, {x} + 1):\n    {y} += i"),
        lambda n: sum(range(n + 1)), defined=lambda n: 0 <= n <= 100,
    ),
    Operation(
        "count up", "int", "ints",
        ("the numbers from 1 to {x}", "the list 1, 2, ..., {x}"),
        ("list(range(1, {x} + 1))", "[i + 1 for i in range({x})]", "{y} = []\nfor i in range(1, {x} + 1):\n    {y}.append(i)"),
        lambda n: list(range(1, n + 1)), defined=lambda n: 1 <= n <= 10,
    ),
    Operation(
        "divisors", "int", "ints",
        ("the divisors of {x} in increasing order", "all positive divisors of {x}, smallest first"),
        (
            "[d for d in range(1, {x} + 1) if {x} % d == 0]",
            "{y} = []\nfor d in range(1, {x} + 1):\n    if {x} % d == 0:\n        {y}.append(d)",
        ),
        lambda n: [d for d in range(1, n + 1) if n % d == 0], defined=lambda n: 1 <= n <= 100,
    ),
    Operation(
        "first multiples", "int", "ints",
        ("the positive multiples of {k} in order, as many as {x}", "{k} times i for each i from 1 to {x}"),
        (
            "[i * {k} for i in range(1, {x} + 1)]",
            "list(range({k}, {k} * {x} + 1, {k}))",
            "{y} = []\nfor i in range({x}):\n    {y}.append((i + 1) * {k})",
        ),
        lambda n, k: [i * k for i in range(1, n + 1)], FACTORS, lambda n: 1 <= n <= 8,
    ),
)

_QUESTIONS = (
    Operation(
        "is divisible", "int", "bool",
        ("whether {x} is divisible by {k}", "if {k} divides {x}", "whether {x} is a multiple of {k}"),
        ("{x} % {k} == 0", "not {x} % {k}"),
        lambda n, k: n % k == 0, FACTORS,
    ),
    Operation(
        "is prime", "int", "bool",
        ("whether {x} is a prime number", "if {x} is prime"),
        (
            "{x} > 1 and all({x} % d for d in range(2, {x}))",
            "sum({x} % d == 0 for d in range(1, {x} + 1)) == 2",
            "{y} = {x} > 1\nfor d in range(2, {x}):\n    if {x} % d == 0:\n        {y} = False",
        ),
        lambda n: n > 1 and all(n % d for d in range(2, n)), defined=lambda n: n <= 1000,
    ),
)

_WORDS = (
    Operation(
        "letter repeated", "int", "word",
        ("the letter {k} repeated to a length of {x}", "a word made of the letter {k} with length equal to {x}"),
        ("{k} * {x}", '"".join({k} for i in range({x}))', '{y} = ""\nfor i in range({x}):\n    {y} += {k}'),
        lambda n, k: k * n, LETTERS, lambda n: 1 <= n <= 12,
    ),
)

OPERATIONS = _TRANSFORMS + _DIGITS + _LOOPS + _QUESTIONS + _WORDS
