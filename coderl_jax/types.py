"""The nouns of the project: problems, tests, programs, verdicts. Standard library and numpy only.

Legend of array axes, used in every shape annotation:

    b batch    s source token    t target token    d model    h heads    v vocabulary
    k outcome classes    n samples of a problem    p problems
"""

import dataclasses
import enum
from typing import Any, Literal

import numpy as np

Difficulty = str | None

TextTask = Literal["text_to_code", "code_to_code_java", "code_to_code_c_sharp", "refinement", "code_to_text"]
"""Tasks whose answers are compared with a reference as texts, as CodeXGLUE does (of translation, the language written)."""

KEPT = "kept"
"""Name (`jax.ad_checkpoint.checkpoint_name`) of what a function of logits keeps for its backward pass where the logits are made again."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StdinTests:
    """Tests of a program that reads standard input and prints. One string a test on each side."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    kind = "stdin"

    def __len__(self) -> int:
        return len(self.inputs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CallTests:
    """Tests that call `fn_name` (a function, or a method of `class Solution`).

    `inputs` holds one list of arguments a test, `outputs` one value a test; both are JSON values.
    """

    fn_name: str
    inputs: tuple[list[Any], ...]
    outputs: tuple[Any, ...]

    kind = "call"

    def __len__(self) -> int:
        return len(self.inputs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AssertTests:
    """Tests written as code: the program runs, then `setup`, then each of `asserts` on its own."""

    setup: str
    asserts: tuple[str, ...]

    kind = "assert"

    def __len__(self) -> int:
        return len(self.asserts)


Tests = StdinTests | CallTests | AssertTests


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublicProblem:
    """What a contestant sees: no hidden tests, no solutions.

    `rollout.critical` takes this type and no other, so that refining and repairing cannot see the hidden tests.
    `call_based` decides the prompt's last line; unlike the tests' kind it is public for every problem.
    """

    id: str
    statement: str
    starter_code: str | None
    example_tests: Tests | None
    call_based: bool
    task: TextTask | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """A programming problem. Unknown or missing parts are None (solutions: an empty tuple).

    One with a `task` has no tests: its statement alone is the prompt, and its solutions are references.
    """

    id: str
    statement: str
    starter_code: str | None = None
    example_tests: Tests | None = None
    hidden_tests: Tests | None = None
    solutions: tuple[str, ...] = ()
    difficulty: Difficulty = None
    task: TextTask | None = None

    @property
    def call_based(self) -> bool:
        """Whether a solution is a function to call. Without tests the starter code decides, as upstream does."""
        tests = self.hidden_tests or self.example_tests
        return self.starter_code is not None if tests is None else not isinstance(tests, StdinTests)

    def public(self) -> PublicProblem:
        """The problem without hidden tests and solutions."""
        return PublicProblem(
            id=self.id,
            statement=self.statement,
            starter_code=self.starter_code,
            example_tests=self.example_tests,
            call_based=self.call_based,
            task=self.task,
        )


class Outcome(enum.IntEnum):
    """What became of a program. The number is the critic's class (CodeRL section 3.3.2)."""

    COMPILE_ERROR = 0
    RUNTIME_ERROR = 1
    FAILED_TEST = 2
    PASSED = 3

    @property
    def label(self) -> str:
        """The name in files: `compile_error`, `runtime_error`, `failed_test`, `passed`."""
        return self.name.lower()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the judge says of one program. `outcome` is None where the problem has no test to run.

    `error_line` counts from 1, in the program. `seconds` is wall time over the tests that ran. `executed_lines` are those of the
    program that ran under any test, where the judge was asked for them and the program lived to tell.
    """

    outcome: Outcome | None
    error_type: str | None = None
    error_message: str | None = None
    error_line: int | None = None
    tests_passed: int = 0
    tests_total: int = 0
    seconds: float = 0.0
    executed_lines: tuple[int, ...] | None = None


Stage = Literal["drawn", "repaired", "refined"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """A generated program: row `index` (from 0) among those of its problem.

    `tokens` are the actor's ids up to and with the end token. `logprob` is the natural logarithm of the program's
    probability under the unfiltered actor at temperature 1, end token included.
    """

    problem_id: str
    program: str
    index: int = 0
    tokens: tuple[int, ...] | None = None
    logprob: float | None = None
    stage: Stage | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """What a critic says of one program: class probabilities, and a value q(w_t) for each of its tokens.

    `outcome` is the one that the values are the critic's belief in (u in the paper): the program's own where it was judged.
    `token_starts` are the characters of the program where its tokens begin. `refine_cut` is how many leading tokens critical
    sampling keeps of the program where it passes the example tests; a binary critic says so, another gives None.
    """

    outcome_probabilities: tuple[float, ...]
    tokens: tuple[int, ...]
    token_values: tuple[float, ...]
    outcome: Outcome = Outcome.PASSED
    token_starts: tuple[int, ...] = ()
    refine_cut: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rollout:
    """Judged programs as arrays, one row a program: what an RL update eats. Parts that an objective does not need are None.

    Attributes:
      source: prompt tokens, right-padded, int32 [b, s].
      source_mask: True at prompt tokens, bool [b, s].
      target: program tokens with the end token, right-padded, int32 [b, t].
      target_mask: True at program tokens and the end token, bool [b, t].
      outcome: class of each program, int32 [b].
      advantage: how much better each program did than its baseline, float32 [b].
      ratio_advantage: the same by the share of tests that it passes, float32 [b].
      error: True at tokens of the line that the error is on, or at all of an error that has no line, bool [b, t].
      executed: True at tokens of statements that ran, at all where nobody knows, bool [b, t].
      critic: a critic's value of each token, q(w_t), where it is known beforehand, float32 [b, t].
      behaviour: log-probabilities of the tokens under the policy that wrote them, float32 [b, t].
      reference: the same under the policy that the run began with, float32 [b, t].
      weight: of each token, less than 1 where the policy has moved away from it since it was written, float32 [b, t].
      token_advantage: advantage of each token, where a value model makes it differ within a program, float32 [b, t].
      value: the value model's estimate at each token when it was written, float32 [b, t].
      value_target: what it should have been, float32 [b, t].
    """

    source: np.ndarray
    source_mask: np.ndarray
    target: np.ndarray
    target_mask: np.ndarray
    outcome: np.ndarray
    advantage: np.ndarray
    ratio_advantage: np.ndarray | None = None
    error: np.ndarray | None = None
    executed: np.ndarray | None = None
    critic: np.ndarray | None = None
    behaviour: np.ndarray | None = None
    reference: np.ndarray | None = None
    weight: np.ndarray | None = None
    token_advantage: np.ndarray | None = None
    value: np.ndarray | None = None
    value_target: np.ndarray | None = None
