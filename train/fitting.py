"""What the stages that fit a model to batches share: the optimizer, the plan, the loop."""

import functools
from collections.abc import Callable
from typing import Any

from coderl_jax.files import Output


def fit_model(
    config: Any,
    output: Output,
    model: Any,
    loss: Any,
    batches: Any,
    to_device: Callable[[Any], Any],
    key: Any,
    *,
    evaluate: Callable[[Any], dict[str, float]] | None = None,
    evaluate_every: int,
    choose: str | None = None,
    patience: int = 0,
) -> dict[str, Any]:
    """Train `model` in the run folder of `output`; what is kept goes to its `model/`.

    Args:
      config: the stage's; `optimizer`, `save_every` and `tracking` are read.
      output: the run folder under way.
      model: a `rollout.models.TextModel`.
      loss: see `learner.state.Loss`.
      batches: the data's stream.
      to_device: makes of a batch what `loss` reads.
      key: seeds dropout.
      evaluate: params -> numbers.
      evaluate_every: updates between two evaluations.
      choose: name of the number whose best parameters are kept; None: the last are.
      patience: evaluations without a better one after which training stops; 0: never.

    Returns:
      As `learner.fit.fit`.
    """
    import jax

    from coderl_jax.learner.fit import Fit, fit
    from coderl_jax.learner.state import init_state, learning_rate, make_optimizer, make_update
    from coderl_jax.model.mesh import own_rows, spread_own

    settings = config.optimizer.over(batches.examples)
    optimizer = make_optimizer(settings)
    plan = Fit(
        folder=output.partial,
        steps=settings.steps,
        save_every=config.save_every,
        evaluate_every=evaluate_every,
        evaluate=evaluate,
        choose=choose,
        patience=patience,
        keep=lambda params: model.save(output.partial / "model", params),
        tracking=config.tracking,
    )

    def placed(batch: Any) -> Any:
        return spread_own(to_device(batch), batches.batch_size)

    batches.rows = own_rows(batches.batch_size)
    state, update = init_state(model.params, optimizer), make_update(loss, optimizer, settings.accumulate)
    for given in jax.tree.leaves(model.params):  # the state has copies, which is memory enough
        given.delete()
    return fit(state, update, batches, placed, key, plan, learning_rate(settings))


def fit_texts(config: Any, output: Output, model: Any, batches: Any, **plan: Any) -> dict[str, Any]:
    """`fit_model` by cross-entropy on texts, seeded by the configuration; `plan` are its keywords."""
    import jax

    from coderl_jax.learner.steps import TextBatch, supervised_loss

    texts = functools.partial(TextBatch.of, lengths=config.lengths)
    loss = supervised_loss(model.graphdef, config.optimizer.dropout)
    return fit_model(config, output, model, loss, batches, texts, jax.random.key(config.seed), **plan)
