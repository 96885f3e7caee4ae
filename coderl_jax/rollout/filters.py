"""Which tokens may be drawn, and the drawing. Pure; no sort of the vocabulary.

Both filters keep the tokens whose probability reaches a threshold. The threshold is found by bisection over the bit
patterns of float32, which stand in the same order as the non-negative numbers they encode: 31 passes give it exactly.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

_ONE = 0x3F800000  # float32 bits of 1.0


def _largest_threshold(probabilities: Float[Array, "*r v"], enough: Callable) -> Float[Array, "*r 1"]:
    """The largest threshold whose kept set still is `enough` (kept [*r v] -> bool [*r]); 0 where none is."""

    def halve(_, bounds):
        low, high = bounds  # `low` is enough, `high` is not
        middle = low + (high - low) // 2
        kept = probabilities >= jax.lax.bitcast_convert_type(middle, jnp.float32)[..., None]
        good = enough(kept)
        return jnp.where(good, middle, low), jnp.where(good, high, middle)

    low = jnp.zeros(probabilities.shape[:-1], jnp.int32)
    low, _ = jax.lax.fori_loop(0, 31, halve, (low, low + _ONE + 1))
    return jax.lax.bitcast_convert_type(low, jnp.float32)[..., None]


def filtered_probabilities(logits: Float[Array, "*r v"], temperature: Float[Array, "*r"], top_k: int, top_p: float) -> Float[Array, "*r v"]:
    """The distribution that sampling draws from: softmax(logits / temperature), cut to top-k, then to the nucleus.

    The nucleus is the smallest set of most likely tokens whose mass reaches `top_p`; tokens tied with its last member
    are kept. Where `temperature` is 0, all mass is on the first most likely token.

    Args:
      logits: float [..., v].
      temperature: float32 [...], >= 0.
      top_k: tokens kept; 0 keeps all.
      top_p: mass in (0, 1]; 1 keeps all.

    Returns:
      float32 [..., v], sums to 1.
    """
    logits = logits.astype(jnp.float32)
    greedy = temperature <= 0
    scaled = (logits - jnp.max(logits, axis=-1, keepdims=True)) / jnp.where(greedy, 1.0, temperature)[..., None]
    probabilities = jax.nn.softmax(scaled, axis=-1)
    if 0 < top_k < logits.shape[-1]:
        threshold = _largest_threshold(probabilities, lambda kept: jnp.sum(kept, axis=-1) >= top_k)
        probabilities = _renormalised(jnp.where(probabilities >= threshold, probabilities, 0.0))
    if top_p < 1:
        current = probabilities
        threshold = _largest_threshold(current, lambda kept: jnp.sum(jnp.where(kept, current, 0.0), axis=-1) >= top_p)
        probabilities = _renormalised(jnp.where(current >= threshold, current, 0.0))
    best = jax.nn.one_hot(jnp.argmax(logits, axis=-1), logits.shape[-1], dtype=jnp.float32)
    return jnp.where(greedy[..., None], best, probabilities)


def _renormalised(weights: Float[Array, "*r v"]) -> Float[Array, "*r v"]:
    return weights / jnp.sum(weights, axis=-1, keepdims=True)


def draw(probabilities: Float[Array, "*r v"], uniform: Float[Array, "*r"]) -> Int[Array, "*r"]:
    """The token at which the cumulative distribution passes `uniform` (in [0, 1)): one random number a row.

    Rounding may not let a token of probability 0 through, so those are masked out of the comparison.
    """
    cumulative = jnp.cumsum(probabilities, axis=-1)
    passed: Bool[Array, "*r v"] = (cumulative > uniform[..., None] * cumulative[..., -1:]) & (probabilities > 0)
    last_resort = jnp.argmax(probabilities, axis=-1)
    return jnp.where(jnp.any(passed, axis=-1), jnp.argmax(passed, axis=-1), last_resort).astype(jnp.int32)
