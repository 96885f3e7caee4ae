"""From an actor and problems to judged programs, and from those to the arrays an RL update reads."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from coderl_jax.data.batches import pad_to
from coderl_jax.objectives.returns import REWARDS
from coderl_jax.rollout.sampler import Request, Sampler, padded_length
from coderl_jax.sandbox import Judge
from coderl_jax.types import Difficulty, Outcome, Program, Rollout, Tests, Verdict

Judged = list[tuple[Program, Verdict]]


def seed_of(*numbers: int) -> int:
    """One seed from several numbers (a run's seed and a round, say)."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def sample_and_judge(
    sampler: Sampler,
    params: Any,
    judge: Judge,
    requests: Sequence[Request],
    tests: Sequence[Tests | None],
    seed: int,
    temperatures: Sequence[float] | None = None,
) -> list[Judged]:
    """Draw programs and judge them, a batch being judged while the next is drawn.

    Args:
      sampler: draws.
      params: the actor's.
      judge: runs.
      requests: what to draw.
      tests: of each request's problem.
      seed: of the draw.
      temperatures: one a program of a request; None: the sampler's.

    Returns:
      For each request its programs with their verdicts, in order of index.
    """
    result: list[Judged] = [[] for _ in requests]
    drawn, running = [], {}
    for position, programs in sampler.sample(params, requests, seed, temperatures):
        drawn.append((position, programs))
        for text in {program.program: None for program in programs}:  # equal texts run once
            running[position, text] = judge.submit(text, tests[position])
    for position, programs in drawn:
        result[position] = [(program, running[position, program.program].result()) for program in programs]
    return result


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
    """Share of the programs at each value of the relative return, rising; there are at most 13."""
    values, counts = np.unique(np.round(returns.astype(np.float64), 1) + 0.0, return_counts=True)
    return {f"{value:.1f}": float(count / len(returns)) for value, count in zip(values, counts, strict=True)}


def to_rollout(requests: Sequence[Request], judged: Sequence[Judged]) -> Rollout:
    """Judged programs as arrays. The first program of each request is the greedy one: it is the baseline, and no row."""
    rows = [
        (request, program, verdict, rows[0][1]) for request, rows in zip(requests, judged, strict=True) for program, verdict in rows[1:]
    ]
    source, source_mask = pad_to([r.prompt for r, *_ in rows], padded_length(max(len(r.prompt) for r, *_ in rows)))
    target, target_mask = pad_to([p.tokens for _, p, *_ in rows], padded_length(max(len(p.tokens) for _, p, *_ in rows)))
    return Rollout(
        source=source,
        source_mask=source_mask,
        target=target,
        target_mask=target_mask,
        outcome=np.array([verdict.outcome for *_, verdict, _ in rows], np.int32),
        baseline_outcome=np.array([greedy.outcome for *_, greedy in rows], np.int32),
    )


def relative_returns(rollout: Rollout, baseline: bool) -> Float[np.ndarray, " b"]:
    """r(W^s) - r(W^b) of every program (CodeRL Eq. 10), on the host; r(W^s) where `baseline` is False."""
    rewards = np.array(REWARDS, np.float32)
    return rewards[rollout.outcome] - (rewards[rollout.baseline_outcome] if baseline else 0.0)


def deal(rollout: Rollout, batches: int, batch_size: int, baseline: bool, seed: int) -> list[tuple[Rollout, float]]:
    """Deal a round's programs into update batches, each with the number of program tokens it stands for.

    Programs of zero relative return have exactly zero gradient and are left out; the tokens count them, so the loss stays
    the mean over all programs. Where more are left than the batches hold, a random part is kept and the tokens shrink alike.
    Rows that fill a batch up have an empty target mask.

    Returns:
      `batches` pairs; arrays have `batch_size` rows and are trimmed to the longest prompt and program (padded lengths).
    """
    informative = np.flatnonzero(relative_returns(rollout, baseline))
    chosen = np.random.default_rng(seed).permutation(informative)[: batches * batch_size]
    share = len(chosen) / max(len(informative), 1)
    tokens = float(rollout.target_mask.sum()) * (share if len(chosen) else 1.0) / batches
    return [(_rows(rollout, chosen[part::batches], batch_size), tokens) for part in range(batches)]


def _rows(rollout: Rollout, rows: np.ndarray, batch_size: int) -> Rollout:
    index = np.concatenate([rows, np.zeros(batch_size - len(rows), rows.dtype)])
    real = np.arange(batch_size) < len(rows)
    target_mask = rollout.target_mask[index] & real[:, None]
    s = padded_length(max(int(rollout.source_mask[index].sum(axis=1).max()), 1))
    t = padded_length(max(int(target_mask.sum(axis=1).max()), 1))
    s, t = min(s, rollout.source.shape[1]), min(t, rollout.target.shape[1])
    return Rollout(
        source=rollout.source[index, :s],
        source_mask=rollout.source_mask[index, :s],
        target=rollout.target[index, :t],
        target_mask=target_mask[:, :t],
        outcome=rollout.outcome[index],
        baseline_outcome=rollout.baseline_outcome[index],
    )
