"""Warm start: teach an actor the reference solutions by cross-entropy (CodeRL section 4.2, Eq. 1).

python -m train.finetune --problems tiny#train --validation tiny#validation --out runs/warm
"""

import functools
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from coderl_jax import cli
from coderl_jax.stages import FinetuneConfig


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(FinetuneConfig, finetune, argv)


def finetune(config: FinetuneConfig) -> None:
    """Train, keep the parameters that validate best, write the run folder."""
    import jax

    from coderl_jax.data.batches import BatchStream
    from coderl_jax.data.problems import load_problems
    from coderl_jax.files import open_output
    from coderl_jax.learner.fit import Fit, fit
    from coderl_jax.learner.state import init_state, learning_rate, make_optimizer, make_update
    from coderl_jax.learner.steps import TextBatch, supervised_loss
    from coderl_jax.rollout.sampler import Sampler
    from coderl_jax.sandbox import Judge
    from train.examples import solution_examples, validator

    problems = load_problems(config.problems, config.limit)
    model = _start(config, problems)
    examples = solution_examples(problems, model.tokenizer, config.lengths)
    batches = BatchStream(examples, config.optimizer.batch_size, config.seed)
    inputs = {
        "problems": config.problems,
        "init": config.init or "new",
        "tokenizer": config.tokenizer or config.tokenizer_problems or "trained",
    }
    output = open_output(config.out, config, inputs, folder=True, ignore=("out", "judging.workers", "judging.cache", "tracking"))
    if output.finished:
        print(f"{config.out} is finished", file=sys.stderr)
        return
    optimizer = make_optimizer(config.optimizer)
    with Judge(config.judging) if config.validation.validation else nullcontext() as judge:
        evaluate = None
        if judge is not None:
            sampler = Sampler(model.graphdef, model.shape, model.tokenizer, config.lengths, config.sampling)
            evaluate = validator(config.validation, sampler, judge, config.seed)
        plan = Fit(
            folder=output.partial,
            steps=config.optimizer.steps,
            save_every=config.save_every,
            evaluate_every=config.validation.validate_every,
            evaluate=evaluate,
            choose="validation_pass@1" if evaluate else None,
            keep=lambda params: model.save(output.partial / "model", params),
            tracking=config.tracking,
        )
        update = make_update(supervised_loss(model.graphdef, config.optimizer.dropout), optimizer)
        key, schedule = jax.random.key(config.seed), learning_rate(config.optimizer)
        texts = functools.partial(TextBatch.of, lengths=config.lengths)
        best = fit(init_state(model.params, optimizer), update, batches, texts, key, plan, schedule)
    output.finish({"best": best})


def _start(config: FinetuneConfig, problems: list) -> Any:
    """The model named by --init, or a new one with a tokenizer of its own."""
    import dataclasses

    import jax

    from coderl_jax.data.problems import load_problems
    from coderl_jax.data.prompts import generation_prompt, reindent
    from coderl_jax.data.tokenizer import load_tokenizer, train_tokenizer
    from coderl_jax.model.mesh import init_params, make_mesh
    from coderl_jax.rollout.models import TextModel, check_vocabulary, load_model

    if config.init:
        return load_model(config.init, "actor")
    if config.tokenizer:
        tokenizer = load_tokenizer(config.tokenizer)
    else:
        read = load_problems(config.tokenizer_problems) if config.tokenizer_problems else problems
        texts = [generation_prompt(p.public()) for p in read] + [reindent(s) for p in read for s in p.solutions]
        tokenizer = train_tokenizer(texts, config.tokenizer_size)
    shape = config.model if config.model.vocab_size else dataclasses.replace(config.model, vocab_size=tokenizer.size)
    check_vocabulary("--vocab-size", tokenizer, shape)
    graphdef, params = init_params(shape, jax.random.key(config.seed), make_mesh(), kind="actor")
    return TextModel(shape=shape, graphdef=graphdef, params=params, tokenizer=tokenizer)


if __name__ == "__main__":
    main()
