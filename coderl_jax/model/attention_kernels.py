"""Attention over whole texts as TPU kernels, written in Pallas. The plain way is in `model.layers`; tests hold the two equal.

The plain way writes a number for every query, key and head to memory and reads it again, some twenty times an update: on a TPU more than
half of it, by the compiler's forecast. Texts here are short enough (some hundred tokens) that a program of the grid holds all keys of one
head and the scores of a block of queries on the chip, so that the softmax is the plain one, and the backward pass makes it anew from
queries, keys and values alone. Programs of the batch follow each other innermost: a head's bias is fetched, and its gradient written, once.
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

NEGATIVE = -1e9
"""As in `model.layers`: of a key that is not to be looked at."""
SCORES = 400_000
"""Scores that a program of the grid holds at once; the backward pass has several float32 arrays of them, of the 16 MiB that it may use."""
BLOCKS = 4
"""Blocks of queries at most: for each of them what keys and values gain is in memory until it is summed up."""


def queries_together(t: int, s: int) -> int | None:
    """Queries of a program of the grid, for t of them and s keys: the most that divide t and fit; None where these are too few."""
    fits = [size for size in range(8, t + 1, 8) if t % size == 0 and size * (s + -s % 128) <= SCORES]
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
