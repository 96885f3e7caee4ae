"""Attention of one decoding step as CUDA kernels, written in Pallas. The plain way is in `model.decoding`; tests hold the two equal.

The plain way reads a cache as far as the longest program goes, writes scores and weights to memory and reads them again, and
stores new keys and values by a scatter. Here a program of the grid reads just what its slot has written, once, keeps scores in
registers, and stores the new vectors itself: the softmax is summed up block by block (Milakov and Gimelshein 2018).

Pallas lowers them by Triton, which JAX announces to give up: where it is gone, `model.layers.takes_cuda_decoding` says no.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Bool, Float, Int

from coderl_jax.model.layers import BATCH_AXES, NEGATIVE, per_device, tensor_split
from coderl_jax.model.quantized import Vectors, quantized

BLOCK = 64
"""Positions of a program or a source that are read together."""
QUERIES = 64
"""Slots of a row that read their source together, at most; 16 is the least that the matrix units take."""
PROGRAMS = 256
"""Programs of a grid that fill a GPU; with fewer, sources are divided among several."""


def own_attention(
    qkv: Float[Array, "p n 3 h c"],
    keys: Vectors,
    values: Vectors,
    line: Float[Array, "h k"],
    position: Int[Array, "p n"],
) -> tuple[Float[Array, "p n h c"], Vectors, Vectors]:
    """What every slot sees of its own program, the token at `position` included, and the cache with that token's vectors.

    Args:
      qkv: query, key and value of that token.
      keys: of the tokens before it, [p n h length c]; updated in place.
      values: the same.
      line: from `distance_bias`.
      position: of the token.
    """

    def call(qkv: Array, keys: Vectors, values: Vectors, line: Array, position: Array) -> Any:
        p, n, _, h, c = qkv.shape
        kept = [leaf.reshape(p * n, *leaf.shape[2:]) for leaf in jax.tree.leaves((keys, values))]
        mixed, *after = pl.pallas_call(
            _own,
            grid=(p * n, h),
            out_shape=[jax.ShapeDtypeStruct((p * n, h, c), qkv.dtype), *kept],
            input_output_aliases={3 + i: 1 + i for i in range(len(kept))},
            compiler_params=triton.CompilerParams(num_warps=4, num_stages=2),
            interpret=_interpreted(),
            name="own_attention",
        )(position.reshape(-1), line, qkv.reshape(p * n, 3, h, c), *kept)
        leaves, structure = jax.tree.flatten((keys, values))
        same = [new.reshape(old.shape) for new, old in zip(after, leaves, strict=True)]
        return mixed.reshape(p, n, h, c), *jax.tree.unflatten(structure, same)

    heads = tensor_split(qkv.shape[3])
    cache, slots = jax.P(BATCH_AXES, None, heads), jax.P(BATCH_AXES)
    into = jax.P(BATCH_AXES, None, None, heads), cache, cache, jax.P(heads), slots
    return per_device(call, into, (cache, cache, cache))(qkv, keys, values, line, position)


def source_attention(
    queries: Float[Array, "p n h c"], keys: Vectors, values: Vectors, lengths: Int[Array, " p"]
) -> Float[Array, "p n h c"]:
    """What every slot sees of its row's source.

    Args:
      queries: of the slots.
      keys: of the sources, [p h s c].
      values: the same.
      lengths: tokens of each source, 1 at least.
    """

    def call(queries: Array, keys: Vectors, values: Vectors, lengths: Array) -> Array:
        p, n, h, c = queries.shape
        together = min(QUERIES, max(16, pl.next_power_of_2(n)))
        blocks, pieces = pl.cdiv(n, together), pl.cdiv(jax.tree.leaves(keys)[0].shape[2], BLOCK)
        parts = max(1, min(PROGRAMS // (p * h * blocks), pieces))
        outputs = [jax.ShapeDtypeStruct((parts, p, n, h, *rest), jnp.float32) for rest in ((c,), (), ())]
        found = pl.pallas_call(
            functools.partial(_source, together, blocks, pl.cdiv(pieces, parts), parts == 1),
            grid=(p, h, blocks * parts),
            out_shape=outputs if parts > 1 else [jax.ShapeDtypeStruct(queries.shape, queries.dtype)],
            compiler_params=triton.CompilerParams(num_warps=4, num_stages=2),
            interpret=_interpreted(),
            name="source_attention",
        )(lengths, queries, *jax.tree.leaves((keys, values)))
        if parts == 1:
            return found[0]
        return pl.pallas_call(
            _joined,
            grid=(p, n, h),
            out_shape=jax.ShapeDtypeStruct(queries.shape, queries.dtype),
            compiler_params=triton.CompilerParams(num_warps=1, num_stages=1),
            interpret=_interpreted(),
            name="joined",
        )(*found)

    heads = tensor_split(queries.shape[2])
    slots, cache = jax.P(BATCH_AXES, None, heads), jax.P(BATCH_AXES, heads)
    return per_device(call, (slots, cache, cache, jax.P(BATCH_AXES)), slots)(queries, keys, values, lengths)


def _interpreted() -> bool:
    """Without a GPU, for tests: slowly."""
    return jax.devices()[0].platform == "cpu"


def _own(position: Any, line: Any, qkv: Any, *refs: Any) -> None:
    """One head of one slot."""
    half = len(refs) // 2  # what comes in, mixed, what goes out: the same memory as what came in
    mixed, kept = refs[half], refs[half + 1 :]
    keys, values = kept[: len(kept) // 2], kept[len(kept) // 2 :]
    slot, head = pl.program_id(0), pl.program_id(1)
    length, at = kept[0].shape[2], position[slot]
    query = qkv[slot, 0, head, :]
    new = []
    for refs_of, place in ((keys, 1), (values, 2)):
        vector = qkv[slot, place, head, :]
        if len(refs_of) == 2:
            as_bytes = quantized(vector, (-1,))
            refs_of[0][slot, head, at, :], refs_of[1][slot, head, at] = as_bytes
            new.append(as_bytes.values.astype(jnp.float32) * as_bytes.scale)
        else:
            refs_of[0][slot, head, at, :] = vector
            new.append(vector.astype(jnp.float32))

    def bias(start: Array, there: Array) -> Array:
        return triton.load(line.at[head, pl.ds(length - 1 - at + start, BLOCK)], mask=there, other=0.0)

    # The query stands in all rows of a tile: less than 16 the matrix units do not take, and only for them is the next block fetched ahead.
    tile = jnp.broadcast_to(query[None], (16, query.shape[0]))
    score = jnp.sum(query.astype(jnp.float32) * new[0]) + line[head, length - 1]
    alone = jnp.full(16, score), jnp.ones(16, jnp.float32), jnp.broadcast_to(new[1][None], tile.shape)
    blocks = 0, pl.cdiv(at, BLOCK)
    _, total, summed = _over(blocks, at, tile, keys, values, (slot, head), bias, alone)
    mixed[slot, head, :] = jnp.max(summed / total[:, None], axis=0).astype(mixed.dtype)


def _source(together: int, blocks: int, pieces: int, whole: bool, lengths: Any, queries: Any, *refs: Any) -> None:
    """One head of `together` slots of a row, over `pieces` blocks of its source.

    Where that is the whole source, what they see; else, for each part, values weighed and summed, the sum of weights, the best score.
    """
    kept, outputs = (refs[:-1], refs[-1:]) if whole else (refs[:-3], refs[-3:])
    keys, values = kept[: len(kept) // 2], kept[len(kept) // 2 :]
    row, head, place = (pl.program_id(axis) for axis in range(3))
    part, first = place // blocks, place % blocks * together
    there, length, width = first + jnp.arange(together) < queries.shape[1], lengths[row], queries.shape[3]
    slots = pl.ds(first, together)
    query = triton.load(queries.at[row, slots, head, :], mask=there[:, None], other=0.0)

    nothing = jnp.full(together, NEGATIVE, jnp.float32), jnp.zeros(together, jnp.float32), jnp.zeros((together, width), jnp.float32)
    some = part * pieces, jnp.minimum((part + 1) * pieces, pl.cdiv(length, BLOCK))
    best, total, summed = _over(some, length, query, keys, values, (row, head), lambda *_: 0.0, nothing)
    if whole:
        triton.store(outputs[0].at[row, slots, head, :], (summed / total[:, None]).astype(query.dtype), mask=there[:, None])
        return
    triton.store(outputs[0].at[part, row, slots, head, :], summed, mask=there[:, None])
    for output, number in zip(outputs[1:], (total, best), strict=True):
        triton.store(output.at[part, row, slots, head], number, mask=there)


def _joined(summed: Any, total: Any, best: Any, mixed: Any) -> None:
    """One head of one slot over the parts of its source, which `_source` left: by itself XLA takes two kernels for it."""
    parts, place = summed.shape[0], tuple(pl.program_id(axis) for axis in range(3))
    some = pl.ds(0, pl.next_power_of_2(parts))
    there = jnp.arange(some.size) < parts
    most = triton.load(best.at[some, *place], mask=there, other=NEGATIVE)
    share = jnp.where(there, jnp.exp(most - jnp.max(most)), 0.0)
    weights = jnp.sum(share * triton.load(total.at[some, *place], mask=there, other=0.0))
    values = jnp.sum(share[:, None] * triton.load(summed.at[some, *place, :], mask=there[:, None], other=0.0), axis=0)
    mixed[*place, :] = (values / weights).astype(mixed.dtype)


def _over(
    blocks: tuple[Any, Any], length: Any, query: Array, keys: Any, values: Any, place: tuple[Any, Any], bias: Any, state: Any
) -> tuple[Array, Array, Array]:
    """(best score, sum of weights, values weighed and summed) of each of the queries [q c], over blocks of kept vectors after `state`.

    Args:
      blocks: the first, and the one after the last.
      length: vectors that there are.
      query: of the queries.
      keys: refs of bytes and their scale, or of numbers.
      values: the same.
      place: of the vectors in them.
      bias: (first vector of a block, which there are) -> what is added to the scores.
      state: what is over before.
    """

    def block(number: Array, state: Any) -> Any:
        best, total, summed = state
        start = number * BLOCK
        there = start + jnp.arange(BLOCK) < length
        key, value = (_read(refs, place, start, there, query.dtype) for refs in (keys, values))
        scores = jnp.where(there[None], triton.dot(query, key[0].T) * key[1] + bias(start, there), NEGATIVE)
        most = jnp.maximum(best, jnp.max(scores, axis=1))
        weights, shrunk = jnp.exp(scores - most[:, None]), jnp.exp(best - most)
        seen = triton.dot((weights * value[1]).astype(query.dtype), value[0])
        return most, total * shrunk + jnp.sum(weights, axis=1), summed * shrunk[:, None] + seen

    return jax.lax.fori_loop(*blocks, block, state)


def _read(refs: Any, place: tuple[Any, Any], start: Any, there: Bool[Array, " k"], dtype: Any) -> tuple[Array, Any]:
    """Kept vectors from `start` on [k c], zeros where none is, and what each is to be scaled by."""
    some = pl.ds(start, there.shape[0])
    vectors = triton.load(refs[0].at[*place, some, :], mask=there[:, None], other=0).astype(dtype)
    return vectors, triton.load(refs[1].at[*place, some], mask=there, other=0.0) if len(refs) == 2 else 1.0
