"""Attention as TPU kernels, written in Pallas: over whole texts, and of one decoding step. The plain ways are in `model.layers` and
`model.decoding`; tests hold them equal.

Over whole texts the plain way writes a number for every query, key and head to memory and reads it again, some twenty times an update: on a
TPU more than half of it, by the compiler's forecast. Texts here are short enough (some hundred tokens) that a program of the grid holds all
keys of one head and the scores of a block of queries on the chip, so that the softmax is the plain one, and the backward pass makes it anew
from queries, keys and values alone. Texts of the batch follow each other innermost: a head's bias is fetched, its gradient written, once.

In a decoding step the plain way's products, one query for each slot and head, and its scatter of new keys and values, a loop over slots,
take ten times what reading the cache does, by the same forecast. Here a program of the grid reads a slot's blocks up to its position, all
heads together, and stores the 128 tokens among which the new one is; tokens lie along the lanes, where a head's 64 numbers would fill half.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float, Int

from coderl_jax.model.layers import BATCH_AXES, LANES, NEGATIVE, per_device, tensor_split

SCORES = 400_000
"""Scores that a program of the grid holds at once; the backward pass has several float32 arrays of them, of the 16 MiB that it may use."""
BLOCKS = 4
"""Blocks of queries at most: for each of them what keys and values gain is in memory until it is summed up."""


def queries_together(t: int, s: int) -> int | None:
    """Queries of a program of the grid, for t of them and s keys: the most that divide t and fit; None where these are too few."""
    fits = [size for size in range(8, t + 1, 8) if t % size == 0 and size * (s + -s % LANES) <= SCORES]
    return fits[-1] if s % 8 == 0 and fits and t <= BLOCKS * fits[-1] else None


@jax.custom_vjp
def attention(
    queries: Float[Array, "b h t c"],
    keys: Float[Array, "b h s c"],
    values: Float[Array, "b h s c"],
    bias: Float[Array, "h t s"] | None,
    lengths: Int[Array, " b"],
) -> Float[Array, "b h t c"]:
    """softmax(q k^T + bias) v.

    Args:
      queries: bfloat16, of a length for which `queries_together` finds some.
      keys: the same type.
      values: the same type.
      bias: float32, `NEGATIVE` where a query may not look.
      lengths: keys of each text that may be looked at, 1 at least.
    """
    return _run(_forward, "attention", (queries, keys, values), bias, lengths)[0]


def _attention_forward(queries: Array, keys: Array, values: Array, bias: Array | None, lengths: Array) -> tuple[Array, Any]:
    given = queries, keys, values, bias, lengths
    return attention(*given), given


def _attention_backward(given: Any, slope: Array) -> tuple[Array, Array, Array, Array | None, None]:
    queries, keys, values, bias, lengths = given
    found = _run(_backward, "attention_backward", (queries, keys, values, slope), bias, lengths)
    of_keys, of_values = (jnp.sum(parts, axis=0).astype(keys.dtype) for parts in found[1:3])
    return found[0], of_keys, of_values, None if bias is None else found[3], None


attention.defvjp(_attention_forward, _attention_backward)


def _run(kernel: Callable, name: str, arrays: Sequence[Array], bias: Array | None, lengths: Array) -> Sequence[Array]:
    """The kernel over heads, blocks of queries and texts.

    Args:
      kernel: `_forward` or `_backward`.
      name: its name in profiles.
      arrays: queries, keys, values, and for the backward pass the slope of what they gave.
      bias: see `attention`.
      lengths: see `attention`.

    Returns:
      What queries see; or slopes of queries, of keys and values in a part for each block, and of the bias if there is one.
    """
    (b, h, t, c), s = arrays[0].shape, arrays[1].shape[2]
    block, kind, backward = queries_together(t, s), arrays[0].dtype, len(arrays) == 4
    blocks = t // block
    of_queries = pl.BlockSpec((None, None, block, c), lambda head, at, text, _: (text, head, at, 0))
    of_keys = pl.BlockSpec((None, None, s, c), lambda head, at, text, _: (text, head, 0, 0))
    part_of_keys = pl.BlockSpec((None, None, None, s, c), lambda head, at, text, _: (at, text, head, 0, 0))
    of_bias = [] if bias is None else [pl.BlockSpec((None, block, s), lambda head, at, text, _: (head, at, 0))]
    outputs = [jax.ShapeDtypeStruct((b, h, t, c), kind)]
    if backward:
        outputs += 2 * [jax.ShapeDtypeStruct((blocks, b, h, s, c), kind if blocks == 1 else jnp.float32)]
        outputs += [] if bias is None else [jax.ShapeDtypeStruct(bias.shape, jnp.float32)]
    inputs = [*arrays, *([] if bias is None else [bias])]
    return pl.pallas_call(
        functools.partial(kernel, bias is not None),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=1,
            grid=(h, blocks, b),
            in_specs=[of_queries, of_keys, of_keys, *([of_queries] if backward else []), *of_bias],
            out_specs=[of_queries, part_of_keys, part_of_keys, *of_bias] if backward else [of_queries],
        ),
        out_shape=outputs,
        cost_estimate=pl.CostEstimate(
            flops=(10 if backward else 4) * b * h * t * s * c,
            bytes_accessed=sum(math.prod(array.shape) * array.dtype.itemsize for array in (*inputs, *outputs)),
            transcendentals=b * h * t * s,
        ),
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "parallel", "arbitrary")),
        interpret=_interpreted(),
        name=name,
    )(lengths, *inputs)


def _interpreted() -> bool:
    """Without a TPU, for tests: slowly."""
    return jax.devices()[0].platform == "cpu"


def _weights(lengths: Any, queries: Any, keys: Any, bias: Any) -> tuple[Array, Array]:
    """exp(scores - the largest) and one by their sum, of a block of queries."""
    scores = _product(queries[...], keys[...], 1, 1)
    if bias is not None:
        scores += bias[...]
    there = jax.lax.broadcasted_iota(jnp.int32, (1, scores.shape[1]), 1) < lengths[pl.program_id(2)]
    scores = jnp.where(there, scores, NEGATIVE)
    weights = jnp.exp(scores - jnp.max(scores, axis=1, keepdims=True))
    return weights, 1 / jnp.sum(weights, axis=1, keepdims=True)


def _forward(biased: bool, lengths: Any, queries: Any, keys: Any, values: Any, *refs: Any) -> None:
    """What a block of queries sees."""
    weights, share = _weights(lengths, queries, keys, refs[0] if biased else None)
    refs[-1][...] = (_product(weights.astype(values.dtype), values[...], 1, 0) * share).astype(values.dtype)


def _backward(biased: bool, lengths: Any, queries: Any, keys: Any, values: Any, slope: Any, *refs: Any) -> None:
    """Slopes of a block of queries, and its part of those of keys, values and the bias."""
    bias, of_bias = (refs[0], refs[-1]) if biased else (None, None)
    of_queries, of_keys, of_values = refs[1:4] if biased else refs
    weights, share = _weights(lengths, queries, keys, bias)
    weights *= share
    of_values[...] = _product(weights.astype(slope.dtype), slope[...], 0, 0).astype(of_values.dtype)
    of_weights = _product(slope[...], values[...], 1, 1)
    of_scores = weights * (of_weights - jnp.sum(weights * of_weights, axis=1, keepdims=True))
    narrow = of_scores.astype(queries.dtype)
    of_queries[...] = _product(narrow, keys[...], 1, 0).astype(of_queries.dtype)
    of_keys[...] = _product(narrow, queries[...], 0, 0).astype(of_keys.dtype)
    if biased:
        first = pl.program_id(2) == 0
        of_bias[...] = of_scores + jnp.where(first, 0.0, of_bias[...])


def _product(a: Array, b: Array, axis_a: int, axis_b: int) -> Array:
    """The sum over an axis of each, float32."""
    return jax.lax.dot_general(a, b, (((axis_a,), (axis_b,)), ((), ())), preferred_element_type=jnp.float32)


def block_of(length: int) -> int:
    """Tokens of a cache of this length that a program of `own_attention`'s grid reads."""
    return 2 * LANES if length % (2 * LANES) == 0 else LANES


def own_attention(
    qkv: Float[Array, "p n 3 h c"],
    keys: Float[Array, "p n h k c"],
    values: Float[Array, "p n h k c"],
    bias: Float[Array, "p n h k"],
    position: Int[Array, "p n"],
) -> tuple[Float[Array, "p n h c"], Float[Array, "p n h k c"], Float[Array, "p n h k c"]]:
    """What every slot sees of its own program, the token at `position` included, and the cache with that token's vectors.

    Args:
      qkv: query, key and value of that token.
      keys: of the tokens before it; updated in place. k is a multiple of `LANES`.
      values: the same.
      bias: float32, `NEGATIVE` behind `position`.
      position: of the token, below k.
    """

    def call(qkv: Array, keys: Array, values: Array, bias: Array, position: Array) -> Any:
        p, n, _, h, c = qkv.shape
        slots, length = p * n, keys.shape[3]
        block = block_of(length)

        def read(slot: Any, number: Any, at: Any) -> Any:  # behind a slot's position the block stays the one that it is: nothing is fetched
            return jnp.minimum(number, jax.lax.div(at[slot], block))

        kept = pl.BlockSpec((None, h, c, block), lambda *place: (place[0], 0, 0, read(*place)))
        written = pl.BlockSpec((None, h, c, LANES), lambda slot, _, at: (slot, 0, 0, jax.lax.div(at[slot], LANES)))
        # The cache's vectors stand in columns (the compiler lays it out so, once and for all), and so do those that go into it.
        rows, columns = qkv.reshape(slots, 3, h, c), jnp.swapaxes(qkv[:, :, 1:].reshape(slots, 2 * h, c), 1, 2)
        three = pl.BlockSpec((None, 3, h, c), lambda slot, *_: (slot, 0, 0, 0))
        two, one = (pl.BlockSpec((None, *lengths), lambda slot, *_: (slot, 0, 0)) for lengths in ((c, 2 * h), (h, c)))
        across = [jnp.swapaxes(kind.reshape(slots, h, length, c), 2, 3) for kind in (keys, values)]
        mixed, *after = pl.pallas_call(
            functools.partial(_own, h, block),
            grid_spec=pltpu.PrefetchScalarGridSpec(
                num_scalar_prefetch=1,
                grid=(slots, length // block),
                in_specs=[three, two, pl.BlockSpec((None, h, block), lambda *place: (place[0], 0, read(*place))), kept, kept],
                out_specs=[one, written, written],
                scratch_shapes=[pltpu.VMEM(lengths, jnp.float32) for lengths in ((h, block), (h, LANES), (h, LANES), (h, c), (h, c))],
            ),
            out_shape=[jax.ShapeDtypeStruct((slots, h, c), qkv.dtype), *(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in across)],
            input_output_aliases={4: 1, 5: 2},
            cost_estimate=pl.CostEstimate(
                flops=4 * slots * h * length * c,
                bytes_accessed=2 * slots * h * (length + LANES) * c * keys.dtype.itemsize + 4 * slots * h * length,
                transcendentals=slots * h * length,
            ),
            compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "arbitrary")),
            interpret=_interpreted(),
            name="own_attention",
        )(position.reshape(slots), rows, columns, bias.reshape(slots, h, length), *across)
        return mixed.reshape(p, n, h, c), *(jnp.swapaxes(kind, 2, 3).reshape(keys.shape) for kind in after)

    heads = tensor_split(qkv.shape[3])
    slots, cache = jax.P(BATCH_AXES), jax.P(BATCH_AXES, None, heads)
    return per_device(call, (jax.P(BATCH_AXES, None, None, heads), cache, cache, cache, slots), (cache, cache, cache))(
        qkv, keys, values, bias, position
    )


def _own(h: int, block: int, position: Any, rows: Any, columns: Any, bias: Any, keys: Any, values: Any, *refs: Any) -> None:
    """A block of one slot's cache: the softmax is summed up block by block (Milakov and Gimelshein 2018), the new token's part at the end.

    Rows are queries, keys and values of the new token, h each, columns its keys and values; of the cache, a head's vectors, one a token.
    """
    mixed, *new, scores, best, total, summed, seen = refs
    number, at = pl.program_id(1), position[pl.program_id(0)]
    last, tokens = jax.lax.div(at, block), jax.lax.broadcasted_iota(jnp.int32, (1, block), 1) + number * block

    def weigh(most: Array, weights: Array, values: Array) -> None:
        """Add weights, and values weighed by them, to what is summed up."""
        shrunk = jnp.exp(best[:, :1] - most)
        best[...] = jnp.broadcast_to(most, best.shape)
        total[...] = total[...] * shrunk + jnp.sum(weights, axis=1, keepdims=True)
        summed[...] = summed[...] * shrunk + values

    @pl.when(number == 0)
    def begin() -> None:
        best[...], total[...], summed[...] = jnp.full_like(best, NEGATIVE), jnp.zeros_like(total), jnp.zeros_like(summed)

    @pl.when(number <= last)
    def add() -> None:
        for head in range(h):
            scores[head : head + 1, :] = _product(rows[0, head : head + 1, :], keys[head], 1, 0)
        biased = jnp.where(tokens < at, scores[...] + bias[...], NEGATIVE)
        most = jnp.maximum(best[:, :1], jnp.max(biased, axis=1, keepdims=True))
        weights = jnp.where(tokens < at, jnp.exp(biased - most), 0.0)
        for head in range(h):
            seen[head : head + 1, :] = _product(weights[head : head + 1, :].astype(values.dtype), values[head], 1, 1)
        weigh(most, weights, seen[...])

    @pl.when(number == last)
    def end() -> None:
        query, key, value = (rows[i].astype(jnp.float32) for i in range(3))
        own = jnp.sum(jnp.where(tokens == at, bias[...], 0.0), axis=1, keepdims=True)
        score = jnp.sum(query * key, axis=1, keepdims=True) + own
        most = jnp.maximum(best[:, :1], score)
        weight = jnp.exp(score - most)
        weigh(most, weight, weight * value)
        mixed[...] = (summed[...] / total[:, :1]).astype(mixed.dtype)
        start = jax.lax.div(jax.lax.rem(at, block), LANES) * LANES
        here = jax.lax.broadcasted_iota(jnp.int32, (1, LANES), 1) == jax.lax.rem(at, LANES)
        column = columns[...].astype(jnp.float32)
        for place, kept in enumerate((keys, values)):
            for head in range(h):
                before = kept[head, :, pl.ds(pl.multiple_of(start, LANES), LANES)].astype(jnp.float32)
                written = column[:, place * h + head : place * h + head + 1]
                new[place][head] = jnp.where(here, written, before).astype(kept.dtype)
