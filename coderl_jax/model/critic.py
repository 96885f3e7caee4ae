"""The critic: a T5 that reads problem and program, and a head that predicts the program's outcome at every token.

CodeRL section 3.3.2: Linear(d, 128) - ReLU - Linear(128, 4) on the decoder's states, after they are scaled as for the
output projection. Max-pooling over time, softmax and the loss are in `coderl_jax.objectives`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key
from numpy.typing import DTypeLike

from coderl_jax.config import ModelShape
from coderl_jax.model.layers import normal, without_mesh
from coderl_jax.model.t5 import T5, teacher_forced

HEAD_WIDTH = 128
OUTCOMES = 4  # a binary critic has the same head and uses classes 0 and 1


class Head(nnx.Module):
    """Class logits of decoder states, float32."""

    def __init__(self, d_model: int, rngs: nnx.Rngs):
        self.hidden = normal(rngs, (d_model, HEAD_WIDTH), d_model**-0.5, ("embed", "head"))
        self.hidden_bias = normal(rngs, (HEAD_WIDTH,), 0.0, ("head",))
        self.classes = normal(rngs, (HEAD_WIDTH, OUTCOMES), HEAD_WIDTH**-0.5, ("head", "classes"))
        self.classes_bias = normal(rngs, (OUTCOMES,), 0.0, ("classes",))

    def __call__(self, states: Float[Array, "*a d"]) -> Float[Array, "*a 4"]:
        """Class logits, not normalised."""
        inner = jax.nn.relu(states.astype(jnp.float32) @ self.hidden[...] + self.hidden_bias[...])
        return inner @ self.classes[...] + self.classes_bias[...]


class Critic(nnx.Module):
    """A T5 with a fresh outcome head."""

    def __init__(self, body: T5, *, rngs: nnx.Rngs):
        self.body = body
        self.head = Head(body.shape.d_model, rngs)


def critic_logits(
    graphdef: Any,
    params: Any,
    source: Int[Array, "b s"],
    source_mask: Bool[Array, "b s"],
    target: Int[Array, "b t"],
    *,
    dropout: float = 0.0,
    key: Key[Array, ""] | None = None,
) -> Float[Array, "b t 4"]:
    """Outcome logits at every program token, float32; those at t have not seen token t (CodeRL section 3.3.2).

    Args:
      graphdef: from `nnx.split` of a `Critic`.
      params: its parameters.
      source: the problem's token ids.
      source_mask: False at padding.
      target: the program's token ids, not shifted; padding stands at the end.
      dropout: rate, applied when `key` is given.
      key: seeds dropout.
    """
    model = nnx.merge(graphdef, params)
    states = teacher_forced(model.body, source, source_mask, target, dropout, key)
    return model.head(model.body.scaled(states))


def critic_from_actor(shape: ModelShape, params: Any, key: Key[Array, ""], dtype: DTypeLike = jnp.float32) -> tuple[Any, Any]:
    """(graphdef, params) of a critic whose body is the actor and whose head is fresh.

    Args:
      shape: the actor's.
      params: its parameters; the critic shares them.
      key: seeds the head.
      dtype: what the critic computes in.
    """
    with without_mesh():
        graphdef = nnx.graphdef(nnx.eval_shape(lambda: T5(shape, rngs=nnx.Rngs(0), dtype=dtype)))
        return nnx.split(Critic(nnx.merge(graphdef, params), rngs=nnx.Rngs(key)))
