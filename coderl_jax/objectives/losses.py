"""Losses and the quantities logged beside them. Sums run over True positions of `mask` only."""

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Int

from coderl_jax.types import KEPT


def masked_mean(values: Float[Array, "b t"], mask: Bool[Array, "b t"]) -> Float[Array, ""]:
    """Mean over True positions; 0 where there are none."""
    return jnp.sum(jnp.where(mask, values, 0.0)) / jnp.maximum(jnp.sum(mask), 1)


@jax.custom_vjp
def token_logprobs(logits: Float[Array, "b t v"], target: Int[Array, "b t"]) -> Float[Array, "b t"]:
    """log p(w_t | w_<t, D), natural logarithm, float32 [b, t]."""
    return _logprobs_forward(logits, target)[0]


def _logprobs_forward(logits: Array, target: Array) -> tuple[Array, tuple[Array, ...]]:
    wide = logits.astype(jnp.float32)
    # The largest is taken off first: a confident token's tiny loss would drown in the rounding of two large numbers.
    largest = jnp.max(wide, axis=-1, keepdims=True)
    chosen = jnp.take_along_axis(logits, target[..., None], axis=-1).astype(jnp.float32) - largest
    total = jnp.log(jnp.sum(jnp.exp(wide - largest), axis=-1, keepdims=True))
    return (chosen - total)[..., 0], (logits, target, checkpoint_name(largest, KEPT), checkpoint_name(total, KEPT))


def _logprobs_backward(kept: tuple[Array, ...], slope: Array) -> tuple[Array, None]:
    """d log p_w / d logits = (1 at w) - p: compared, where the derivative of looking up would scatter into zeros."""
    logits, target, largest, total = kept
    p = jnp.exp(logits.astype(jnp.float32) - largest - total)
    at_target = jnp.arange(logits.shape[-1], dtype=target.dtype) == target[..., None]
    return (slope[..., None] * (at_target - p)).astype(logits.dtype), None


token_logprobs.defvjp(_logprobs_forward, _logprobs_backward)


def cross_entropy(logprobs: Float[Array, "b t"], mask: Bool[Array, "b t"]) -> Float[Array, ""]:
    """Negative log-likelihood of reference programs, nats a token.

    L_ce = - sum_t log p(w_t | w_<t, D)            CodeRL Eq. 1, divided by the batch's tokens

    Args:
      logprobs: from `token_logprobs`, float32 [b, t].
      mask: True at program tokens and the end token, bool [b, t].
    """
    return -masked_mean(logprobs, mask)


def pooled_logits(critic_logits: Float[Array, "b t k"], mask: Bool[Array, "b t"]) -> Float[Array, "b k"]:
    """A program's class logits: the largest over its tokens (CodeRL section 3.3.2)."""
    return jnp.max(jnp.where(mask[..., None], critic_logits.astype(jnp.float32), -jnp.inf), axis=1)


def critic_loss(
    critic_logits: Float[Array, "b t k"], outcome: Int[Array, " b"], mask: Bool[Array, "b t"], weight: Float[Array, " b"] | None = None
) -> tuple[Float[Array, ""], Float[Array, " b"]]:
    """Cross-entropy of the true outcome, and whether each prediction is right.

    L_critic = - log softmax(max_t logits_t)[u]    CodeRL Eq. 9

    Args:
      critic_logits: float [b, t, k].
      outcome: class of each program, int32 [b], below k.
      mask: True at program tokens, bool [b, t]; at least one in every row.
      weight: what each program counts for, float32 [b], 1 in the mean over the data; None: all the same.

    Returns:
      The mean loss in nats, and 1.0 where the largest class is the true one, float32 [b].
    """
    logits = pooled_logits(critic_logits, mask)
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits, axis=-1), outcome[:, None], axis=-1)[:, 0]
    return -jnp.mean(chosen if weight is None else weight * chosen), (jnp.argmax(logits, axis=-1) == outcome).astype(jnp.float32)


def token_entropy(logits: Float[Array, "b t v"]) -> Float[Array, "b t"]:
    """Entropy of each next-token distribution, nats, float32."""
    logp = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
    return -jnp.sum(jnp.exp(logp) * logp, axis=-1)


def token_kl(logits: Float[Array, "b t v"], reference: Float[Array, "b t v"]) -> Float[Array, "b t"]:
    """KL(p || reference) of each next-token distribution, nats, float32; 0 where they agree."""
    logp = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
    logq = jax.nn.log_softmax(reference.astype(jnp.float32), axis=-1)
    return jnp.sum(jnp.exp(logp) * (logp - logq), axis=-1)


def sampled_kl(logprobs: Float[Array, "b t"], reference: Float[Array, "b t"], mask: Bool[Array, "b t"]) -> Float[Array, ""]:
    """KL(p || reference) estimated from the sampled tokens alone, nats a token: unbiased, and never negative.

    mean_t exp(l_ref - l) - (l_ref - l) - 1        Schulman 2020, k3; GRPO (Shao et al. 2024), Eq. 4

    Args:
      logprobs: l, of tokens that p sampled, float32 [b, t].
      reference: l_ref, no gradient.
      mask: True at sampled tokens.
    """
    apart = jnp.where(mask, reference - logprobs, 0.0)
    return masked_mean(jnp.exp(apart) - apart - 1, mask)
