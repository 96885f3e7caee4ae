"""A critic's data: programs with their outcomes, some problems held out to measure it."""

import dataclasses
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from coderl_jax.data.batches import Example
from coderl_jax.data.prompts import generation_prompt, program_tokens, prompt_tokens, reindent
from coderl_jax.data.tokenizer import Tokenizer
from coderl_jax.files import UserError
from coderl_jax.metrics.ranking import area_under_roc
from coderl_jax.rollout.models import TextModel
from coderl_jax.rollout.scoring import Scorer, outcome_probabilities, softmax
from coderl_jax.rows import read_verdicts
from coderl_jax.stages.train import CriticConfig
from coderl_jax.types import Outcome, Problem


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Programs and their classes.

    Attributes:
      examples: prompts and programs.
      outcomes: `Outcome`'s numbers, or 0 failed and 1 passed, int32 [n].
      weights: what each program counts for, float32 [n], or None: all the same.
    """

    examples: list[Example]
    outcomes: np.ndarray
    weights: np.ndarray | None = None


def labelled_programs(problems: Sequence[Problem], config: CriticConfig, tokenizer: Tokenizer) -> tuple[Labelled, Labelled]:
    """Judged programs and reference solutions (labelled passed), split by problem into learnt and held out.

    Programs without a verdict, for want of tests, are left out and counted. With `--balance` all outcomes that are learnt from count the
    same, and a program 1 in the mean.
    """
    prompts = {}
    chosen = np.random.default_rng(config.seed).permutation(len(problems))[: round(config.holdout * len(problems))]
    for problem in problems:
        prompts[problem.id], _ = prompt_tokens(tokenizer, generation_prompt(problem.public()), config.lengths.max_prompt_tokens)
    heldout = {problems[i].id for i in chosen}
    rows = [(p.id, reindent(solution), Outcome.PASSED) for p in problems for solution in p.solutions]
    for path in config.verdicts:
        rows += [(program.problem_id, program.program, verdict.outcome) for program, verdict in read_verdicts(path, problems)]
    unjudged = sum(outcome is None for *_, outcome in rows)
    if unjudged:
        print(f"{unjudged} programs without a verdict left out", file=sys.stderr)
    parts: tuple[list, list] = ([], [])
    for problem_id, program, outcome in rows:
        if outcome is not None:
            target = program_tokens(tokenizer, program, config.lengths.max_new_tokens)
            label = int(outcome) if config.classes == 4 else int(outcome == Outcome.PASSED)
            parts[problem_id in heldout].append((Example(prompts[problem_id], target), label))
    if not parts[0]:
        raise UserError("--verdicts: expected judged programs, got none; run sample.generate and sample.judge first")
    learnt, measured = (Labelled([e for e, _ in part], np.array([label for _, label in part], np.int32)) for part in parts)
    if config.balance:
        counts = np.bincount(learnt.outcomes, minlength=config.classes)
        shares = np.divide(len(learnt.outcomes) / np.count_nonzero(counts), counts, out=np.ones(config.classes), where=counts > 0)
        learnt, measured = (dataclasses.replace(part, weights=shares[part.outcomes].astype(np.float32)) for part in (learnt, measured))
    print(f"{len(learnt.examples)} programs to learn from, {len(measured.examples)} held out to measure the critic", file=sys.stderr)
    return learnt, measured


def holdout_measure(heldout: Labelled, model: TextModel, config: CriticConfig) -> Callable[[Any], dict[str, float]]:
    """A function params -> loss (nats), accuracy and area under the ROC curve of p(passed) on the held-out programs.

    Loss and accuracy are means by what programs count for; the area is of all the same. A critic of four outcomes is also asked for
    `holdout_value_OUTCOME`, the mean of q(w_t) over programs of that outcome: what RL multiplies their returns by (CodeRL Eq. 10).
    """
    scorer = Scorer(model, config.optimizer.batch_size, config.lengths)

    def measure(params: Any) -> dict[str, float]:
        logits = scorer.logits([e.source for e in heldout.examples], [e.target for e in heldout.examples], params)
        probabilities = np.array([outcome_probabilities(row) for row in logits])
        right = probabilities.argmax(axis=-1) == heldout.outcomes
        loss = -np.log(np.maximum(probabilities[np.arange(len(right)), heldout.outcomes], 1e-12))
        mean = functools.partial(np.average, weights=heldout.weights)
        result = {"holdout_loss": float(mean(loss)), "holdout_accuracy": float(mean(right))}
        area = area_under_roc(probabilities[:, -1], heldout.outcomes == model.classes - 1)
        if area is not None:
            result["holdout_auc"] = area
        if model.classes == len(Outcome):
            rows = zip(logits, heldout.examples, heldout.outcomes, strict=True)
            values = np.array([softmax(row[: len(e.target)])[:, label].mean() for row, e, label in rows])
            found = {outcome: values[heldout.outcomes == outcome] for outcome in Outcome}
            result |= {f"holdout_value_{outcome.label}": float(of.mean()) for outcome, of in found.items() if len(of)}
        return result

    return measure
