"""Lines that ran, statement by statement."""

import pytest

from coderl_jax.rollout.statements import statement_lines

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
