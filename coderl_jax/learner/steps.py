"""The losses of the stages: model and objective joined. Each maker fixes the model's structure and returns a `Loss`.

Asked again for the same they return the same function, so that one process traces and compiles it once.
"""

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from coderl_jax.config import Lengths, RLTerms
from coderl_jax.data.batches import Batch, of_length, upstream_padding
from coderl_jax.learner.state import Loss
from coderl_jax.model.critic import critic_logits
from coderl_jax.model.tokens import read_tokens
from coderl_jax.objectives import losses, ppo
from coderl_jax.objectives.returns import token_values
from coderl_jax.objectives.signals import Signals
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

    def amount(self) -> Array:
        """Tokens that a mean over the batch is over."""
        return jnp.sum(self.target_mask)

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
      weight: what each program counts for, float32 [b], or None: all the same.
    """

    text: TextBatch
    outcome: Array
    weight: Array | None = None

    def amount(self) -> int:
        """Programs that a mean over the batch is over."""
        return len(self.outcome)


class RLBatch(NamedTuple):
    """Sampled programs that one RL update reads; those of zero advantage may have been left out.

    Attributes:
      text: problems and programs; a row whose target mask is False throughout counts for nothing.
      outcome: class of each program, int32 [b].
      tokens: program tokens that this batch stands for, those left out included, float32 scalar.
      programs: programs likewise, float32 scalar.
      present: tokens of the batch itself, float32 scalar.
      advantage: of each token, float32 [b, t].
      reference: log-probabilities under the policy that the run began with, float32 [b, t], or None.
      weight: of each token's log-probability in the objective, float32 [b, t], or None: 1.
      parts: what the objective needs besides, by the names of `objectives.signals.Signals`.
    """

    text: TextBatch
    outcome: Array
    tokens: Array
    programs: Array
    present: Array
    advantage: Array
    reference: Array | None
    weight: Array | None
    parts: dict[str, Array]

    def amount(self) -> int:
        """1: the counts, shared among parts, say what a mean is over."""
        return 1

    @classmethod
    def of(cls, rollout: Rollout, tokens: float, programs: float, lengths: Lengths) -> "RLBatch":
        """The batch of a part of a round, its texts padded as `lengths.parity` says."""
        text = TextBatch.of(rollout, lengths)
        width = text.target.shape[1]
        advantage = rollout.token_advantage
        if advantage is None:
            advantage = np.broadcast_to(rollout.advantage[:, None], rollout.target.shape).copy()
        optional = {name: getattr(rollout, name, None) for name in Signals._field_defaults}
        parts = {name: part if part.ndim == 1 else of_length(part, width) for name, part in optional.items() if part is not None}
        if "executed" in parts:
            parts["ran"] = np.float32(max((parts["executed"] & text.target_mask).sum(), 1))
        reference, weight = (None if part is None else of_length(part, width) for part in (rollout.reference, rollout.weight))
        counts = np.float32(tokens), np.float32(programs), np.float32(max(text.target_mask.sum(), 1))
        return cls(text, rollout.outcome, *counts, of_length(advantage.astype(np.float32), width), reference, weight, parts)


class ValueBatch(NamedTuple):
    """What one update of a value model reads.

    Attributes:
      text: problems and programs.
      value: its estimate at each token when the program was written, float32 [b, t].
      value_target: what it should have been, float32 [b, t].
    """

    text: TextBatch
    value: Array
    value_target: Array

    def amount(self) -> Array:
        """Tokens that a mean over the batch is over."""
        return self.text.amount()


def _logprobs(target: Array, logits: Array) -> Array:
    return losses.token_logprobs(logits, target)


@functools.cache
def supervised_loss(graphdef: Any, dropout: float) -> Loss:
    """Cross-entropy on reference programs (CodeRL Eq. 1)."""

    def loss(params: Any, batch: TextBatch, key: Key[Array, ""]):
        logprobs = read_tokens(_logprobs, graphdef, [params], *batch[:3], dropout=dropout, key=key)
        return losses.cross_entropy(logprobs, batch.target_mask), {}

    return loss


@functools.cache
def critic_loss(graphdef: Any, dropout: float, classes: int) -> Loss:
    """Outcome prediction (CodeRL Eq. 9); a binary critic uses the first two classes of the four-way head."""

    def loss(params: Any, batch: CriticBatch, key: Key[Array, ""]):
        text = batch.text
        logits = critic_logits(graphdef, params, text.source, text.source_mask, text.target, dropout=dropout, key=key)
        value, right = losses.critic_loss(logits[..., :classes], batch.outcome, text.target_mask, batch.weight)
        return value, {"accuracy": jnp.mean(right)}

    return loss


@functools.cache
def rl_loss(actor: Any, critic: Any | None, objective: ModuleType, settings: RLTerms) -> Loss:
    """An objective of RL, and the terms that suit all of them.

    L = L_objective + kl_weight KL(p || p_ref) - entropy_weight H(p)

    No dropout: the gradient is taken of the policy that was sampled.

    Args:
      actor: the actor's graphdef.
      critic: the critic's graphdef, or None: every token value is 1. With one the loss takes its parameters as a fourth argument.
      objective: a module of `objectives`.
      settings: weights of the terms, and the objective's own numbers.
    """

    def read(target: Array, logits: Array) -> tuple[Array, Array | None]:
        return losses.token_logprobs(logits, target), losses.token_entropy(logits) if settings.entropy_weight else None

    def loss(params: Any, batch: RLBatch, key: Key[Array, ""], critic_params: Any = None):
        text, mask = batch.text, batch.text.target_mask
        values = batch.parts.get("critic", jnp.ones(mask.shape, jnp.float32))
        if critic is not None:
            values = token_values(critic_logits(critic, critic_params, text.source, text.source_mask, text.target), batch.outcome)
        logprobs, entropy = read_tokens(read, actor, [params], *text[:3])
        parts = batch.parts | {"critic": jax.lax.stop_gradient(values)}
        weighted = logprobs if batch.weight is None else batch.weight * logprobs
        signals = Signals(weighted, mask, batch.tokens, batch.programs, batch.present, batch.advantage, **parts)
        value = objective.loss(signals, settings)
        share = jnp.sum(mask) / batch.present  # of a part of the batch
        if settings.kl_weight:
            value += settings.kl_weight * share * losses.sampled_kl(logprobs, batch.reference, mask)
        if settings.entropy_weight:
            value -= settings.entropy_weight * share * losses.masked_mean(entropy, mask)
        return value, {}

    return loss


@functools.cache
def value_loss(graphdef: Any, clip: float) -> Loss:
    """The value model's loss (PPO)."""

    def loss(params: Any, batch: ValueBatch, key: Key[Array, ""]):
        text = batch.text
        found = value_estimates(graphdef, params, text)
        return ppo.value_loss(found, batch.value, batch.value_target, text.target_mask, clip), {}

    return loss


@functools.partial(jax.jit, static_argnums=0)
def value_estimates(graphdef: Any, params: Any, text: TextBatch) -> Float[Array, "b t"]:
    """A value model's estimate at each token, before it is written: the first output of a critic's head, float32 [b, t]."""
    return critic_logits(graphdef, params, text.source, text.source_mask, text.target)[..., 0].astype(jnp.float32)


@functools.cache
def make_logprobs(graphdef: Any) -> Callable[[Any, TextBatch], Float[Array, "b t"]]:
    """A jitted (params, programs) -> log-probability of every token, float32 [b, t]."""

    @jax.jit
    def logprobs(params: Any, text: TextBatch) -> Array:
        return read_tokens(_logprobs, graphdef, [params], *text[:3])

    return logprobs


@functools.cache
def make_drift(graphdef: Any) -> Callable[[Any, Any, TextBatch], dict[str, Array]]:
    """A jitted measure of how far a policy has moved: (params, reference params, programs) -> KL to the reference, entropy."""

    def read(target: Array, now: Array, then: Array) -> dict[str, Array]:
        return {"kl": losses.token_kl(now, then), "entropy": losses.token_entropy(now)}

    @jax.jit
    def drift(params: Any, reference: Any, text: TextBatch) -> dict[str, Array]:
        found = read_tokens(read, graphdef, [params, reference], *text[:3])
        return {name: losses.masked_mean(values, text.target_mask) for name, values in found.items()}

    return drift
