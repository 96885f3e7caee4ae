"""Repair model: from problem, wrong program and its error to a right program (CodeRL section 3.3.4, Eq. 13).

    python -m train.repair --problems tiny#train --verdicts verdicts.jsonl --init runs/warm --out runs/repair

L = - sum_t log p(w_t | w_<t, D, W_wrong, u, e): cross-entropy on a reference solution.
"""

import functools
import sys
from collections.abc import Sequence

from coderl_jax import cli
from coderl_jax.stages import RepairConfig


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(RepairConfig, train_repair, argv)


def train_repair(config: RepairConfig) -> None:
    """Train on pairs of a wrong program and a solution, write the run folder."""
    import jax

    from coderl_jax.data.batches import BatchStream
    from coderl_jax.data.problems import load_problems
    from coderl_jax.files import open_output
    from coderl_jax.learner.fit import Fit, fit
    from coderl_jax.learner.state import init_state, learning_rate, make_optimizer, make_update
    from coderl_jax.learner.steps import TextBatch, supervised_loss
    from coderl_jax.rollout.models import load_model
    from train.examples import repair_examples

    problems = load_problems(config.problems)
    model = load_model(config.init, "actor")
    examples = repair_examples(problems, config.verdicts, model.tokenizer, config.lengths)
    inputs = {"problems": config.problems, "init": config.init, **{f"verdicts {i}": path for i, path in enumerate(config.verdicts)}}
    output = open_output(config.out, config, inputs, folder=True, ignore=("out", "tracking"))
    if output.finished:
        print(f"{config.out} is finished", file=sys.stderr)
        return
    optimizer = make_optimizer(config.optimizer)
    plan = Fit(
        folder=output.partial,
        steps=config.optimizer.steps,
        save_every=config.save_every,
        evaluate_every=config.save_every,
        evaluate=None,
        choose=None,
        keep=lambda params: model.save(output.partial / "model", params),
        tracking=config.tracking,
    )
    update = make_update(supervised_loss(model.graphdef, config.optimizer.dropout), optimizer)
    batches = BatchStream(examples, config.optimizer.batch_size, config.seed)
    key, schedule = jax.random.key(config.seed), learning_rate(config.optimizer)
    fit(init_state(model.params, optimizer), update, batches, functools.partial(TextBatch.of, lengths=config.lengths), key, plan, schedule)
    output.finish()


if __name__ == "__main__":
    main()
