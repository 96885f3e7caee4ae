"""The decoding loop. It knows no model: `step` turns the last tokens into logits, so exact tokens can be tested.

Slots stand in rows, [p, n]; each writes a program of its own, at its own position. The loop runs for a stretch of steps
and comes back when enough slots have ended that it pays to start waiting programs in them (`rollout.schedule`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, UInt

from coderl_jax.objectives.losses import token_logprobs
from coderl_jax.rollout.filters import draw

Step = Callable[[Int[Array, "p n"], Int[Array, "p n"], Any], tuple[Float[Array, "p n v"], Any]]
"""(last tokens [p, n], positions [p, n], cache) -> (logits [p, n, v], new cache)."""

Anything = Array | np.ndarray

OWN, NEXT, NOTHING = 1, 2, 0
"""What waits for a row's slots: programs of its own prompt; those of another, for which all its slots must have ended; none."""


class Slots(NamedTuple):
    """Where every slot is.

    Attributes:
      last: the token written last, int32 [p, n]; what the decoder reads first, before position 0.
      position: tokens written so far, int32 [p, n].
      done: slots that write nothing, bool [p, n].
    """

    last: Int[Array, "p n"]
    position: Int[Array, "p n"]
    done: Bool[Array, "p n"]


class Work(NamedTuple):
    """What every slot is to do in a stretch.

    Attributes:
      keys: one a program; its token at position i is drawn with fold_in(key, i), whatever happened before.
      temperature: float32 [p, n]; 0 is greedy.
      forced: the token that each of the next steps must write, int32 [p, n, c]; -1 leaves it free.
      waiting: `OWN`, `NEXT` or `NOTHING`, int32 [p].
      enough: slots that could start another program at which to come back, int32.
      steps: at which to come back at the latest, int32, at most c.
      limit: tokens at which a program ends, int32.
    """

    keys: Key[Array, "p n"]
    temperature: Float[Array, "p n"]
    forced: Int[Array, "p n c"]
    waiting: Int[Array, " p"]
    enough: Int[Array, ""]
    steps: Int[Array, ""]
    limit: Int[Array, ""]


class Stretch(NamedTuple):
    """What a stretch wrote.

    Attributes:
      steps: run, int32.
      slots: where every slot is now.
      tokens: int32 [p, n, c]; a slot's first (new - old position) are its own, the rest means nothing.
      logprobs: log p of each token under the unfiltered model at temperature 1, float32 [p, n, c].
    """

    steps: Int[Array, ""]
    slots: Slots
    tokens: Int[Array, "p n c"]
    logprobs: Float[Array, "p n c"]


def row_keys(seed: Key[Array, ""], problem: UInt[Array, " p"], sample: UInt[Array, "p n"]) -> Key[Array, "p n"]:
    """One random key a program, from seed, problem and sample index and nothing else.

    Args:
      seed: the run's key.
      problem: a number for each problem that depends on its id alone, uint32 [p].
      sample: index of each sample among its problem's, uint32 [p, n].
    """

    def one(problem_number, sample_index):
        return jax.random.fold_in(jax.random.fold_in(seed, problem_number), sample_index)

    return jax.vmap(jax.vmap(one, in_axes=(None, 0)))(problem, sample)


def free_slots(done: Bool[Anything, "p n"], waiting: Int[Anything, " p"]) -> Any:
    """How many slots could start a waiting program; of arrays on the host or on the device."""
    ended = done.sum(axis=1)
    whole = done.shape[1] * (ended == done.shape[1])
    return (ended * (waiting == OWN) + whole * (waiting == NEXT)).sum()


def decode(step: Step, cache: Any, slots: Slots, work: Work, *, top_k: int, top_p: float, end_id: int) -> tuple[Stretch, Any]:
    """Write token by token in every slot that is not done, until enough of them are or the steps are up.

    Args:
      step: the model, see `Step`.
      cache: its state before the stretch.
      slots: where they are.
      work: what they do.
      top_k: see `draw`.
      top_p: see `draw`.
      end_id: ends a program; it is written and counted.

    Returns:
      What was written, and the cache after it.
    """

    def unfinished(state: tuple[Stretch, Any]) -> Bool[Array, ""]:
        done = state[0].slots.done
        return (state[0].steps < work.steps) & ~jnp.all(done) & (free_slots(done, work.waiting) < work.enough)

    def write_one(state: tuple[Stretch, Any]) -> tuple[Stretch, Any]:
        (at, (last, position, done), tokens, logprobs), cache = state
        logits, cache = step(last, jnp.where(done, 0, position), cache)  # at 0 there is nothing to read
        keys = jax.vmap(jax.vmap(jax.random.fold_in))(work.keys, position)
        token = draw(logits, jnp.where(done, 0.0, work.temperature), keys, top_k, top_p)
        forced = jax.lax.dynamic_index_in_dim(work.forced, at, axis=2, keepdims=False)
        token = jnp.where(forced >= 0, forced, token)
        after = Slots(
            last=jnp.where(done, last, token),
            position=jnp.where(done, position, position + 1),
            done=done | (token == end_id) | (position + 1 >= work.limit),
        )
        write = jax.lax.dynamic_update_index_in_dim
        written = write(tokens, token, at, axis=2), write(logprobs, token_logprobs(logits, token), at, axis=2)
        return Stretch(at + 1, after, *written), cache

    nothing = jnp.zeros(work.forced.shape, jnp.int32), jnp.zeros(work.forced.shape, jnp.float32)
    return jax.lax.while_loop(unfinished, write_one, (Stretch(jnp.int32(0), slots, *nothing), cache))
