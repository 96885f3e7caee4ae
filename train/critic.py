"""Critic: learn to tell a program's outcome from problem and program (CodeRL section 3.3.2, Eq. 9).

python -m train.critic --problems tiny#train --verdicts verdicts.jsonl --init runs/warm --out runs/critic
python -m train.critic ... --classes 2 --out runs/binary        # failed or passed: cuts programs in critical sampling
"""

import sys
from collections.abc import Sequence
from typing import Any

from coderl_jax import cli
from coderl_jax.model import on_mesh
from coderl_jax.stages.train import CriticConfig


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(CriticConfig, on_mesh(train_critic), argv)


def train_critic(config: CriticConfig) -> None:
    """Train on judged programs and reference solutions, measure on problems held out, write the run folder."""
    import jax

    from coderl_jax.data.batches import BatchStream
    from coderl_jax.data.problems import load_problems
    from coderl_jax.files import open_output
    from coderl_jax.learner.steps import CriticBatch, TextBatch, critic_loss
    from coderl_jax.model.critic import critic_from_actor
    from coderl_jax.model.mesh import on_current_mesh
    from coderl_jax.rollout.models import TextModel, load_model
    from train.estimate import fit_announced
    from train.fitting import fit_model
    from train.labelled import holdout_measure, labelled_programs

    problems = load_problems(config.problems)
    start = load_model(config.init, "actor", config.mesh.compute)
    inputs = {"problems": config.problems, "init": config.init, **{f"verdicts {i}": path for i, path in enumerate(config.verdicts)}}
    learnt, heldout = labelled_programs(problems, config, start.tokenizer)
    batches = BatchStream(learnt.examples, config.optimizer.batch_size, config.seed)
    remat = fit_announced(config, start.shape, batches, critic=True)
    if remat is None:
        return
    output = open_output(config.out, config, inputs, folder=True)
    if output.finished:
        print(f"{config.out} is finished", file=sys.stderr)
        return
    key = jax.random.key(config.seed)
    graphdef, params = critic_from_actor(start.shape, start.params, jax.random.fold_in(key, 0), config.mesh.compute)
    placed = on_current_mesh(params)
    fresh = TextModel(shape=start.shape, graphdef=graphdef, params=placed, tokenizer=start.tokenizer, classes=config.classes)
    model = fresh.keeping(remat, config.mesh.unroll)
    loss = critic_loss(model.graphdef, config.optimizer.dropout, config.classes)

    def labelled(batch: Any) -> CriticBatch:
        text = TextBatch.of(batch, config.lengths)
        text = text if config.lengths.parity == "paper" else text.pooled_everywhere()
        return CriticBatch(text, learnt.outcomes[batch.index], None if learnt.weights is None else learnt.weights[batch.index])

    fit_model(
        config,
        output,
        model,
        loss,
        batches,
        labelled,
        jax.random.fold_in(key, 1),
        evaluate=holdout_measure(heldout, model, config) if heldout.examples else None,
        evaluate_every=config.save_every,
    )
    output.finish()


if __name__ == "__main__":
    main()
