"""Warm start: teach an actor the reference solutions by cross-entropy (CodeRL section 4.2, Eq. 1).

python -m train.finetune --problems tiny#train --validation tiny#validation --out runs/warm
"""

import math
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
    from coderl_jax.data.batches import BatchStream
    from coderl_jax.data.problems import load_problems
    from coderl_jax.files import open_output
    from coderl_jax.rollout.sampler import Sampler
    from coderl_jax.sandbox import Judge
    from train.estimate import fit_announced, validation_cost
    from train.examples import prepared_examples, solution_examples, validator
    from train.fitting import fit_texts

    if config.problems.startswith("prepared:"):
        examples = prepared_examples(config.problems, config.lengths)
        model = _start(config, [], examples)
    else:
        problems = load_problems(config.problems, config.limit)
        model = _start(config, problems, None)
        examples = solution_examples(problems, model.tokenizer, config.lengths)
    batches = BatchStream(examples, config.optimizer.batch_size, config.seed)
    every = config.validation.every(len(examples), config.optimizer.batch_size)
    drawn = []
    if config.estimate and config.validation.validation:
        drawn.append(validation_cost(config, model, math.ceil(config.optimizer.over(len(examples)).steps / every)))
    remat = fit_announced(config, model.shape, batches, drawn=drawn)
    if remat is None:
        return
    inputs = {
        "problems": config.problems,
        "init": config.init or "new",
        "tokenizer": config.tokenizer or config.tokenizer_problems or "trained",
    }
    output = open_output(config.out, config, inputs, folder=True)
    if output.finished:
        print(f"{config.out} is finished", file=sys.stderr)
        return
    with Judge(config.judging) if config.validation.validation else nullcontext() as judge:
        evaluate, choose = None, None
        if judge is not None:
            sampler = Sampler(model.graphdef, model.shape, model.tokenizer, config.lengths, config.sampling)
            evaluate, choose = validator(config.validation, sampler, judge, config.seed)
        best = fit_texts(
            config,
            output,
            model.keeping(remat, config.mesh.unroll),
            batches,
            evaluate=evaluate,
            evaluate_every=every,
            choose=choose,
            patience=config.validation.patience,
        )
    output.finish({"best": best})


def _start(config: FinetuneConfig, problems: list, prepared: Any) -> Any:
    """The model named by --init, or a new one for the tokenizer of prepared data, for the one named, or for one trained on problems."""
    from coderl_jax.rollout.models import check_same_tokenizer, load_model, new_actor, shape_for

    if config.init:
        model = load_model(config.init, "actor", config.mesh.compute)
        if prepared is not None:
            check_same_tokenizer("--problems", prepared.tokenizer, "--init", model.tokenizer)
        return model
    tokenizer = _tokenizer(config, problems) if prepared is None else prepared.tokenizer
    return new_actor(shape_for(config.model, tokenizer), tokenizer, config.seed, config.mesh.compute)


def _tokenizer(config: FinetuneConfig, problems: list) -> Any:
    from coderl_jax.data.problems import load_problems
    from coderl_jax.data.prompts import generation_prompt, reindent
    from coderl_jax.data.tokenizer import load_tokenizer, train_tokenizer

    if config.tokenizer:
        return load_tokenizer(config.tokenizer)
    read = load_problems(config.tokenizer_problems) if config.tokenizer_problems else problems
    texts = [generation_prompt(p.public()) for p in read] + [reindent(s) for p in read for s in p.solutions]
    return train_tokenizer(texts, config.tokenizer_size)


if __name__ == "__main__":
    main()
