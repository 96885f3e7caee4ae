"""Lines that ran, statement by statement, and the parser that tells."""

import gc
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from coderl_jax.rollout.statements import statement_lines
from coderl_jax.syntax import compiled, parsed

PROGRAM = """\
import os
def f(a,
      b):
    if a > b:
        return a
    else:
        return [
            b,
            0,
        ]

try:
    print(
        f(1,
          2),
    )
except ValueError:
    pass
finally:
    print("done")
match 3:
    case 1:
        print(1)
    case 3:
        print(3)
"""


def test_a_statement_runs_as_a_whole():
    ran = [1, 2, 4, 8, 9, 12, 14, 15, 20, 21, 22, 24, 25]
    assert statement_lines(PROGRAM, ran) == {1, 2, 3, 4, 6, 7, 8, 9, 10, 12, 13, 14, 15, 16, 19, 20, 21, 22, 24, 25}


def test_a_branch_that_did_not_run_takes_its_word_with_it():
    assert statement_lines("if True:\n    x = 1\nelse:\n    x = 2\n", [1, 2]) == {1, 2}
    assert statement_lines("while f(\n  1):\n    g()\nelse:\n    h()\n", [1, 5]) == {1, 2, 4, 5}
    assert statement_lines("@g\ndef f(x): return x\n", [1]) == {1, 2}


@pytest.mark.parametrize("program", ["def f(:\n  1", "x = '\\d'\n", "\0", ""])
def test_what_does_not_parse_keeps_its_lines(program):
    assert statement_lines(program, [1]) == {1}


class _Lets:
    """Garbage that lets another thread run when it is collected, in the middle of whatever the collecting one is at."""

    def __init__(self):
        self.itself = self

    def __del__(self):
        time.sleep(0.0003)


@pytest.fixture
def eager_collector():
    before = gc.get_threshold()
    gc.set_threshold(20)
    yield
    gc.set_threshold(*before)


def test_threads_of_any_depth_parse_side_by_side(eager_collector):
    program = "x = " + "[" * 60 + "]" * 60 + "\n" + "y = 1\n" * 300

    def work(n: int, deeper: int) -> object:
        if deeper:
            return work(n, deeper - 1)
        for _ in range(3):
            _Lets()
        return compiled(parsed(f"{program}z = {n}"), "program")

    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(lambda n: work(n, n % 7), range(80)))) == 80
