"""Offline RL: programs, verdicts and token values out of files, in place of sampling, judging and scoring (the released code's way)."""

import dataclasses
import pathlib
import sys
from collections.abc import Iterator, Sequence

import numpy as np

from coderl_jax.data.prompts import program_tokens
from coderl_jax.data.tokenizer import Tokenizer
from coderl_jax.files import UserError, shown
from coderl_jax.rollout.collect import Judged
from coderl_jax.rows import GREEDY, read_programs, read_verdicts, score_from_json
from coderl_jax.types import Problem, Program, Verdict


class Saved:
    """Judged programs of files, by problem.

    Attributes:
      problems: those with a greedy program and another.
      counted: every verdict says how many tests the program passes.
    """

    def __init__(
        self,
        programs: str,
        baseline: str | None,
        scores: str | None,
        problems: Sequence[Problem],
        tokenizer: Tokenizer,
        max_new_tokens: int,
    ):
        """Read the files.

        Args:
          programs: verdicts of sampled programs (JSON lines), or the released code's folder, one a problem with `gen_solutions.json` and
            `baseline_solutions.json`.
          baseline: verdicts of greedy programs, one a problem; not with upstream's folder, which has its own.
          scores: of `sample.score` for the sampled programs, or None.
          problems: what the programs are for.
          tokenizer: the actor's.
          max_new_tokens: longer programs are cut.

        Raises:
          UserError: a malformed row, no problem with both, scores of other programs.
        """
        if pathlib.Path(programs).is_dir():
            if baseline:
                raise UserError(f"--offline-baseline: expected none beside a folder, which has its own, got {shown(baseline)}")
            sampled, greedy = read_verdicts(programs, problems), read_verdicts(programs, problems, GREEDY)
        elif baseline is None:
            raise UserError("--offline-baseline: expected verdicts of greedy programs beside --offline, got none; judge some")
        else:
            sampled, greedy = read_verdicts(programs, problems), read_verdicts(baseline, problems)

        def judged(rows: Judged) -> Iterator[tuple[Program, Verdict]]:
            for program, verdict in rows:
                if verdict.outcome is not None:
                    tokens = program_tokens(tokenizer, program.program, max_new_tokens)
                    yield dataclasses.replace(program, tokens=tuple(tokens)), verdict

        self._sampled: dict[str, Judged] = {}
        for program, verdict in judged(sampled):
            self._sampled.setdefault(program.problem_id, []).append((program, verdict))
        self._greedy = {program.problem_id: (program, verdict) for program, verdict in judged(list(reversed(greedy)))}
        self.counted = all(verdict.tests_total for _, verdict in [*sampled, *greedy] if verdict.outcome is not None)
        self._values = {} if scores is None else _token_values(scores, problems)
        self.problems = [problem for problem in problems if problem.id in self._sampled and problem.id in self._greedy]
        if not self.problems:
            raise UserError(f"{programs}: programs: expected sampled and greedy ones of --problems, got no problem with both; judge some")
        count = sum(len(self._sampled[problem.id]) for problem in self.problems)
        print(
            f"{count} saved programs of {len(self.problems)} problems; {len(problems) - len(self.problems)} problems left out",
            file=sys.stderr,
        )

    def drawn(self, problem_id: str, count: int, seed: int) -> Judged:
        """The greedy program of a problem, then `count` others, drawn without repeats while they last; each with its tokens."""
        others = self._sampled[problem_id]
        rounds = -(-count // len(others))
        random = np.random.default_rng(seed)
        order = np.concatenate([random.permutation(len(others)) for _ in range(rounds)])[:count]
        return [self._greedy[problem_id], *(others[i] for i in order)]

    def values(self, judged: Sequence[Judged], width: int) -> np.ndarray | None:
        """q(w_t) of the sampled programs as the scores have them, float32 [b, width]; None without scores.

        Raises:
          UserError: a program without its score, or one of other tokens.
        """
        if not self._values:
            return None
        found = []
        for rows in judged:
            for program, _ in rows[1:]:
                row = self._values.get((program.problem_id, program.index))
                if row is None or len(row) != len(program.tokens):
                    got = "none" if row is None else f"{len(row)} values for {len(program.tokens)} tokens"
                    place = f"problem {shown(program.problem_id)} index {program.index}"
                    raise UserError(f"--offline-scores: expected a value a token of {place}, got {got}; score the same programs")
                found.append(np.pad(np.asarray(row, np.float32), (0, width - len(row))))
        return np.stack(found)


def _token_values(path: str, problems: Sequence[Problem]) -> dict[tuple[str, int], tuple[float, ...]]:
    rows = read_programs(path, problems)
    return {(program.problem_id, program.index): score_from_json(place, row).token_values for place, row, program in rows}
