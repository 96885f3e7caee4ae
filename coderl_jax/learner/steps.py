"""The losses of the stages: model and objective joined. Each maker fixes the model's structure and returns a `Loss`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from coderl_jax.config import Lengths
from coderl_jax.data.batches import Batch, of_length, upstream_padding
from coderl_jax.learner.state import Loss
from coderl_jax.model.critic import critic_logits
from coderl_jax.model.t5 import sequence_logits
from coderl_jax.objectives import losses
from coderl_jax.objectives.returns import token_returns
from coderl_jax.types import Rollout


class TextBatch(NamedTuple):
    """Prompts and programs; the arrays of `data.batches.Batch`.

    Attributes:
      source: int32 [b, s].
      source_mask: bool [b, s].
      target: int32 [b, t].
      target_mask: bool [b, t].
    """

    source: Array
    source_mask: Array
    target: Array
    target_mask: Array

    @classmethod
    def of(cls, rows: Batch | Rollout, lengths: Lengths) -> "TextBatch":
        """The texts of a batch or a rollout, padded as `lengths.parity` says."""
        if lengths.parity == "paper":
            return cls(rows.source, rows.source_mask, rows.target, rows.target_mask)
        source, target = upstream_padding(rows.source, rows.source_mask, rows.target, lengths)
        return cls(source, np.ones(source.shape, bool), target, of_length(rows.target_mask, lengths.max_new_tokens))

    def pooled_everywhere(self) -> "TextBatch":
        """The same with padding of programs unmasked: the released critic pools over it."""
        return self._replace(target_mask=np.ones(self.target_mask.shape, bool))


class CriticBatch(NamedTuple):
    """Programs and their outcomes.

    Attributes:
      text: problems and programs.
      outcome: class of each program, int32 [b].
    """

    text: TextBatch
    outcome: Array


class RLBatch(NamedTuple):
    """Sampled programs that one RL update reads; those of zero return may have been left out.

    Attributes:
      text: problems and programs; a row whose target mask is False throughout counts for nothing.
      outcome: class of each program, int32 [b].
      baseline_outcome: class of the greedy program of its problem, int32 [b].
      tokens: program tokens that this batch stands for, those left out included, float32 scalar.
    """

    text: TextBatch
    outcome: Array
    baseline_outcome: Array
    tokens: Array


def supervised_loss(graphdef: Any, dropout: float) -> Loss:
    """Cross-entropy on reference programs (CodeRL Eq. 1)."""

    def loss(params: Any, batch: TextBatch, key: Key[Array, ""]):
        logits = sequence_logits(graphdef, params, batch.source, batch.source_mask, batch.target, dropout=dropout, key=key)
        return losses.cross_entropy(logits, batch.target, batch.target_mask), {}

    return loss


def critic_loss(graphdef: Any, dropout: float, classes: int) -> Loss:
    """Outcome prediction (CodeRL Eq. 9); a binary critic uses the first two classes of the four-way head."""

    def loss(params: Any, batch: CriticBatch, key: Key[Array, ""]):
        text = batch.text
        logits = critic_logits(graphdef, params, text.source, text.source_mask, text.target, dropout=dropout, key=key)
        value, right = losses.critic_loss(logits[..., :classes], batch.outcome, text.target_mask)
        return value, {"accuracy": jnp.mean(right)}

    return loss


def rl_loss(actor: Any, critic: Any | None, critic_params: Any, *, baseline: bool, negative_weight: float) -> Loss:
    """The policy gradient with the critic's token values (CodeRL Eq. 8 and 10).

    No dropout: the gradient is taken of the policy that was sampled.

    Args:
      actor: the actor's graphdef.
      critic: the critic's graphdef, or None: every token value is 1.
      critic_params: its parameters; they get no gradient.
      baseline: subtract the greedy program's reward.
      negative_weight: weight of negative returns.
    """

    def loss(params: Any, batch: RLBatch, key: Key[Array, ""]):
        text = batch.text
        values = None if critic is None else critic_logits(critic, critic_params, text.source, text.source_mask, text.target)
        returns = token_returns(batch.outcome, batch.baseline_outcome if baseline else None, values, text.target_mask)
        logits = sequence_logits(actor, params, text.source, text.source_mask, text.target)
        logprobs = losses.token_logprobs(logits, text.target)
        return losses.policy_gradient(logprobs, returns, text.target_mask, negative_weight, batch.tokens), {}

    return loss


def make_drift(graphdef: Any) -> Callable[[Any, Any, TextBatch], dict[str, Array]]:
    """A jitted measure of how far a policy has moved: (params, reference params, programs) -> KL to the reference, entropy."""

    @jax.jit
    def drift(params: Any, reference: Any, text: TextBatch) -> dict[str, Array]:
        now, then = (sequence_logits(graphdef, p, text.source, text.source_mask, text.target) for p in (params, reference))
        return {"kl": losses.kl_divergence(now, then, text.target_mask), "entropy": losses.entropy(now, text.target_mask)}

    return drift
