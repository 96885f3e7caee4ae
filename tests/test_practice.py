"""What bench.scratch teaches: nothing of what it is tested on, and all in MBPP's form."""

import ast

import pytest

from bench.practice import plain, plain_problems, unlike_the_test
from coderl_jax.config import Judging
from coderl_jax.data.problems import load_problems
from coderl_jax.types import AssertTests, CallTests, Problem, StdinTests

LEETCODE = """
from typing import *
from collections import *
from math import *
inf = float('inf')

class Solution:
    def mostOften(self, words: List[str], least: int = 1) -> str:
        # a comment
        def key(word: str) -> int:
            return -counted[word]
        counted = Counter(words)
        return min(counted, key=key) if len(words) >= least else inf
"""


def _asked(*solutions, outputs=("b", "x", "y", "z"), **fields):
    tests = CallTests(fn_name="mostOften", inputs=(["abb".split("b")], [["x"]], [["y"], 1], [["z"], 0]), outputs=outputs)
    statement = "Find the word\n that is there most often.\n\nExample 1:\n\nInput: words = ..."
    return Problem(id="a", statement=statement, starter_code="class Solution:", hidden_tests=tests, solutions=solutions, **fields)


def test_a_method_becomes_a_function_that_stands_alone():
    problem = plain(_asked(LEETCODE, LEETCODE))
    assert problem.solutions == (
        "from collections import Counter\nfrom math import inf\n\ndef mostOften(words, least=1):\n\n    def key(word):\n"
        "        return -counted[word]\n    counted = Counter(words)\n    return min(counted, key=key) if len(words) >= least else inf",
    )
    assert problem.hidden_tests.asserts == (
        "assert mostOften(['a', '', '']) == 'b'",
        "assert mostOften(['x']) == 'x'",
        "assert mostOften(['y'], 1) == 'y'",
    )
    assert problem.statement == "\n".join(
        ["Find the word that is there most often.", "Your code should satisfy these tests:", *problem.hidden_tests.asserts]
    )
    assert problem.example_tests == problem.hidden_tests
    assert problem.starter_code is None


@pytest.mark.parametrize(
    "solution",
    [
        LEETCODE.replace("class Solution", "class Other"),
        LEETCODE.replace("mostOften", "another"),
        LEETCODE.replace("Counter(words)", "self.count(words)"),
        LEETCODE.replace("Counter(words)", "frequencies(words)"),
        LEETCODE + "    def another(self): pass\n",
        "class Solution:\n    def mostOften(\n",
        "print(input())",
    ],
)
def test_what_needs_its_class_or_its_module_is_left_out(solution):
    assert plain(_asked(solution)) is None
    assert plain(_asked(solution, LEETCODE)).solutions == plain(_asked(LEETCODE)).solutions


def test_only_solutions_that_pass_alone_and_problems_with_one_are_taught():
    right = "class Solution:\n    def mostOften(self, words, least=1):\n        return max(words, key=words.count)"
    wrong = right.replace("max", "min")
    outputs = ("", "x", "y", "z")
    judging = Judging(time_limit=2.0)
    (kept,) = plain_problems([_asked(wrong, right, outputs=outputs)], judging)
    assert kept.solutions == ("def mostOften(words, least=1):\n    return max(words, key=words.count)",)
    assert plain_problems([_asked(wrong, outputs=("q", "x", "y", "z"))], judging) == []


def test_assertions_stay_and_other_forms_are_not_taught():
    asserts = AssertTests(setup="", asserts=("assert f(1) == 2",))
    mbpp = Problem(id="m", statement="Add one.", hidden_tests=asserts, solutions=("def f(n):\r\n\treturn n+1 # more",))
    assert plain(mbpp).solutions == ("def f(n):\n    return n + 1",)
    assert plain(mbpp).statement == mbpp.statement
    stdin = StdinTests(inputs=("1",), outputs=("2",))
    assert plain(Problem(id="s", statement="Add one.", hidden_tests=stdin, solutions=("print(2)",))) is None
    assert plain(Problem(id="c", statement="", starter_code="class Solution:", hidden_tests=asserts, solutions=("f = 1",))) is None


@pytest.mark.shared
def test_real_problems_become_short_functions(shared):
    found = load_problems(f"jsonl:{shared / 'data' / 'leetcode_call_based.jsonl.gz'}", limit=200)
    rewritten = [problem for problem in map(plain, found) if problem]
    assert len(rewritten) > 150
    for problem in rewritten:
        for solution in problem.solutions:
            assert isinstance(ast.parse(solution).body[-1], ast.FunctionDef)
            assert "class Solution" not in solution
    kept = plain_problems(found[:40], Judging(time_limit=2.0))
    assert len(kept) >= 0.9 * len([problem for problem in map(plain, found[:40]) if problem])


@pytest.mark.shared
def test_scratch_neither_teaches_nor_chooses_by_what_it_is_tested_on(shared):
    mbpp = str(shared / "data" / "mbpp.jsonl.gz")
    for split, alike in (("train", {"635", "602", "872"}), ("validation", {"530"})):
        found = load_problems(f"mbpp:{mbpp}#{split}")
        left = {problem.id for problem in found} - {problem.id for problem in unlike_the_test(found, mbpp)}
        assert alike <= left
        assert len(left) < len(found) / 5
