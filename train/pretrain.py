"""Pretraining on documents: masked spans, or next tokens (CodeRL sections 3.2 and 4.1).

python -m train.pretrain --prepared prepared --objective spans --out runs/spans
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from coderl_jax import cli
from coderl_jax.config import ModelShape
from coderl_jax.model import on_mesh
from coderl_jax.stages.train import PretrainConfig


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(PretrainConfig, on_mesh(pretrain), argv)


def pretrain(config: PretrainConfig) -> None:
    """Train, measure the loss on documents set apart, write the run folder."""
    from coderl_jax.data.prepared import Prepared
    from coderl_jax.files import open_output
    from train.estimate import fit_announced
    from train.fitting import fit_texts

    documents = Prepared(config.prepared, "documents", "train")
    shape = _shape(config, documents)
    batches = _stream(config, documents, config.seed)
    print(f"{len(documents)} documents, {int(documents.lengths.sum()):,} tokens, {batches.examples:,} windows", file=sys.stderr)
    remat = fit_announced(config, shape, batches)
    if remat is None:
        return
    inputs = {"prepared": config.prepared, "init": config.init or "new"}
    output = open_output(config.out, config, inputs, folder=True)
    if output.finished:
        print(f"{config.out} is finished", file=sys.stderr)
        return
    model = _start(config, shape, documents.tokenizer).keeping(remat, config.mesh.unroll)
    fit_texts(
        config,
        output,
        model,
        batches,
        evaluate=_measure(config, model.graphdef),
        evaluate_every=config.measure_every,
    )
    output.finish()


def _shape(config: PretrainConfig, documents: Any) -> ModelShape:
    """The shape of the model named by --init, or that of the flags with the vocabulary of the documents' tokenizer."""
    from coderl_jax.model import hf
    from coderl_jax.rollout.models import shape_for

    return hf.shape_of(config.init) if config.init else shape_for(config.model, documents.tokenizer)


def _start(config: PretrainConfig, shape: ModelShape, tokenizer: Any) -> Any:
    """The model named by --init, or a new one for the tokenizer that the documents are written in."""
    from coderl_jax.rollout.models import check_same_tokenizer, load_model, new_actor

    if not config.init:
        return new_actor(shape, tokenizer, config.seed, config.mesh.compute)
    model = load_model(config.init, "actor", config.mesh.compute)
    check_same_tokenizer(config.prepared, tokenizer, config.init, model.tokenizer)
    return model


def _stream(config: PretrainConfig, documents: Any, seed: int) -> Any:
    from coderl_jax.data.pretraining import PretrainingStream

    return PretrainingStream(
        documents,
        config.objective,
        config.lengths,
        sequence_length=config.sequence_length,
        batch_size=config.optimizer.batch_size,
        seed=seed,
        readers=config.readers,
    )


def _measure(config: PretrainConfig, graphdef: Any) -> Callable[[Any], dict[str, float]] | None:
    """params -> {"validation_loss"}, in nats a token of the targets; the same windows and corruption each time. None without a split."""
    import jax
    import numpy as np

    from coderl_jax.data.prepared import Prepared, splits
    from coderl_jax.learner.steps import TextBatch, supervised_loss
    from coderl_jax.model.mesh import spread

    if "validation" not in splits(config.prepared):
        return None
    stream = _stream(config, Prepared(config.prepared, "documents", "validation"), seed=0)
    loss = jax.jit(supervised_loss(graphdef, dropout=0.0))
    key = jax.random.key(0)
    count = min(config.measure_batches, -(-stream.examples // stream.batch_size))

    def measure(params: Any) -> dict[str, float]:
        sums, tokens = [], []
        for number in range(count):
            batch = TextBatch.of(stream[number], config.lengths)
            tokens.append(batch.target_mask.sum())
            sums.append(float(loss(params, spread(batch), key)[0]) * tokens[-1])
        return {"validation_loss": float(np.sum(sums) / np.sum(tokens))}

    return measure


if __name__ == "__main__":
    main()
