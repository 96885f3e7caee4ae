"""From an actor and problems to judged programs, and from those to the arrays an RL update reads."""

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Callable, Container, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from coderl_jax import hosts
from coderl_jax.data.batches import Batch, pad_to
from coderl_jax.data.tokenizer import Tokenizer
from coderl_jax.model.mesh import sampling_mesh
from coderl_jax.objectives.returns import REWARDS
from coderl_jax.objectives.rltf import ratio_reward
from coderl_jax.objectives.signals import Group
from coderl_jax.rollout.engine import padded_length
from coderl_jax.rollout.sampler import Request, Sampler
from coderl_jax.rollout.statements import statement_lines
from coderl_jax.sandbox import Judge
from coderl_jax.types import Difficulty, Outcome, Program, Rollout, Tests, Verdict

Judged = list[tuple[Program, Verdict]]


def seed_of(*numbers: int) -> int:
    """One seed from several numbers (a run's seed and a round, say)."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


@dataclasses.dataclass(frozen=True)
class UnderWay:
    """Drawn programs, and their verdicts, which the judge is at.

    Attributes:
      programs: of every request, in order of index; of all hosts, where they share the requests.
      verdicts: (position of a request among this host's, program) -> its verdict, promised.
      together: hosts share the requests.
    """

    programs: list[list[Program]]
    verdicts: dict[tuple[int, str], Future[Verdict]]
    together: bool

    def submit(self, judge: Judge, position: int, programs: Sequence[Program], tests: Tests | None) -> None:
        """Hand the programs of one of this host's requests to the judge; equal texts run once."""
        for text in {program.program: None for program in programs}:
            self.verdicts[position, text] = judge.submit(text, tests)

    def judged(self) -> list[Judged]:
        """The programs of every request with their verdicts, when the judge is done. No host waits for more than the others' last ones."""
        own = hosts.share(self.programs) if self.together else self.programs
        rows = [[(program, self.verdicts[at, program.program].result()) for program in programs] for at, programs in enumerate(own)]
        return hosts.together(rows, len(self.programs)) if self.together else rows


def draw(
    sampler: Sampler,
    params: Any,
    judge: Judge,
    requests: Sequence[Request],
    tests: Sequence[Tests | None],
    seed: int,
    temperatures: Sequence[float] | None = None,
    *,
    together: bool = False,
) -> UnderWay:
    """Draw programs, handing each to the judge while the next is drawn.

    Args:
      sampler: draws.
      params: the actor's.
      judge: runs.
      requests: what to draw.
      tests: of each request's problem.
      seed: of the draw.
      temperatures: one a program of a request; None: the sampler's.
      together: the parameters are spread over all hosts, and these share the requests: each draws its own on its own devices, at its own
        pace, and judges them in its own processes; all get all programs.
    """
    with sampling_mesh(params) if together else contextlib.nullcontext(params) as whole:
        ours, their_tests = (hosts.share(requests), hosts.share(tests)) if together else (requests, tests)
        under_way = UnderWay([[] for _ in ours], {}, together)
        for position, programs in sampler.sample(whole, ours, seed, temperatures):
            under_way.programs[position] = programs
            under_way.submit(judge, position, programs, their_tests[position])
    return dataclasses.replace(under_way, programs=hosts.together(under_way.programs, len(requests))) if together else under_way


def passing_share(judged: Sequence[Judged]) -> float:
    """pass@1: the mean over problems of the share of programs that pass."""
    return float(np.mean([np.mean([verdict.outcome == Outcome.PASSED for _, verdict in rows]) for rows in judged]))


def outcome_mix(judged: Sequence[Judged]) -> dict[str, float]:
    """Share of each outcome among all programs."""
    outcomes = [verdict.outcome for rows in judged for _, verdict in rows]
    return {outcome.label: outcomes.count(outcome) / max(len(outcomes), 1) for outcome in Outcome}


def error_types(judged: Sequence[Judged]) -> dict[str, float]:
    """Share of all programs that end with each type of error, the most common first; failed tests and passes have none."""
    types = [verdict.error_type for rows in judged for _, verdict in rows]
    counts = Counter(name for name in types if name is not None)
    return {name: count / len(types) for name, count in counts.most_common()}


def by_difficulty(judged: Sequence[Judged], difficulties: Sequence[Difficulty]) -> dict[str, dict[str, Any]]:
    """{difficulty: {"problems", "greedy_pass", "sampled_pass", "outcomes"}}; the first program of a problem is the greedy one."""
    groups: dict[str, list[Judged]] = {}
    for rows, difficulty in zip(judged, difficulties, strict=True):
        groups.setdefault(difficulty or "unknown", []).append(rows)
    return {
        name: {
            "problems": len(groups[name]),
            "greedy_pass": passing_share([rows[:1] for rows in groups[name]]),
            "sampled_pass": passing_share([rows[1:] for rows in groups[name]]),
            "outcomes": outcome_mix([rows[1:] for rows in groups[name]]),
        }
        for name in sorted(groups)
    }


def return_shares(returns: Float[np.ndarray, " b"]) -> dict[str, float]:
    """Share of the programs at each advantage, rounded to tenths, rising; against a greedy program there are at most 13."""
    values, counts = np.unique(np.round(returns.astype(np.float64), 1) + 0.0, return_counts=True)
    return {f"{value:.1f}": float(count / len(returns)) for value, count in zip(values, counts, strict=True)}


class Best:
    """The largest reward and share of passed tests that each problem's programs have had, over rounds."""

    def __init__(self, problems: int):
        """Nothing yet: the least there is."""
        self.reward = [REWARDS[0]] * problems
        self.passed = [0.0] * problems

    def note(self, problem: int, judged: Judged, rewarded: Float[np.ndarray, " n"]) -> None:
        """Remember a round's programs of a problem."""
        self.reward[problem] = max(self.reward[problem], float(rewarded.max()))
        self.passed[problem] = max(self.passed[problem], *(passed_share(verdict) for _, verdict in judged))


def passed_share(verdict: Verdict) -> float:
    """Share of the tests that a program passes; of a verdict without counts what its outcome says."""
    return verdict.tests_passed / verdict.tests_total if verdict.tests_total else float(verdict.outcome == Outcome.PASSED)


Match = Callable[[int, str], float]
"""(number of a problem, program) -> what its likeness to a reference solution adds to its reward."""


def rewards(judged: Sequence[Judged], problems: Sequence[int], match: Match | None = None) -> list[Float[np.ndarray, " n"]]:
    """The reward of every program of each problem, the greedy one first: its outcome's (CodeRL Eq. 4-7), and its match."""
    table = np.array(REWARDS, np.float32)
    found = [table[[verdict.outcome for _, verdict in rows]] for rows in judged]
    if match is None:
        return found
    extra = [[match(problem, program.program) for program, _ in rows] for problem, rows in zip(problems, judged, strict=True)]
    return [row + np.asarray(more, np.float32) for row, more in zip(found, extra, strict=True)]


def advantages(
    rewarded: Sequence[Float[np.ndarray, " n"]], objective: Any, baseline: str | None, best: Best, problems: Sequence[int]
) -> Float[np.ndarray, " b"]:
    """How much better than its baseline each sampled program did, in the order of `to_rollout`.

    Args:
      rewarded: of `rewards`; the first program of each problem is the greedy one.
      objective: a module of `objectives`.
      baseline: a key of `objectives.baselines.BASELINES`, or None where the objective takes none.
      best: of earlier rounds.
      problems: which problem of `best` each element of `rewarded` is.
    """
    groups = (Group(row[1:], float(row[0]), max(best.reward[at], float(row[0]))) for at, row in zip(problems, rewarded, strict=True))
    return np.concatenate([objective.advantages(group, baseline) for group in groups])


def ratio_advantages(judged: Sequence[Judged], best: Best, problems: Sequence[int]) -> Float[np.ndarray, " b"]:
    """The same by shares of passed tests, against the best so far or the round's greedy program (RLTF)."""
    shares = [[passed_share(verdict) for _, verdict in rows] for rows in judged]
    over = [max(best.passed[problem], greedy) for problem, (greedy, *others) in zip(problems, shares, strict=True) for _ in others]
    sampled = [share for _, *others in shares for share in others]
    return ratio_reward(np.asarray(sampled, np.float32)) - ratio_reward(np.asarray(over, np.float32))


def texts(requests: Sequence[Request], programs: Sequence[Sequence[Program]]) -> Batch:
    """Prompts and programs as arrays, padded to the longest; `programs` are those of each request."""
    rows = [(request.prompt, program.tokens) for request, own in zip(requests, programs, strict=True) for program in own]
    source, source_mask = pad_to([prompt for prompt, _ in rows], padded_length(max(len(prompt) for prompt, _ in rows)))
    target, target_mask = pad_to([tokens for _, tokens in rows], padded_length(max(len(tokens) for _, tokens in rows)))
    return Batch(source, source_mask, target, target_mask, np.arange(len(rows), dtype=np.int32))


def to_rollout(
    requests: Sequence[Request], judged: Sequence[Judged], advantage: Float[np.ndarray, " b"], tokenizer: Tokenizer, needs: set[str]
) -> Rollout:
    """Judged programs as arrays. The first program of each request is the greedy one: it is the baseline, and no row.

    Args:
      requests: one a problem.
      judged: their programs.
      advantage: of `advantages`.
      tokenizer: the actor's.
      needs: of the objective; `error` and `executed` are made here.
    """
    rows = [(program, verdict) for rows in judged for program, verdict in rows[1:]]
    text = texts(requests, [[program for program, _ in rows[1:]] for rows in judged])

    def marked(lines_of: Callable[[Program, Verdict], Container[int] | None], end: bool) -> Bool[np.ndarray, "b t"]:
        """True at tokens on these lines, and at the end token if `end`; at all of a program's tokens where there are None."""
        found = text.target_mask.copy()
        for row, (program, verdict) in enumerate(rows):
            wanted = lines_of(program, verdict)
            if wanted is not None:
                held = [any(line in wanted for line in lines) if lines else end for lines in tokenizer.lines(program.tokens)]
                found[row, : len(held)] = held
        return found

    return Rollout(
        source=text.source,
        source_mask=text.source_mask,
        target=text.target,
        target_mask=text.target_mask,
        outcome=np.array([verdict.outcome for _, verdict in rows], np.int32),
        advantage=advantage,
        error=marked(_error_lines, end=False) if "error" in needs else None,
        executed=marked(_executed_lines, end=True) if "executed" in needs else None,
    )


def _executed_lines(program: Program, verdict: Verdict) -> frozenset[int] | None:
    return None if verdict.executed_lines is None else statement_lines(program.program, verdict.executed_lines)


def _error_lines(program: Program, verdict: Verdict) -> tuple[int, ...] | None:
    """The erring line; None, which stands for the whole program, where an error has no line; no line where there is no error."""
    if verdict.outcome not in (Outcome.COMPILE_ERROR, Outcome.RUNTIME_ERROR):
        return ()
    return None if verdict.error_line is None else (verdict.error_line,)


def deal(
    rollout: Rollout, batches: int, batch_size: int, seed: int, everything: bool = False, multiple: int = 1
) -> list[tuple[Rollout, float, float]]:
    """Deal a round's programs into update batches, each with the number of tokens and of programs it stands for.

    Programs whose advantages are zero add nothing to the objective's gradient and are left out; the counts include them, so the loss stays
    the mean over all programs. `everything` keeps them: a value model, a KL or an entropy term read them. Where more are left than the
    batches hold, a random part is kept and the counts shrink alike. Rows that fill a batch up have an empty target mask.

    Returns:
      `batches` triples; arrays have `batch_size` rows, or where few programs are left a half, a quarter and so on of them, a multiple of
      `multiple`, and are trimmed to the longest prompt and program (padded lengths).
    """
    tells = np.ones(len(rollout.outcome), bool) if everything else informative(rollout)
    chosen = np.random.default_rng(seed).permutation(np.flatnonzero(tells))[: batches * batch_size]
    share = len(chosen) / max(int(tells.sum()), 1) if len(chosen) else 1.0
    tokens, programs = (float(count) * share / batches for count in (rollout.target_mask.sum(), len(rollout.outcome)))
    while batch_size % (2 * multiple) == 0 and batch_size // 2 >= max(LEAST_ROWS, -(-len(chosen) // batches)):
        batch_size //= 2
    return [(_rows(rollout, chosen[part::batches], batch_size), tokens, programs) for part in range(batches)]


LEAST_ROWS = 8
"""Rows of an update batch at least: every size is a program to compile."""


def informative(rollout: Rollout) -> Bool[np.ndarray, " b"]:
    """Whether the objective's gradient has anything of a program."""
    tells = rollout.advantage != 0
    if rollout.ratio_advantage is not None:
        tells = tells | (rollout.ratio_advantage != 0)
    if rollout.error is not None:
        tells = tells | rollout.error.any(axis=1)
    return tells


def _rows(rollout: Rollout, rows: np.ndarray, batch_size: int) -> Rollout:
    index = np.concatenate([rows, np.zeros(batch_size - len(rows), rows.dtype)])
    real = np.arange(batch_size) < len(rows)
    target_mask = rollout.target_mask[index] & real[:, None]
    s = min(padded_length(max(int(rollout.source_mask[index].sum(axis=1).max()), 1)), rollout.source.shape[1])
    t = min(padded_length(max(int(target_mask.sum(axis=1).max()), 1)), rollout.target.shape[1])

    def part(name: str) -> np.ndarray | None:
        array = getattr(rollout, name)
        if array is None or array.ndim == 1:
            return None if array is None else array[index]
        return array[index, : s if name.startswith("source") else t]

    parts = {field.name: part(field.name) for field in dataclasses.fields(rollout)}
    return Rollout(**parts | {"target_mask": target_mask[:, :t]})
