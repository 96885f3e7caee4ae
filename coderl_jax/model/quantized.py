"""Numbers as bytes, for keys, values and weights of the sampler that take half the memory, and half the time to read."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int8


class Quantized(NamedTuple):
    """Numbers as bytes: `values * scale` is within half of `scale` of what they stand for, and `scale` is 1/127 of the largest.

    Attributes:
      values: in [-127, 127].
      scale: one for each output of a matrix product (weights), or for each key or value vector (caches).
    """

    values: Int8[Array, "*a"]
    scale: Float[Array, "*b"]


def quantized(x: Float[Array, "*a"], axes: tuple[int, ...]) -> Quantized:
    """x as bytes, with one scale for all entries along `axes`."""
    wide = x.astype(jnp.float32)
    scale = jnp.maximum(jnp.max(jnp.abs(wide), axis=axes, keepdims=True), 1e-30) / 127
    return Quantized(jnp.floor(wide / scale + 0.5).astype(jnp.int8), jnp.squeeze(scale, axes))


Vectors = Any
"""Keys or values of one layer: a float array [... h length c], or `Quantized` with a scale for each vector, [... h length]."""
