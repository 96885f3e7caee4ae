"""Example tests out of statements: each format by hand, real statements, and no string that raises."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coderl_jax import rows
from coderl_jax.config import Judging
from coderl_jax.data.examples import extract_examples
from coderl_jax.data.problems import load_problems
from coderl_jax.files import to_json_line
from coderl_jax.sandbox import judge
from coderl_jax.types import CallTests, Outcome, StdinTests


def stdin(*pairs) -> StdinTests:
    return StdinTests(inputs=tuple(i for i, _ in pairs), outputs=tuple(o for _, o in pairs))


def calls(name, *pairs) -> CallTests:
    return CallTests(fn_name=name, inputs=tuple(i for i, _ in pairs), outputs=tuple(o for _, o in pairs))


CODEFORCES = """Add them.

-----Input-----

One line with two integers.


-----Output-----

Their sum.


-----Examples-----
Input
1 2

Output
3

Input
2
3 4

Output
7
8



-----Note-----

In the first example 1 + 2 = 3.

Output
0
"""

ATCODER = """-----Constraints-----
 - 1 <= N

-----Input-----
Input is given from Standard Input.
N

-----Sample Input-----
5
1 2

-----Sample Output-----
Yes
4

The figure shows why.
Output may differ.

-----Sample Input-----
6

-----Sample Output-----
No
"""

ATCODER_RAW = """Input
N

Output
One word.

Sample Input 1

3
1 2 3


Sample Output 1

Yes

Because 1 + 2 = 3.

Sample Input 2

1


Sample Output 2

No
"""

CODECHEF = """-----Sample Input:-----
1
2 3

-----Sample Output:-----
5

-----EXPLANATION:-----
2 + 3 = 5
"""

OLD_CODECHEF = """Input

The first line.

Output

A line.

Example

Input:
2
10 20

30 40

Output:
30
70

Explanation

Sums.
"""


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (CODEFORCES, stdin(("1 2\n", "3\n"), ("2\n3 4\n", "7\n8\n"))),
        (CODEFORCES.replace("\n", "\r\n"), stdin(("1 2\n", "3\n"), ("2\n3 4\n", "7\n8\n"))),
        (ATCODER, stdin(("5\n1 2\n", "Yes\n4\n"), ("6\n", "No\n"))),
        (ATCODER_RAW, stdin(("3\n1 2 3\n", "Yes\n"), ("1\n", "No\n"))),
        (CODECHEF, stdin(("1\n2 3\n", "5\n"))),
        (OLD_CODECHEF, stdin(("2\n10 20\n\n30 40\n", "30\n70\n"))),
        ("-----Example-----\nInput\nnote\nOutput\ninput\n", stdin(("note\n", "input\n"))),  # words that are headings elsewhere
        ("-----Example-----\nInput\n\nOutput\n\n\n", stdin(("\n", "\n"))),  # nothing to read, nothing to print
        ("-----Example-----\nInput\n  x \nOutput\n y\n", stdin(("  x \n", " y\n"))),
        ("-----Input-----\n5\n-----Output-----\n6\n", None),  # a format, not an example
        ("-----Examples-----\nInput\n5\n", None),
        ("-----Examples-----\nOutput\n5\nInput\n5\n", None),
        ("Input consists of a number. Output it.", None),
        ("", None),
    ],
)
def test_standard_input_examples_by_hand(statement, expected):
    assert extract_examples(statement, None) == expected


TWO_SUM = "class Solution:\n    def twoSum(self, nums: List[int], target: int) -> List[int]:\n        "
LEETCODE = """Return indices. For example, twoSum is fun.

Example 1:

Input: nums = [2,7], target = 9
Output: [0,1]
Explanation: Because nums[0] + nums[1] == 9.

Example 2:
Input: nums = [3,
  3], target = -6
Output: [0,
 1]

Constraints:
2 <= nums.length
"""


@pytest.mark.parametrize(
    ("statement", "starter", "expected"),
    [
        (LEETCODE, TWO_SUM, calls("twoSum", ([[2, 7], 9], [0, 1]), ([[3, 3], -6], [0, 1]))),
        ("Example 1:\nInput: target = 9, nums = [2]\nOutput: []", TWO_SUM, calls("twoSum", ([[2], 9], []))),
        ("Example 1:\nInput: a = [2], b = 9\nOutput: []", TWO_SUM, calls("twoSum", ([[2], 9], []))),  # other names: in the text's order
        ("Input: [2], 9\nOutput: []", TWO_SUM, calls("twoSum", ([[2], 9], []))),
        ("Input:\nnums = [2]\ntarget = 9\nOutput:\n[]", TWO_SUM, calls("twoSum", ([[2], 9], []))),
        ("**Input:** nums = [2], target = 9\n**Output:** []", TWO_SUM, calls("twoSum", ([[2], 9], []))),
        (
            "Input: nums = [2], target = null\nOutput: [true, false, {'a': 1.5}]",
            TWO_SUM,
            calls("twoSum", ([[2], None], [True, False, {"a": 1.5}])),
        ),
        ('Input: s = "true, \\"x = 1"\nOutput: "a" as above', "def f(s):\n", calls("f", (['true, "x = 1'], "a"))),
        ("Input: nums = [2]\nOutput: []", TWO_SUM, None),  # an argument is missing
        ("Input: nums = [2], target = 9, extra = 1\nOutput: []", TWO_SUM, None),
        ("Input: nums = head, target = 9\nOutput: []", TWO_SUM, None),
        ("Input: nums = [2], target = 9\nOutput: none of them", TWO_SUM, None),
        ("Input: nums = [2], target = 9) + f(1\nOutput: 3", TWO_SUM, None),
        (LEETCODE, None, None),  # nothing to call
    ],
)
def test_labelled_examples_by_hand(statement, starter, expected):
    assert extract_examples(statement, starter) == expected


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("f([1, 2]) == 3", 3),
        ("f([1, 2]) === 3", 3),
        ("f([1, 2]) == 3 if all are positive.", 3),
        ("f([1, 2]) => 3.5.", 3.5),
        ("f([1, 2]) -> -3,", -3),
        ("f([1, 2]) --> 1e-3", 1e-3),
        ("f([1, 2]) \u2192 3", 3),
        ("f([1, 2]) = (1, 2)", [1, 2]),
        ("f([1, 2]) # 3", 3),
        ("f([1, 2]); // 3", 3),
        ("f([1, 2])  // returns [true, null]", [True, None]),
        ('f([1, 2]) # => "a)b"', "a)b"),
        ("f([1, 2]) /* false */", False),
        ("`f([1, 2])` should return `'x y'` because", "x y"),
        ("assert f([1, 2]) == {1: 2}", {"1": 2}),
        ("For f([1,\n 2]) returns 3", 3),
        (">>> f([1, 2])\n3", 3),
        (">>> f([1, 2])\n['a',\n 'b']", ["a", "b"]),
    ],
)
def test_written_calls_by_hand(line, value):
    assert extract_examples(f"Do it.\n\n{line}\n", "def f(x):\n") == calls("f", ([[1, 2]], value))


@pytest.mark.parametrize(
    "line",
    [
        "f(1) == 3 + 4",
        "f(1) == 3 or 4",
        "f(1) == 3 if x else 4",
        "f(1) == 1..5",
        "f(1) == 1,000",
        "f(1) == 10:30",
        "f(1) == g(3)",
        "f(1) == 3/4",
        "f(1) == [1][0]",
        "f(1) != 3",
        "f(1) <= 3",
        "f(x) == 3",
        "f(1 + 1) == 3",
        "f(*[1]) == 3",
        "f(1, y=1) == 3 and f(1, 2) == 3",
        "f() == 3",
        "self.f(1) == 3",
        "gf(1) == 3",
        "f(1) == 5th",
        "f(1) == 1e999",
        "f(1) == {1, 2}",
        "f(1) == b'x'",
        "f(1) # the answer is 3",
        "f(1 == 3",
        ">>> f(1)\n>>> f(2)",
        ">>> f(1)\n",
    ],
)
def test_what_is_no_literal_is_left_out(line):
    good = "f(7) == 8"
    assert extract_examples(line, "def f(x):\n") is None
    assert extract_examples(f"{line}\n\n{good}", "def f(x):\n") == calls("f", ([7], 8))


def test_several_calls_stand_in_the_order_of_the_text():
    statement = "f(1) == 2 and f(2, k=5) == 3\n>>> f(3)\n4\nf(k=1, x=0) => 5"
    assert extract_examples(statement, "def f(x, k=2):\n") == calls("f", ([1], 2), ([2, 5], 3), ([3], 4), ([0, 1], 5))


@pytest.mark.parametrize(
    "starter",
    [
        "def f(x):\n",
        "import math\n\n# def g(a): is not it\ndef f(x: List[int] = [1]) -> int:\n    ",
        "class Solution:\n    def __init__(self):\n        pass\n    def f(self, x):\n",
        "def f(x",
    ],
)
def test_the_starter_codes_function_is_called(starter):
    assert extract_examples("g(1) == 2, f(1) == 3", starter) == calls("f", ([1], 3))


def test_without_starter_code_the_function_is_the_one_that_lines_begin_with():
    assert extract_examples("As len(1) == 1.\nprint(2) == 2\n>>> add(1, 2)\n3\nadd(2, 3) == 5", None) == calls(
        "add", ([1, 2], 3), ([2, 3], 5)
    )
    assert extract_examples("x = 1\ngcd(a, b) == 2\nadd(1, 2) == 3", "import math\n") == calls("add", ([1, 2], 3))
    assert extract_examples("Here gcd(4, 6) == 2.", None) is None
    assert extract_examples(f"gcd(4, 6) == 2\n{CODECHEF}", None) == stdin(("1\n2 3\n", "5\n"))


HEADS = [
    "Input",
    "Output:",
    "-----Examples-----\n",
    "Sample Input 1\n",
    "Example 1:\n",
    "Input: ",
    "\nOutput: ",
    ">>> f(",
    ")\n",
    " == ",
    " // returns ",
]
BITS = [
    "f(",
    ")",
    "[",
    "'",
    '"',
    "\\",
    "x = ",
    "1",
    "-",
    ",",
    "\n",
    "\n\n",
    "9" * 5000,
    "(" * 300,
    "-" * 300,
    "\0",
    "\ud800",
    "null",
    "{1: 2}",
    "1e999",
    "**a",
    "#",
]


@given(
    statement=st.lists(st.sampled_from(HEADS + BITS) | st.text(max_size=5), max_size=25).map("".join),
    starter=st.none() | st.sampled_from(["def f(x):", "def f(x, y=1):\n", "def f("]) | st.text(max_size=20),
)
def test_no_text_raises_and_every_result_is_json(statement, starter):
    tests = extract_examples(statement, starter)
    assert tests is None or len(tests) > 0
    to_json_line(rows.tests_to_json(tests) or {})


@pytest.mark.parametrize(
    "statement", ["f(" * 3000, "\n".join(["-" * 3000 + "x"] * 5), " " * 30000 + "x", "f(1) == " + "[" * 5000, "Input: x\n" * 5000]
)
def test_long_texts_without_examples_are_read_in_passing(statement):
    assert extract_examples(statement, "def f(x):\n") is None


@pytest.mark.shared
def test_leetcodes_examples_agree_with_its_tests(shared):
    with gzip.open(shared / "data" / "leetcode_call_based.jsonl.gz", "rt") as file:
        problems = [json.loads(line) for line in file]
    shown = found = agreeing = 0
    for row in problems:
        tests = extract_examples(row["question"], row["starter_code"])
        shown += row["question"].count("Output:")
        if tests is None:
            continue
        found += len(tests)
        assert tests.fn_name in row["entry_point"]
        known = row["input_output"] or {"inputs": [], "outputs": []}
        answers = {json.dumps(given): wanted for given, wanted in zip(known["inputs"], known["outputs"], strict=True)}
        for given_, wanted in zip(tests.inputs, tests.outputs, strict=True):
            if json.dumps(given_) in answers:
                assert answers[json.dumps(given_)] == wanted, row["problem_id"]
                agreeing += 1
    assert found >= 0.99 * shown
    assert agreeing >= 4400


@pytest.mark.shared
def test_codeforces_examples_agree_with_its_tests(shared):
    with gzip.open(shared / "data" / "codecontests_stdin.jsonl.gz", "rt") as file:
        problems = [row for row in map(json.loads, file) if row["canonical_passes"]]  # the others may have several right answers
    agreeing = 0
    for row in problems:
        tests = extract_examples(row["question"], None)
        known = row["input_output"]
        answers = {given.strip(): wanted.split() for given, wanted in zip(known["inputs"], known["outputs"], strict=True)}
        for given_, wanted in zip(tests.inputs, tests.outputs, strict=True):
            assert answers[given_.strip()] == wanted.split(), row["problem_id"]
            agreeing += 1
    assert agreeing >= 300


@pytest.mark.shared
def test_apps_examples_are_found(shared):
    with gzip.open(shared / "data" / "apps_train5.jsonl.gz", "rt") as file:
        problems = {row["problem_id"]: row for row in map(json.loads, file)}
    found = {name: extract_examples(row["question"], row["starter_code"]) for name, row in problems.items()}
    assert found == {
        "0001": stdin(("3\n2 2 3\n4 3 7\n10 1 9\n", "1\n6\n-1\n")),
        "0111": stdin(("3 5\n00100\n10110\n11001\n", "5\n")),
        "2287": stdin(("5\n1 2\n3 1\n4 3\n3 5\n2\n2 6\n5 7\n", "Yes\n5\n6\n6\n5\n7\n")),
        "2404": calls("findKthPositive", ([[2, 3, 4, 7, 11], 5], 9), ([[1, 2, 3, 4], 2], 6)),
        "4184": None,  # shows none
    }


def test_arrows_of_every_kind_give_a_value():
    statement = "fly([1, 2], 5) \u279e False\nfly([3], 5) \u2192 True\nfly([4], 6) => True"
    assert extract_examples(statement, "def fly(q, w):\n") == calls("fly", ([[1, 2], 5], False), ([[3], 5], True), ([[4], 6], True))


def test_sentences_tell_calls():
    statement = """
    For s = "abcde", c = "ae", the result should be ('bcd',False)
    For s = "abcdef", c = "b"  the result should be ('acdef',False)
    For n = 3 the output should be large.
    """
    assert extract_examples(statement, "def reverse_delete(s,c):\n") == calls(
        "reverse_delete", (["abcde", "ae"], ["bcd", False]), (["abcdef", "b"], ["acdef", False])
    )
    assert extract_examples('For num = "AB" the output should be 1.', "def hex_key(num):") == calls("hex_key", (["AB"], 1))


def test_helpers_before_the_function_are_not_what_is_called():
    starter = "def is_palindrome(string):\n    return string == string[::-1]\n\n\ndef make_palindrome(string):\n"
    statement = ">>> is_palindrome('aa')\nTrue\n>>> make_palindrome('cat')\n'catac'\n"
    assert extract_examples(statement, starter) == calls("make_palindrome", (["cat"], "catac"))


def test_a_literal_that_goes_on_is_no_value():
    assert extract_examples('f(1) == ""a"\nf(2) == "b"', "def f(n):") == calls("f", ([2], "b"))


@pytest.mark.shared
def test_humanevals_solutions_pass_the_examples_of_their_statements(shared):
    """All but four, whose statements are wrong or tell a value as an equation."""
    problems = [p for p in load_problems(f"humaneval:{shared / 'data' / 'humaneval.jsonl.gz'}") if p.example_tests is not None]
    assert len(problems) >= 151
    verdicts = judge([p.solutions[0] for p in problems], [p.example_tests for p in problems], Judging(time_limit=10.0))
    failing = {p.id for p, verdict in zip(problems, verdicts, strict=True) if verdict.outcome is not Outcome.PASSED}
    assert failing <= {"HumanEval/47", "HumanEval/116", "HumanEval/130", "HumanEval/148"}


def test_markdowns_fences_are_not_part_of_an_example():
    statement = "Add.\n\n## Example\n\n### Input\n\n```\n1 2\n```\n\n### Output\n\n```text\n3\n```\n"
    assert extract_examples(statement, None) == StdinTests(inputs=("1 2\n",), outputs=("3\n",))
