"""Which lines of a program ran, when the judge is asked; and that asking changes no verdict."""

import dataclasses

import pytest

from coderl_jax.config import Judging
from coderl_jax.rows import verdict_from_json, verdict_to_json
from coderl_jax.sandbox import Judge, judge
from coderl_jax.types import AssertTests, CallTests, Outcome, Program, StdinTests

ASKED = Judging(time_limit=2.0, coverage=True)

BRANCHES = """\
def f(x):
    if x > 0:
        return x
    else:
        return -x

"""
FORGING = """\
import os
for d in range(3, 30):
    try:
        os.write(d, b'["line", 999]\\n["line", "x"]\\n["line"]\\n["line", -1]\\n["line", 1e9]\\n')
    except OSError:
        pass
print(3)
"""
STDIN = BRANCHES + "n = int(input())\nif n == 7:\n    n = 8\nprint(f(n))\n"


def lines_of(program, tests, settings=ASKED):
    (verdict,) = judge([program], [tests], settings)
    return verdict


@pytest.mark.parametrize(
    ("program", "tests", "outcome", "lines"),
    [
        (STDIN, StdinTests(inputs=("3", "4"), outputs=("3", "4")), Outcome.PASSED, (1, 2, 3, 7, 8, 10)),
        (STDIN, StdinTests(inputs=("3", "-4"), outputs=("3", "5")), Outcome.FAILED_TEST, (1, 2, 3, 5, 7, 8, 10)),
        (STDIN, StdinTests(inputs=("x",), outputs=("3",)), Outcome.RUNTIME_ERROR, (1, 7)),
        (BRANCHES, CallTests(fn_name="f", inputs=([1], [-1]), outputs=(1, 1)), Outcome.PASSED, (1, 2, 3, 5)),
        (BRANCHES, CallTests(fn_name="f", inputs=([1],), outputs=(2,)), Outcome.FAILED_TEST, (1, 2, 3)),
        (BRANCHES, AssertTests(setup="", asserts=("assert f(2) == 2", "assert f(3) == 3")), Outcome.PASSED, (1, 2, 3)),
        (BRANCHES, AssertTests(setup="", asserts=("assert f(-2) == 3",)), Outcome.FAILED_TEST, (1, 2, 5)),
        ("def f(:\n", CallTests(fn_name="f", inputs=([1],), outputs=(1,)), Outcome.COMPILE_ERROR, None),
    ],
)
def test_executed_lines_are_those_that_ran_under_any_test(program, tests, outcome, lines):
    verdict = lines_of(program, tests)
    assert (verdict.outcome, verdict.executed_lines) == (outcome, lines)
    plain = lines_of(program, tests, dataclasses.replace(ASKED, coverage=False))
    assert plain == dataclasses.replace(verdict, executed_lines=None, seconds=plain.seconds)


def test_wrapped_programs_tell_their_own_lines():
    settings = dataclasses.replace(ASKED, semantics="coderl")
    program = "import math\nn = int(input())\nif n > 5:\n    print(1)\nprint(math.floor(n))\n"
    verdict = lines_of(program, StdinTests(inputs=("3",), outputs=("3",)), settings)
    assert verdict.outcome == Outcome.PASSED
    assert set(verdict.executed_lines) >= {2, 3, 5}
    assert 4 not in verdict.executed_lines


def test_lines_before_a_time_out_are_known():
    program = "x = 0\ny = 1\nwhile True:\n    x += y\nprint(x)\n"
    verdict = lines_of(program, StdinTests(inputs=("",), outputs=("",)), Judging(time_limit=0.5, coverage=True))
    assert (verdict.error_type, verdict.executed_lines) == ("TimeLimit", (1, 2, 3, 4))


def test_a_slow_passing_program_passes_though_tracing_it_takes_too_long():
    program = "n = int(input())\ns = 0\nfor i in range(n):\n    s += i\nprint(s)\n"
    verdict = lines_of(
        program, StdinTests(inputs=("6000000",), outputs=(str(sum(range(6000000))),)), Judging(time_limit=2.0, coverage=True)
    )
    assert verdict.outcome == Outcome.PASSED
    assert {1, 2, 3, 4} <= set(verdict.executed_lines)


@pytest.mark.parametrize(
    "program",
    [
        "import sys\nsys.settrace(None)\nprint(3)\n",
        FORGING,
        "class Str(str):\n    __eq__ = None\nprint(3)\n",
    ],
)
def test_a_program_that_meddles_with_its_trace_harms_its_own_lines_only(program):
    verdict = lines_of(program, StdinTests(inputs=("",), outputs=("3",)))
    assert all(1 <= line <= program.count("\n") + 1 for line in verdict.executed_lines)
    plain = lines_of(program, StdinTests(inputs=("",), outputs=("3",)), Judging(time_limit=2.0))
    assert plain.outcome == verdict.outcome


def test_lines_are_written_read_and_kept(tmp_path):
    tests = StdinTests(inputs=("3",), outputs=("3",))
    settings = dataclasses.replace(ASKED, cache=str(tmp_path))
    found = []
    for _ in range(2):
        with Judge(settings) as one:
            found.append(one.submit(STDIN, tests).result())
    assert found[0] == found[1]
    assert found[0].executed_lines == (1, 2, 3, 7, 8, 10)
    row = verdict_to_json(Program(problem_id="a", program=STDIN), found[0])
    assert verdict_from_json("x", row).executed_lines == found[0].executed_lines
    with Judge(dataclasses.replace(settings, coverage=False)) as one:
        assert one.submit(STDIN, tests).result().executed_lines is None
