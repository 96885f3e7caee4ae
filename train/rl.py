"""RL: improve an actor by the outcomes of its own programs (CodeRL section 3.3, Eq. 8, 10 and 14; its rivals by `--objective`).

    python -m train.rl --problems tiny#practice --supervised tiny#train --init runs/warm --critic runs/critic
        --validation tiny#validation --out runs/rl

A round: draw a greedy program and `--num-samples` more for each of `--problems-per-round` problems; run them; let the objective say how
much better than expected each one did and which of its tokens that counts for; update. Round by round the log says how outcomes,
advantages, entropy and the distance from the start move. On validation a fall beyond `--max-drop` rolls back to the best parameters
and lowers the step size.
"""

import dataclasses
import math
import sys
from collections.abc import Sequence
from typing import Any

from coderl_jax import cli
from coderl_jax.config import RLTerms
from coderl_jax.files import UserError
from coderl_jax.model import on_mesh
from coderl_jax.stages.train import RLConfig


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(RLConfig, on_mesh(reinforce), argv)


def reinforce(config: RLConfig) -> None:
    """Train, guard, keep the parameters that validate best, write the run folder."""
    from coderl_jax.data.problems import load_problems
    from coderl_jax.files import open_output
    from coderl_jax.objectives.table import baseline_of, objective_named
    from coderl_jax.rollout.models import check_same_tokenizer, load_model
    from coderl_jax.sandbox import Judge
    from train.examples import judgeable
    from train.loop import Loop
    from train.offline import Saved

    objective = objective_named(config.objective)
    baseline_of(objective, config.baseline)
    check_options(config, objective)
    problems = judgeable(load_problems(config.problems, config.limit), config.problems)
    actor = load_model(config.init, "actor", config.mesh.compute)
    saved = None
    if config.offline:
        files = (config.offline, config.offline_baseline, config.offline_scores)
        saved = Saved(*files, problems, actor.tokenizer, config.lengths.max_new_tokens)
        problems = saved.problems
        if "ratio_advantage" in objective.NEEDS and not saved.counted:
            raise UserError(f"{config.offline}: expected counts of tests for --objective {config.objective}, got none; run sample.judge")
    critic = load_model(config.critic, "critic", config.mesh.compute) if config.critic else None
    if critic is not None:
        check_same_tokenizer("--critic", critic.tokenizer, "--init", actor.tokenizer)
        check_four_outcomes(config.critic, critic)
    remat = _announced(config, problems, actor)
    if remat is None:
        return
    actor = actor.keeping(remat, config.mesh.unroll)
    inputs = {
        "problems": config.problems,
        "init": config.init,
        "critic": config.critic or "none",
        "supervised": config.supervised or "none",
        **{name: getattr(config, name) or "none" for name in ("offline", "offline_baseline", "offline_scores")},
    }
    output = open_output(config.out, config, inputs, folder=True)
    if output.finished:
        print(f"{config.out} is finished", file=sys.stderr)
        return
    with Judge(dataclasses.replace(config.judging, coverage="executed" in objective.NEEDS)) as judge:
        progress = Loop(config, output.partial, problems, actor, critic, judge, saved).run()
    output.finish({"best": dataclasses.asdict(progress)})


def check_options(config: RLConfig, objective: Any) -> None:
    """Raise UserError for an option that the objective would not read."""
    from train.loop import alternates

    needs, name, unset = objective.NEEDS, config.objective, RLTerms()
    ratios = "behaviour" in needs

    def changed(field: str) -> Any:
        value = getattr(config.terms, field)
        return None if value == getattr(unset, field) else value

    rules = [
        ("critic", config.critic, "critic" in needs, "none"),
        ("offline-scores", config.offline_scores, "critic" in needs, "none"),
        ("baseline", config.baseline, objective.BASELINE is not None, "none"),
        ("replay", config.replay or None, not ratios, "0"),
        ("staleness-clip", config.staleness_clip, not ratios, "none"),
        ("passes", config.passes if config.passes > 1 else None, ratios, "1"),
        ("ce-weight", changed("ce_weight"), not alternates(config, objective), f"{unset.ce_weight:g}"),
        ("clip", changed("clip"), ratios, f"{unset.clip:g}"),
        ("negative-weight", changed("negative_weight"), "value" not in needs, f"{unset.negative_weight:g}"),
        ("reward-kl", changed("reward_kl"), "value" in needs, f"{unset.reward_kl:g}"),
        ("kl-target", changed("kl_target"), "value" in needs, f"{unset.kl_target:g}"),
    ]
    if config.offline and needs & {"behaviour", "executed"}:
        raise UserError(f"--offline: expected none with --objective {name}, which needs the policy that sampled, got one; choose another")
    for flag, given, read, expected in rules:
        if given is not None and not read:
            raise UserError(f"--{flag}: expected {expected} with --objective {name}, which does not read it, got {given}; leave it out")


def _announced(config: RLConfig, problems: list, actor: Any) -> str | None:
    """See `train.estimate.announced`; programs are taken to be as long as they may be."""
    from coderl_jax.rollout.sampler import requests_for
    from train.estimate import announced, drawing_cost, validation_cost
    from train.loop import rl_optimizer

    requests, _ = requests_for([p.public() for p in problems], actor.tokenizer, config.lengths, 1)
    longest, drawn = (max(len(request.prompt) for request in requests), config.lengths.max_new_tokens), []
    if config.estimate and not config.offline:
        samples = 1 + config.sampling.num_samples
        drawn.append(drawing_cost(config, actor, problems, config.rounds * config.problems_per_round * samples, samples))
    if config.estimate and config.validation.validation:
        drawn.append(validation_cost(config, actor, 1 + math.ceil(config.rounds / config.validation.validate_every)))
    # Besides the policy's own: the start's parameters, the gradient of the cross-entropy term, a critic's parameters and its forward pass.
    supervised, critic = bool(config.supervised and config.terms.ce_weight), bool(config.critic)
    copies, passes = 1 + supervised + critic, 1 + supervised + critic / 3
    settings = rl_optimizer(config), actor.shape, [(*longest, 1.0)], config.mesh
    return announced(config.estimate, *settings, copies=copies, passes=passes, drawn=drawn)


def check_four_outcomes(name: str, critic: Any) -> None:
    """Raise UserError for a binary critic: token values need the four outcomes."""
    if critic.classes != 4:
        raise UserError(f"{name}: critic: expected one of 4 outcomes, got {critic.classes}; train one with --classes 4")


if __name__ == "__main__":
    main()
