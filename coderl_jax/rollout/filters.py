"""Drawing a token from softmax(logits / temperature), cut to the top-k, then to the nucleus. Pure; the vocabulary is not sorted.

The nucleus is the smallest set of most likely tokens whose mass reaches top-p; tokens tied with its last member belong to
it. So a token belongs to it exactly if all more likely ones together stay below top-p, which takes one sum to find out:
draw some tokens and take the first that belongs; where none does, neither does anything less likely than any of them, and the
next draws are among the more likely ones. At a top-p of 0.95 none of three draws belongs one time in 8,000, so that nearly always
one turn of the loop is enough for all rows: on a GPU each is a dozen kernels and a wait of the host.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

_ONE = 0x3F800000  # float32 bits of 1.0
BLOCK = 128
"""Entries of the vocabulary that are summed together; a token is found by its block, then within it."""
TOGETHER = 3
"""Tokens that a turn draws before it asks which of them belong."""


def draw(
    logits: Float[Array, "*r v"], temperature: Float[Array, "*r"], keys: Key[Array, "*r"], top_k: int, top_p: float
) -> Int[Array, "*r"]:
    """A token for every row.

    Args:
      logits: float [..., v].
      temperature: one a row, float32, >= 0; 0 takes the first most likely token.
      keys: one a row; its n-th draw, of `TOGETHER` a turn, uses fold_in(key, n).
      top_k: most likely tokens kept, with those tied with the last one; 0 keeps all.
      top_p: mass of the nucleus, in (0, 1]; 1 keeps all.
    """
    logits = logits.astype(jnp.float32)
    size = logits.shape[-1]
    best = jnp.max(logits, axis=-1, keepdims=True)
    greedy = temperature <= 0
    weights = jnp.exp((logits - best) / jnp.where(greedy, 1.0, temperature)[..., None])  # the largest is 1
    if 0 < top_k < size:
        weights = jnp.where(weights >= kth_largest(weights, top_k), weights, 0.0)
    blocks = jnp.pad(weights, [(0, 0)] * (weights.ndim - 1) + [(0, -size % BLOCK)])
    blocks = blocks.reshape(*weights.shape[:-1], -1, BLOCK)
    drawn = _draw_from(blocks, keys, greedy, top_p)
    first_best = jnp.min(jnp.where(logits >= best, jnp.arange(size, dtype=jnp.int32), size), axis=-1)
    return jnp.where(greedy, first_best, drawn)


class _Search(NamedTuple):
    """Turns so far: `number` of them, each row's `token`, whether it is `settled`; tokens above `floor` are left."""

    number: Int[Array, ""]
    token: Int[Array, "*r"]
    settled: Bool[Array, "*r"]
    floor: Float[Array, "*r"]


def _draw_from(blocks: Float[Array, "*r m w"], keys: Key[Array, "*r"], settled: Bool[Array, "*r"], top_p: float) -> Int[Array, "*r"]:
    """A token by its weight among those of the nucleus, in rows that are not `settled` from the beginning."""
    rows = keys.shape
    if top_p >= 1:
        return _pick(blocks, jnp.zeros(rows), _uniform(keys, jnp.arange(1)))[0][..., 0]
    enough = top_p * jnp.sum(blocks, axis=(-2, -1))[..., None]

    def again(search: _Search) -> _Search:
        uniform = _uniform(keys, search.number * TOGETHER + jnp.arange(TOGETHER))
        tokens, weights = _pick(blocks, search.floor, uniform)
        drawn = blocks[..., None, :, :]
        mass = jnp.sum(jnp.where(drawn > weights[..., None, None], drawn, 0.0), axis=(-2, -1))
        belongs = ~(mass >= enough)  # so written, NaN ends the search
        token = jnp.take_along_axis(tokens, jnp.argmax(belongs, axis=-1, keepdims=True), axis=-1)[..., 0]
        return _Search(
            number=search.number + 1,
            token=jnp.where(search.settled, search.token, token),
            settled=search.settled | jnp.any(belongs, axis=-1),
            floor=jnp.where(search.settled, search.floor, jnp.max(weights, axis=-1)),
        )

    start = _Search(jnp.int32(0), jnp.zeros(rows, jnp.int32), settled, jnp.zeros(rows, jnp.float32))
    return jax.lax.while_loop(lambda search: ~jnp.all(search.settled), again, start).token


def _uniform(keys: Key[Array, "*r"], numbers: Int[Array, " n"]) -> Float[Array, "*r n"]:
    """A number in [0, 1) for each key and draw."""
    draws = jax.vmap(lambda key: jax.vmap(lambda number: jax.random.uniform(jax.random.fold_in(key, number)))(numbers))
    return draws(keys.reshape(-1)).reshape(*keys.shape, -1)


def _pick(
    blocks: Float[Array, "*r m w"], floor: Float[Array, "*r"], uniform: Float[Array, "*r n"]
) -> tuple[Int[Array, "*r n"], Float[Array, "*r n"]]:
    """The tokens, and their weights, at which the cumulative sum of weights above `floor` passes `uniform` (in [0, 1)) of their total.

    Args:
      blocks: weights, the vocabulary in blocks.
      floor: weights up to it count as 0.
      uniform: n a row.
    """
    sums = jnp.sum(jnp.where(blocks > floor[..., None, None], blocks, 0.0), axis=-1)
    cumulative = jnp.cumsum(sums, axis=-1)
    wanted = uniform * cumulative[..., -1:]
    block = _first(cumulative[..., None, :] > wanted[..., None], sums[..., None, :])
    before = jnp.take_along_axis(cumulative - sums, block, axis=-1)
    entries = jnp.take_along_axis(blocks, block[..., None], axis=-2)
    entries = jnp.where(entries > floor[..., None, None], entries, 0.0)
    place = _first(jnp.cumsum(entries, axis=-1) > (wanted - before)[..., None], entries)
    return block * BLOCK + place, jnp.take_along_axis(entries, place[..., None], axis=-1)[..., 0]


def _first(passed: Bool[Array, "*r n k"], weights: Float[Array, "*r #n k"]) -> Int[Array, "*r n"]:
    """The first place that passed and has weight; rounding may leave none: then the heaviest."""
    passed = passed & (weights > 0)
    return jnp.where(jnp.any(passed, axis=-1), jnp.argmax(passed, axis=-1), jnp.argmax(weights, axis=-1)).astype(jnp.int32)


def kth_largest(weights: Float[Array, "*r v"], k: int) -> Float[Array, "*r 1"]:
    """The k-th largest of weights in [0, 1]: bisection over the bit patterns of float32, which stand in the order of the numbers."""

    def halve(_, bounds):
        low, high = bounds  # at least k reach `low`, fewer reach `high`
        middle = low + (high - low) // 2
        enough = jnp.sum(weights >= jax.lax.bitcast_convert_type(middle, jnp.float32)[..., None], axis=-1) >= k
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    low = jnp.zeros(weights.shape[:-1], jnp.int32)
    low, _ = jax.lax.fori_loop(0, 31, halve, (low, low + _ONE + 1))
    return jax.lax.bitcast_convert_type(low, jnp.float32)[..., None]
