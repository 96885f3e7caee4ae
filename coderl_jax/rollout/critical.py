"""Critical sampling (CodeRL section 3.3.4, Algorithm 1): refine programs that pass the example tests, repair those that fail.

The authors released no code for it. What the paper leaves open is settled so:

- Of a problem's N programs, the first `draw_share` are drawn, the rest refined or repaired ones: every problem gets exactly N.
- A seed is what the critic has read when it values the program most: the tokens before t_max = argmax_t q_pass(w_t). It ends
  earlier at the first token where p(failed) > p(passed). An empty seed is a new draw.
- Repair gets half of what is left, and refining its passing programs the other half; where none passes, repair gets it all.
- A problem without example tests is drawn only.

Nothing here can see a hidden test: the functions take `PublicProblem`s.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from coderl_jax.data.prompts import generation_prompt, prompt_tokens, repair_prompt
from coderl_jax.rollout.collect import Judged, draw, seed_of
from coderl_jax.rollout.sampler import Request, Sampler
from coderl_jax.rollout.scoring import Scorer, outcome_probabilities, softmax
from coderl_jax.sandbox import Judge
from coderl_jax.types import Outcome, Program, PublicProblem, Stage

PASS = -1
"""The last class of a critic, binary or four-way, is `passed`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tools:
    """The models at work.

    Attributes:
      actor: sampler and parameters that draw and refine.
      refiner: binary critic that cuts passing programs.
      ranker: critic that ranks failing ones.
      repairer: sampler and parameters of the repair model, or None: failing problems get more drawn programs.
      judge: runs example tests.
    """

    actor: tuple[Sampler, Any]
    refiner: Scorer
    ranker: Scorer
    repairer: tuple[Sampler, Any] | None
    judge: Judge


def seed_length(logits: Float[np.ndarray, "t 2"]) -> int:
    """How many leading tokens of a passing program to keep.

    min(argmax_t q_pass(w_t), first t with p(failed) > p(passed))      CodeRL section 3.3.4

    Args:
      logits: binary critic, float32 [t, 2]; row t has seen the tokens before t.
    """
    passed = softmax(logits)[:, PASS]
    doubtful = np.flatnonzero(passed < 0.5)
    best = int(np.argmax(passed))
    return min(best, int(doubtful[0])) if len(doubtful) else best


def stacked(seeds: Sequence[tuple[int, ...]], count: int) -> tuple[tuple[int, ...], ...]:
    """`count` prefixes, each seed as often as any other, the first ones once more where it does not divide."""
    return tuple(seeds[i % len(seeds)] for i in range(count))


@dataclasses.dataclass
class _Work:
    """One problem under way."""

    problem: PublicProblem
    prompt: tuple[int, ...]
    rows: Judged
    left: int

    @property
    def passing(self) -> Judged:
        return _distinct(row for row in self.rows if row[1].outcome == Outcome.PASSED)

    def add(self, rows: Judged, stage: Stage) -> None:
        self.rows += [(dataclasses.replace(program, stage=stage), verdict) for program, verdict in rows]
        self.left -= len(rows)

    def request(self, prompt: tuple[int, ...], prefixes: tuple[tuple[int, ...], ...], offset: int = 0) -> Request:
        return Request(problem_id=self.problem.id, prompt=prompt, prefixes=prefixes, first_index=len(self.rows) + offset)


def critical_sampling(
    tools: Tools, problems: Sequence[PublicProblem], count: int, draw_share: float, repair_candidates: int, seed: int
) -> tuple[list[list[Program]], dict[str, Any]]:
    """Exactly `count` programs for every problem, each with its stage, and the funnel.

    Args:
      tools: the models.
      problems: without hidden tests.
      count: programs a problem (N).
      draw_share: share of them that is drawn first.
      repair_candidates: failing programs a problem that are repaired (M).
      seed: of all draws.

    Returns:
      For each problem its programs, in order of index; and {"problems", "with_example_tests", "stages": {stage: {"programs",
      "pass_example", "problems", "problems_with_pass"}}}.
    """
    works = []
    sampler, _ = tools.actor
    for problem in problems:
        prompt, _ = prompt_tokens(sampler.tokenizer, generation_prompt(problem), sampler.lengths.max_prompt_tokens)
        works.append(_Work(problem, tuple(prompt), [], count))
    tested = [work for work in works if work.problem.example_tests is not None]
    drawn = max(1, round(count * draw_share))
    _draw(tools, [work for work in works if work.problem.example_tests is None], count, seed)
    _draw(tools, tested, drawn, seed)
    failing = [work for work in tested if not work.passing and work.left]
    if tools.repairer is None:
        _draw(tools, failing, count - drawn, seed)
    else:
        _repair(tools, failing, -(-(count - drawn) // 2), repair_candidates, seed)
    _refine(tools, [work for work in tested if work.passing and work.left], seed)
    if tools.repairer is not None:
        _repair(tools, [work for work in tested if work.left], None, repair_candidates, seed)
    return [[program for program, _ in work.rows] for work in works], _funnel(works)


def add_funnels(funnels: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The funnel of several sets of problems together."""
    total: dict[str, Any] = {"problems": 0, "with_example_tests": 0, "stages": {}}
    for funnel in funnels:
        total["problems"] += funnel["problems"]
        total["with_example_tests"] += funnel["with_example_tests"]
        for stage, numbers in funnel["stages"].items():
            known = total["stages"].setdefault(stage, dict.fromkeys(numbers, 0))
            for name, number in numbers.items():
                known[name] += number
    return total


def _draw(tools: Tools, works: list[_Work], count: int, seed: int) -> None:
    sampler, params = tools.actor
    requests = [work.request(work.prompt, ((),) * count) for work in works]
    for work, rows in zip(works, _run(tools, sampler, params, works, requests, seed), strict=True):
        work.add(rows, "drawn")


def _refine(tools: Tools, works: list[_Work], seed: int) -> None:
    """Cut every passing program where the binary critic values it most; the actor completes it."""
    sampler, params = tools.actor
    pairs = [(work, program) for work in works for program, _ in work.passing]
    logits = tools.refiner.logits([work.prompt for work, _ in pairs], [program.tokens for _, program in pairs])
    seeds: dict[str, list[tuple[int, ...]]] = {}
    for (work, program), row in zip(pairs, logits, strict=True):
        seeds.setdefault(work.problem.id, []).append(program.tokens[: seed_length(row[: len(program.tokens)])])
    requests = [work.request(work.prompt, stacked(seeds[work.problem.id], work.left)) for work in works]
    for work, rows in zip(works, _run(tools, sampler, params, works, requests, seed), strict=True):
        work.add(rows, "refined")


def _repair(tools: Tools, works: list[_Work], count: int | None, candidates: int, seed: int) -> None:
    """The repair model rewrites the failing programs that the ranking critic believes in most. None: all that is left."""
    sampler, params = tools.repairer
    pairs = [
        (work, program, verdict) for work in works for program, verdict in _distinct(row for row in work.rows if row[0].stage == "drawn")
    ]
    logits = tools.ranker.logits([work.prompt for work, *_ in pairs], [program.tokens for _, program, _ in pairs])
    ranked: dict[str, list[tuple[float, int]]] = {}
    for i, row in enumerate(logits):
        ranked.setdefault(pairs[i][0].problem.id, []).append((-float(outcome_probabilities(row)[PASS]), i))
    owners, requests = [], []
    for work in works:
        best = [pairs[i] for _, i in sorted(ranked[work.problem.id])[:candidates]]
        wanted, offset = work.left if count is None else min(count, work.left), 0
        for place, (_, program, verdict) in enumerate(best):
            share = wanted // len(best) + (place < wanted % len(best))
            text = repair_prompt(work.problem, program.program, verdict.outcome, verdict.error_type, verdict.error_message)
            prompt, _ = prompt_tokens(sampler.tokenizer, text, sampler.lengths.max_prompt_tokens)
            requests.append(work.request(tuple(prompt), ((),) * share, offset))
            owners.append(work)
            offset += share
    for work, rows in zip(owners, _run(tools, sampler, params, owners, requests, seed_of(seed, 1)), strict=True):
        work.add(rows, "repaired")


def _run(tools: Tools, sampler: Sampler, params: Any, works: list[_Work], requests: list[Request], seed: int) -> list[Judged]:
    return draw(sampler, params, tools.judge, requests, [work.problem.example_tests for work in works], seed).judged()


def _distinct(rows: Any) -> Judged:
    """The first of each set of equal texts."""
    return list({program.program: (program, verdict) for program, verdict in reversed(list(rows))}.values())[::-1]


def _funnel(works: list[_Work]) -> dict[str, Any]:
    stages: dict[str, Any] = {}
    for stage in ("drawn", "repaired", "refined"):
        rows = [(work, verdict.outcome == Outcome.PASSED) for work in works for program, verdict in work.rows if program.stage == stage]
        stages[stage] = {
            "programs": len(rows),
            "pass_example": sum(passed for _, passed in rows),
            "problems": len({work.problem.id for work, _ in rows}),
            "problems_with_pass": len({work.problem.id for work, passed in rows if passed}),
        }
    tested = sum(work.problem.example_tests is not None for work in works)
    return {"problems": len(works), "with_example_tests": tested, "stages": stages}
