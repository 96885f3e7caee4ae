"""Critical sampling: refine what passes the example tests, repair what fails (CodeRL section 3.3.4, Algorithm 1).

    python -m sample.critical --actor runs/rl --critic runs/binary --rank-critic runs/critic --repair runs/repair
        --problems tiny#test --num-samples 20 --out programs.jsonl

Writes exactly `--num-samples` programs a problem, and beside them what became of them by stage: `programs.funnel.json`.
"""

import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from coderl_jax import cli
from coderl_jax.model import on_mesh
from coderl_jax.stages.sample import CriticalConfig


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(CriticalConfig, on_mesh(critical, each_host=True), argv)


def critical(config: CriticalConfig) -> None:
    """Sample critically. The hidden tests are dropped in the first line, before anything is drawn."""
    from tqdm import tqdm

    from coderl_jax import hosts
    from coderl_jax.data.problems import load_problems
    from coderl_jax.files import UserError, open_output, write_json
    from coderl_jax.rollout.critical import add_funnels, critical_sampling
    from coderl_jax.rollout.sampler import window_of
    from coderl_jax.rows import program_to_json
    from coderl_jax.sandbox import Judge
    from coderl_jax.windows import Windows

    problems = [problem.public() for problem in load_problems(config.problems, config.limit)]
    if problems[0].task:
        raise UserError(f"{config.problems}: problem source: expected problems with tests, got a text task; use sample.generate")
    names = {name: getattr(config, name) for name in ("actor", "critic", "rank_critic", "repair")}
    tools = make_tools(config)
    inputs = {"problems": config.problems, **{name: model or "none" for name, model in names.items()}}
    output = open_output(config.out, config, inputs, folder=False)
    if output.finished:
        print(f"{config.out} is finished", file=sys.stderr)
        return
    count = config.sampling.num_samples
    windows = Windows(output, window_of(config.sampling), len(problems))
    with (
        Judge(config.judging) as judge,
        tqdm(disable=not hosts.is_first(), total=len(problems), initial=windows.done, unit="problem", desc="critical") as bar,
    ):
        for number, start, end in windows.left:
            chosen = problems[start:end]
            rows, funnel = critical_sampling(tools(judge), chosen, count, config.draw_share, config.repair_candidates, config.seed)
            windows.write(number, (program_to_json(program) for programs in rows for program in programs), funnel)
            bar.update(len(chosen))
    funnels = list(windows.notes())
    hosts.on_first(lambda: write_json(pathlib.Path(config.out).with_suffix(".funnel.json"), add_funnels(funnels)))
    windows.finish({"problems": len(problems), "programs": len(problems) * count})


def make_tools(config: Any) -> Any:
    """The models that the flags name, checked against each other: a function from a judge to `rollout.critical.Tools`."""
    from coderl_jax.files import UserError
    from coderl_jax.rollout.critical import Tools
    from coderl_jax.rollout.models import check_same_tokenizer, load_model
    from coderl_jax.rollout.sampler import Sampler, usual_batch
    from coderl_jax.rollout.scoring import Scorer

    actor, critic = load_model(config.actor, "actor", config.mesh.compute), load_model(config.critic, "critic", config.mesh.compute)
    ranker = load_model(config.rank_critic, "critic", config.mesh.compute) if config.rank_critic else critic
    repair = load_model(config.repair, "actor", config.mesh.compute) if config.repair else None
    if critic.classes != 2:
        raise UserError(f"--critic: expected a binary critic, got one of {critic.classes} outcomes; train one with --classes 2")
    for flag, model in (("--critic", critic), ("--rank-critic", ranker), ("--repair", repair)):
        if model is not None:
            check_same_tokenizer(flag, model.tokenizer, "--actor", actor.tokenizer)

    def drawing(model: Any) -> tuple[Any, Any]:
        return Sampler(model.graphdef, model.shape, model.tokenizer, config.lengths, config.sampling), model.params

    sampling_actor, sampling_repair = drawing(actor), drawing(repair) if repair else None
    batch = usual_batch(config.sampling) // 4 or 1
    refiner = Scorer(critic, batch, config.lengths)
    ranking = refiner if ranker is critic else Scorer(ranker, batch, config.lengths)
    return lambda judge: Tools(actor=sampling_actor, refiner=refiner, ranker=ranking, repairer=sampling_repair, judge=judge)


if __name__ == "__main__":
    main()
