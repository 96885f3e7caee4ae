"""The decoding loop. It knows no model: `step` turns the last tokens into logits, so exact tokens can be tested."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, UInt

from coderl_jax.objectives.losses import token_logprobs
from coderl_jax.rollout.filters import draw, filtered_probabilities

Step = Callable[[Int[Array, "p n"], Int[Array, ""], Any], tuple[Float[Array, "p n v"], Any]]
"""(last tokens [p, n], position, cache) -> (logits [p, n, v], new cache)."""


class DecodeState(NamedTuple):
    """What the loop carries.

    Attributes:
      position: tokens written so far, int32 scalar.
      tokens: int32 [p, n, t], pad after the end token.
      logprobs: log p of each token under the unfiltered model at temperature 1, float32 [p, n, t]; 0 after the end.
      done: rows whose end token is written, bool [p, n].
      cache: the model's.
    """

    position: Int[Array, ""]
    tokens: Int[Array, "p n t"]
    logprobs: Float[Array, "p n t"]
    done: Bool[Array, "p n"]
    cache: Any


def row_keys(seed: Key[Array, ""], problem: UInt[Array, " p"], sample: UInt[Array, "p n"]) -> Key[Array, "p n"]:
    """One random key a row, from seed, problem and sample index and nothing else.

    Args:
      seed: the run's key.
      problem: a number for each problem that depends on its id alone, uint32 [p].
      sample: index of each sample among its problem's, uint32 [p, n].
    """

    def one(problem_number, sample_index):
        return jax.random.fold_in(jax.random.fold_in(seed, problem_number), sample_index)

    return jax.vmap(jax.vmap(one, in_axes=(None, 0)))(problem, sample)


def decode(
    step: Step,
    cache: Any,
    keys: Key[Array, "p n"],
    temperature: Float[Array, "p n"],
    prefix: Int[Array, "p n t"],
    prefix_length: Int[Array, "p n"],
    *,
    top_k: int,
    top_p: float,
    start_id: int,
    end_id: int,
    pad_id: int,
) -> DecodeState:
    """Draw a program for every row, token by token, until all rows are done or t tokens are written.

    Args:
      step: the model, see `Step`.
      cache: its state before the first token.
      keys: one a row; the token at position i uses fold_in(key, i), whatever happened before.
      temperature: one a row, float32 [p, n]; 0 is greedy.
      prefix: tokens forced at the start of each row, int32 [p, n, t].
      prefix_length: how many of them, int32 [p, n]; 0 for none.
      top_k: see `filtered_probabilities`.
      top_p: see `filtered_probabilities`.
      start_id: what the decoder reads before the first token.
      end_id: ends a row; it is written and counted.
      pad_id: written after the end.
    """
    problems, samples, length = prefix.shape

    def unfinished(state: DecodeState) -> Bool[Array, ""]:
        return (state.position < length) & ~jnp.all(state.done)

    def write_one(state: DecodeState) -> DecodeState:
        at = state.position
        before = jnp.where(at == 0, start_id, state.tokens[:, :, jnp.maximum(at - 1, 0)])
        logits, cache = step(before, at, state.cache)
        uniform = jax.vmap(jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, at))))(keys)
        token = draw(filtered_probabilities(logits, temperature, top_k, top_p), uniform)
        token = jnp.where(at < prefix_length, prefix[:, :, at], token)
        logprob = token_logprobs(logits, token)
        return DecodeState(
            position=at + 1,
            tokens=state.tokens.at[:, :, at].set(jnp.where(state.done, pad_id, token)),
            logprobs=state.logprobs.at[:, :, at].set(jnp.where(state.done, 0.0, logprob)),
            done=state.done | (token == end_id),
            cache=cache,
        )

    first = DecodeState(
        position=jnp.zeros((), jnp.int32),
        tokens=jnp.full((problems, samples, length), pad_id, jnp.int32),
        logprobs=jnp.zeros((problems, samples, length), jnp.float32),
        done=jnp.zeros((problems, samples), bool),
        cache=cache,
    )
    return jax.lax.while_loop(unfinished, write_one, first)
