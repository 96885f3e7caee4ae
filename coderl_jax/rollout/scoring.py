"""Critic scores: logits for every token of a program, in jitted batches of few shapes."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from coderl_jax.config import Lengths
from coderl_jax.data.batches import pad_to, upstream_padding
from coderl_jax.model.critic import critic_logits
from coderl_jax.model.mesh import fetch, spread
from coderl_jax.rollout.engine import padded_length
from coderl_jax.rollout.models import TextModel

_logits = jax.jit(critic_logits, static_argnums=0)


class Scorer:
    """Scores programs with a critic."""

    def __init__(self, critic: TextModel, batch_size: int, lengths: Lengths):
        self.critic = critic
        self.batch_size = batch_size
        self.lengths = lengths

    def logits(
        self, prompts: Sequence[Sequence[int]], programs: Sequence[Sequence[int]], params: Any = None
    ) -> list[Float[np.ndarray, "t k"]]:
        """Class logits at every token, float32 [t, k] a program; k is the critic's number of classes.

        Logits at token t have seen the tokens before it, not token t itself. In upstream parity t is always `max_new_tokens`:
        behind a program stand the logits at padding, which the released critic pools too.

        Args:
          prompts: token ids of each problem.
          programs: token ids of each program.
          params: in place of the critic's own, while it is being trained.
        """
        params = self.critic.params if params is None else params
        order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]) + len(programs[i]), i))
        result: list[Any] = [None] * len(prompts)
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            filled = chosen + [chosen[-1]] * (self.batch_size - len(chosen))
            source, source_mask = pad_to([prompts[i] for i in filled], padded_length(max(len(prompts[i]) for i in chosen)))
            target, _ = pad_to([programs[i] for i in filled], padded_length(max(len(programs[i]) for i in chosen)))
            kept = {i: len(programs[i]) for i in chosen}
            if self.lengths.parity == "upstream":
                source, target = upstream_padding(source, source_mask, target, self.lengths)
                source_mask, kept = np.ones(source.shape, bool), dict.fromkeys(chosen, target.shape[1])
            logits = fetch(_logits(self.critic.graphdef, params, *spread((source, source_mask, target)))).astype(np.float32)
            for row, i in enumerate(chosen):
                result[i] = logits[row, : kept[i], : self.critic.classes]
        return result


def softmax(logits: Float[np.ndarray, "*r k"]) -> Float[np.ndarray, "*r k"]:
    """Class probabilities."""
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def outcome_probabilities(logits: Float[np.ndarray, "t k"]) -> Float[np.ndarray, " k"]:
    """p(outcome | program, problem): softmax of the largest logits over the tokens (CodeRL section 3.3.2)."""
    return softmax(logits.max(axis=0))
