"""What a loss reads of every target token's logits, without the logits of all tokens ever being in memory.

Those of 64 programs of 512 tokens over CodeT5's 32,100 entries are 4 GB in float32, and a loss holds them three times: themselves, their
softmax, their gradient. So they are made for a few positions of all programs at a time, read and dropped, and made again by the backward
pass. The product with the vocabulary is a twenty-fifth of CodeT5-large's operations: making it twice costs 1%.

Positions are divided, not the vocabulary. Either way the same numbers are made at a time, and as much is added up besides: the gradient of
the table for every chunk of positions, that of the states for every chunk of the vocabulary. But a position's softmax stays whole, so that
any function of logits can be read, with no running maximum and with no derivative of its own; and on a mesh each device goes on with its
own rows and its own part of the vocabulary.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key

from coderl_jax.model.layers import BATCH_AXES, shard_batch, whole_width
from coderl_jax.model.t5 import T5, project, teacher_forced
from coderl_jax.types import KEPT

AT_ONCE = 2**26
"""Logits that a device makes at a time: 256 MiB of float32, 2,000 positions of CodeT5's vocabulary. With fewer positions a GPU would
spend longer on adding up the table's gradient than on the products."""


def read_tokens(
    read: Callable[..., Any],
    graphdef: Any,
    params: Sequence[Any],
    source: Int[Array, "b s"],
    source_mask: Bool[Array, "b s"],
    target: Int[Array, "b t"],
    *,
    dropout: float = 0.0,
    key: Key[Array, ""] | None = None,
) -> Any:
    """What `read` says of every target token, given the source and the target tokens before it.

    Args:
      read: (target int32 [b c], logits float32 [b c v] by each of `params`) -> a tree of arrays [b c], each token by itself. Its backward
        pass is given the logits, made again, and what it named `types.KEPT`.
      graphdef: from `nnx.split` of a `T5`.
      params: parameters of one model, or of several to compare.
      source: token ids.
      source_mask: False at padding, which stands at the end.
      target: token ids, not shifted; padding stands at the end, where what is read is to be ignored.
      dropout: rate, applied when `key` is given.
      key: seeds dropout.

    Returns:
      The tree, its arrays [b t].
    """
    models: list[T5] = [nnx.merge(graphdef, each) for each in params]
    states = [model.scaled(teacher_forced(model, source, source_mask, target, dropout, key)) for model in models]
    size = len(models[0].table)
    tables = [whole_width(filled_up(model.table)) for model in models]
    pairs = [(table, table.astype(own.dtype)) for table, own in zip(tables, states, strict=True)]

    def some(target: Int[Array, "b c"], *states: Float[Array, "b c d"]) -> Any:
        return read(target, *(project(own, *pair)[..., :size] for own, pair in zip(states, pairs, strict=True)))

    b, t = target.shape
    chunks = chunks_of(b, t, size)
    if chunks == 1:
        return some(target, *states)
    length = -(-t // chunks)

    def divided(rows: Array) -> Array:
        whole = jnp.pad(rows, ((0, 0), (0, chunks * length - t), *((0, 0),) * (rows.ndim - 2)))
        return jnp.moveaxis(whole.reshape(b, chunks, length, *rows.shape[2:]), 1, 0)

    def again(rows: Sequence[Array]) -> Any:
        return some(*map(shard_batch, rows))

    kept = jax.checkpoint_policies.save_only_these_names(KEPT)
    found = jax.lax.map(jax.checkpoint(again, prevent_cse=False, policy=kept), [divided(rows) for rows in (target, *states)])
    return jax.tree.map(lambda rows: jnp.moveaxis(rows, 0, 1).reshape(b, -1)[:, :t], found)


def filled_up(table: Float[Array, "v d"]) -> Float[Array, "w d"]:
    """A table of the vocabulary with rows of zeros up to a multiple of 128, on a GPU, whose products else take the slow way: with 32,100
    they last twice as long. Not where the vocabulary is split: its devices would have to move rows."""
    mesh = jax.sharding.get_abstract_mesh()
    split = not mesh.empty and mesh.shape["tensor"] > 1
    return jnp.pad(table, ((0, -len(table) % 128), (0, 0))) if _on_gpu() and not split else table


def _on_gpu() -> bool:
    """Whether the devices are GPUs."""
    return jax.devices()[0].platform == "gpu"


def chunks_of(b: int, t: int, v: int) -> int:
    """In how many parts the positions of a batch are gone through, on the mesh in use if any."""
    mesh = jax.sharding.get_abstract_mesh()
    if not mesh.empty:
        rows, tensor = math.prod(mesh.shape[axis] for axis in BATCH_AXES), mesh.shape["tensor"]
        b, v = (b // rows if b % rows == 0 else b), (v // tensor if v % tensor == 0 else v)
    positions = max(1, AT_ONCE // (b * v))
    return -(-t // positions)
