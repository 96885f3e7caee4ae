"""Offline RL: programs, verdicts and token values out of files, in place of sampling, judging and scoring (the released code's way)."""

import dataclasses
import pathlib
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from coderl_jax.data.prompts import program_tokens
from coderl_jax.data.tokenizer import Tokenizer
from coderl_jax.files import UserError, shown
from coderl_jax.rollout.collect import Judged
from coderl_jax.rows import GREEDY, read_programs, read_verdicts, score_from_json
from coderl_jax.types import Outcome, Problem, Program, Verdict


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
          UserError: a malformed row, no problem with both, several greedy programs of one, scores of a critic of two outcomes.
        """
        if pathlib.Path(programs).is_dir():
            if baseline:
                raise UserError(f"--offline-baseline: expected none beside a folder, which has its own, got {shown(baseline)}")
            sampled, greedy = read_verdicts(programs, problems), read_verdicts(programs, problems, GREEDY)
        elif baseline is None:
            raise UserError("--offline-baseline: expected verdicts of greedy programs beside --offline, got none; judge some")
        else:
            sampled, greedy = read_verdicts(programs, problems), read_verdicts(baseline, problems)
            often, times = Counter(program.problem_id for program, _ in greedy).most_common(1)[0]
            if times > 1:
                raise UserError(
                    f"{baseline}: --offline-baseline: expected one greedy program a problem, got {times} of {shown(often)}; "
                    "draw them with --num-samples 1 --temperature 0"
                )

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
        self._scores = None if scores is None else _scores(scores, problems)
        self.problems = [problem for problem in problems if problem.id in self._sampled and problem.id in self._greedy]
        if not self.problems:
            raise UserError(f"{programs}: programs: expected sampled and greedy ones of --problems, got no problem with both; judge some")
        count = sum(len(self._sampled[problem.id]) for problem in self.problems)
        print(
            f"{count} saved programs of {len(self.problems)} problems; {len(problems) - len(self.problems)} problems left out",
            file=sys.stderr,
        )

    def drawn(self, problem_id: str, count: int, seed: int, after: int = 0) -> Judged:
        """The greedy program of a problem, then `count` others, each with its tokens.

        They are drawn without repeats while they last, `after` so many that were drawn with this seed before.
        """
        others = self._sampled[problem_id]
        rounds = -(-(after + count) // len(others))
        random = np.random.default_rng(seed)
        order = np.concatenate([random.permutation(len(others)) for _ in range(rounds)])[after : after + count]
        return [self._greedy[problem_id], *(others[i] for i in order)]

    def values(self, judged: Sequence[Judged], width: int) -> np.ndarray | None:
        """q(w_t) of the sampled programs as the scores have them, float32 [b, width]; None without scores.

        Raises:
          UserError: a program without its score, or one of another program or other tokens.
        """
        if self._scores is None:
            return None
        found = []
        for rows in judged:
            for program, _ in rows[1:]:
                text, row = self._scores.get((program.problem_id, program.index), (None, ()))
                if text != program.program or len(row) != len(program.tokens):
                    got = "none" if text is None else f"{len(row)} values for {len(program.tokens)}"
                    got = got if text in (None, program.program) else f"those of {shown(text)}"
                    place = f"problem {shown(program.problem_id)} index {program.index}"
                    raise UserError(f"--offline-scores: expected a value a token of {place}, got {got}; score the same programs")
                found.append(np.pad(np.asarray(row, np.float32), (0, width - len(row))))
        return np.stack(found)


def _scores(path: str, problems: Sequence[Problem]) -> dict[tuple[str, int], tuple[str, tuple[float, ...]]]:
    """Text and token values of each program."""
    found = {}
    for place, row, program in read_programs(path, problems):
        score = score_from_json(place, row)
        if (classes := len(score.outcome_probabilities)) != len(Outcome):
            raise UserError(f"{place}: outcome_probabilities: expected {len(Outcome)}, got {classes}; score with a critic of 4 outcomes")
        found[program.problem_id, program.index] = program.program, score.token_values
    return found
