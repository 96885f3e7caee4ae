"""Repair model: from problem, wrong program and its error to a right program (CodeRL section 3.3.4, Eq. 13).

    python -m train.repair --problems tiny#train --verdicts verdicts.jsonl --init runs/warm --out runs/repair

L = - sum_t log p(w_t | w_<t, D, W_wrong, u, e): cross-entropy on a reference solution.
"""

import sys
from collections.abc import Sequence

from coderl_jax import cli
from coderl_jax.model import on_mesh
from coderl_jax.stages.train import RepairConfig


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(RepairConfig, on_mesh(train_repair), argv)


def train_repair(config: RepairConfig) -> None:
    """Train on pairs of a wrong program and a solution, write the run folder."""
    from coderl_jax.data.batches import BatchStream
    from coderl_jax.data.problems import load_problems
    from coderl_jax.files import open_output
    from coderl_jax.rollout.models import load_model
    from train.estimate import fit_announced
    from train.examples import repair_examples
    from train.fitting import fit_texts

    problems = load_problems(config.problems)
    model = load_model(config.init, "actor", config.mesh.compute)
    examples = repair_examples(problems, config.verdicts, model.tokenizer, config.lengths)
    batches = BatchStream(examples, config.optimizer.batch_size, config.seed)
    remat = fit_announced(config, model.shape, batches)
    if remat is None:
        return
    inputs = {"problems": config.problems, "init": config.init, **{f"verdicts {i}": path for i, path in enumerate(config.verdicts)}}
    output = open_output(config.out, config, inputs, folder=True)
    if output.finished:
        print(f"{config.out} is finished", file=sys.stderr)
        return
    fit_texts(
        config,
        output,
        model.keeping(remat, config.mesh.unroll),
        batches,
        evaluate_every=config.save_every,
    )
    output.finish()


if __name__ == "__main__":
    main()
