"""Warm start: teach an actor the reference solutions by cross-entropy (CodeRL section 4.2, Eq. 1).

python -m train.finetune --problems tiny#train --validation tiny#validation --out runs/warm
"""

import functools
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from coderl_jax import cli
from coderl_jax.model import on_mesh
from coderl_jax.stages.train import FinetuneConfig


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(FinetuneConfig, on_mesh(finetune), argv)


def finetune(config: FinetuneConfig) -> None:
    """Train, keep the parameters that validate best, write the run folder."""
    import jax

    from coderl_jax.data.batches import BatchStream
    from coderl_jax.data.problems import load_problems
    from coderl_jax.files import open_output
    from coderl_jax.learner.steps import TextBatch, supervised_loss
    from coderl_jax.rollout.sampler import Sampler
    from coderl_jax.sandbox import Judge
    from train.estimate import announced
    from train.examples import prepared_examples, solution_examples, validator
    from train.fitting import fit_model

    if config.problems.startswith("prepared:"):
        prepared = prepared_examples(config.problems)
        model = _start(config, [], prepared.tokenizer)
        examples = prepared
    else:
        problems = load_problems(config.problems, config.limit)
        model = _start(config, problems, None)
        examples = solution_examples(problems, model.tokenizer, config.lengths)
    batches = BatchStream(examples, config.optimizer.batch_size, config.seed)
    if announced(config.estimate, config.optimizer.over(batches.examples), model.shape, batches.shares, config.mesh):
        return
    inputs = {
        "problems": config.problems,
        "init": config.init or "new",
        "tokenizer": config.tokenizer or config.tokenizer_problems or "trained",
    }
    output = open_output(config.out, config, inputs, folder=True, ignore=("out", "judging.workers", "judging.cache", "tracking"))
    if output.finished:
        print(f"{config.out} is finished", file=sys.stderr)
        return
    with Judge(config.judging) if config.validation.validation else nullcontext() as judge:
        evaluate, choose = None, None
        if judge is not None:
            sampler = Sampler(model.graphdef, model.shape, model.tokenizer, config.lengths, config.sampling)
            evaluate, choose = validator(config.validation, sampler, judge, config.seed)
        best = fit_model(
            config,
            output,
            model,
            supervised_loss(model.graphdef, config.optimizer.dropout),
            batches,
            functools.partial(TextBatch.of, lengths=config.lengths),
            jax.random.key(config.seed),
            evaluate=evaluate,
            evaluate_every=config.validation.validate_every,
            choose=choose,
            patience=config.validation.patience,
        )
    output.finish({"best": best})


def _start(config: FinetuneConfig, problems: list, tokenizer: Any) -> Any:
    """The model named by --init, or a new one with a tokenizer: that of prepared data, the one named, or one trained on problems."""
    import dataclasses

    import jax

    from coderl_jax.data.problems import load_problems
    from coderl_jax.data.prompts import generation_prompt, reindent
    from coderl_jax.data.tokenizer import load_tokenizer, train_tokenizer
    from coderl_jax.model.mesh import current_mesh, init_params
    from coderl_jax.rollout.models import TextModel, check_same_tokenizer, check_vocabulary, load_model

    if config.init:
        model = load_model(config.init, "actor", config.mesh.compute)
        if tokenizer is not None:
            check_same_tokenizer("--problems", tokenizer, "--init", model.tokenizer)
        return model
    if tokenizer is not None:
        pass
    elif config.tokenizer:
        tokenizer = load_tokenizer(config.tokenizer)
    else:
        read = load_problems(config.tokenizer_problems) if config.tokenizer_problems else problems
        texts = [generation_prompt(p.public()) for p in read] + [reindent(s) for p in read for s in p.solutions]
        tokenizer = train_tokenizer(texts, config.tokenizer_size)
    shape = config.model if config.model.vocab_size else dataclasses.replace(config.model, vocab_size=tokenizer.size)
    check_vocabulary("--vocab-size", tokenizer, shape)
    graphdef, params = init_params(shape, jax.random.key(config.seed), current_mesh(), kind="actor", dtype=config.mesh.compute)
    return TextModel(shape=shape, graphdef=graphdef, params=params, tokenizer=tokenizer)


if __name__ == "__main__":
    main()
