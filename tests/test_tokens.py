"""What losses read of logits made a few positions at a time, against the logits of all positions at once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from coderl_jax.config import ModelShape, RLTerms
from coderl_jax.learner import steps
from coderl_jax.learner.steps import RLBatch, TextBatch
from coderl_jax.model import tokens
from coderl_jax.model.mesh import init_params, make_mesh
from coderl_jax.model.t5 import project, sequence_logits
from coderl_jax.objectives import coderl, losses

TIED = ModelShape(vocab_size=41, d_model=16, d_kv=8, d_ff=32, heads=2, encoder_layers=1, decoder_layers=2)
UNTIED = ModelShape(vocab_size=37, d_model=16, d_kv=8, d_ff=20, heads=2, encoder_layers=1, decoder_layers=1, gated=True, tied=False)
B, S, T = 3, 7, 11


def text(shape: ModelShape) -> TextBatch:
    rng = np.random.default_rng(1)
    source, target = (jnp.asarray(rng.integers(3, shape.vocab_size, (B, n)).astype(np.int32)) for n in (S, T))
    lengths = np.array([[T], [T // 2], [1]])
    return TextBatch(source, jnp.ones((B, S), bool), target, jnp.asarray(np.arange(T) < lengths))


@functools.cache
def made(shape: ModelShape):
    (graphdef, params), (_, other) = (init_params(shape, jax.random.key(seed), make_mesh(), kind="actor") for seed in (0, 1))
    return graphdef, params, other


def plain(graphdef, params, batch, **dropout):
    """(log-probabilities, entropies, log-softmax) with the logits of all tokens in memory, by autodiff alone."""
    logp = jax.nn.log_softmax(sequence_logits(graphdef, params, *batch[:3], **dropout))
    return jnp.take_along_axis(logp, batch.target[..., None], -1)[..., 0], -jnp.sum(jnp.exp(logp) * logp, -1), logp


def mean(values, batch):
    return jnp.sum(jnp.where(batch.target_mask, values, 0)) / jnp.sum(batch.target_mask)


def assert_close(ours, theirs):
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5 * float(jnp.max(jnp.abs(other))))


def small_chunks(monkeypatch, positions: int, shape: ModelShape) -> None:
    monkeypatch.setattr(tokens, "AT_ONCE", positions * B * shape.vocab_size)
    for maker in (steps.make_logprobs, steps.make_drift):
        maker.cache_clear()  # what was traced before has other chunks
    assert tokens.chunks_of(B, T, shape.vocab_size) == -(-T // positions)


@pytest.mark.parametrize(("shape", "positions"), [(TIED, 1), (TIED, T), (UNTIED, 4)], ids=["tied-1", "tied-all", "untied-4"])
def test_cross_entropy_a_few_positions_at_a_time_is_that_of_all_gradients_and_dropout_too(monkeypatch, shape, positions):
    graphdef, params, _ = made(shape)
    batch, key = text(shape), jax.random.key(3)
    small_chunks(monkeypatch, positions, shape)
    expected = jax.jit(jax.value_and_grad(lambda p: -mean(plain(graphdef, p, batch, dropout=0.2, key=key)[0], batch)))(params)
    found = jax.jit(jax.value_and_grad(lambda p: steps.supervised_loss(graphdef, 0.2)(p, batch, key)[0]))(params)
    assert_close(found, expected)


def test_the_backward_pass_makes_logits_again_but_not_what_sums_them_up(monkeypatch):
    graphdef, params, _ = made(TIED)
    batch = text(TIED)

    def maxima():
        gradient = jax.grad(lambda p: steps.supervised_loss(graphdef, 0.0)(p, batch, jax.random.key(0))[0])
        return str(jax.make_jaxpr(gradient)(params)).count("reduce_max")

    at_once = maxima()
    small_chunks(monkeypatch, 2, TIED)
    assert maxima() == at_once


@pytest.mark.parametrize("positions", [2, T])
def test_the_entropy_bonus_of_rl_has_the_same_gradient_in_chunks(monkeypatch, positions):
    graphdef, params, _ = made(TIED)
    batch = text(TIED)
    small_chunks(monkeypatch, positions, TIED)
    count = jnp.float32(batch.target_mask.sum())
    advantage = jnp.asarray(np.random.default_rng(2).normal(size=(B, T)).astype(np.float32))
    rl = RLBatch(batch, jnp.zeros(B, jnp.int32), count, jnp.float32(B), count, advantage, None, None, {})
    loss = steps.rl_loss(graphdef, None, coderl, RLTerms(entropy_weight=0.7))

    def by_hand(params):
        logprobs, entropy, _ = plain(graphdef, params, batch)
        return -mean(advantage * logprobs, batch) - 0.7 * mean(entropy, batch)

    assert_close(
        jax.jit(jax.value_and_grad(lambda p: loss(p, rl, jax.random.key(0))[0]))(params), jax.jit(jax.value_and_grad(by_hand))(params)
    )


@pytest.mark.parametrize("positions", [2, T])
def test_logprobs_and_drift_in_chunks_are_those_of_whole_logits(monkeypatch, positions):
    graphdef, params, other = made(TIED)
    batch = text(TIED)
    small_chunks(monkeypatch, positions, TIED)
    logprobs, entropy, logp = plain(graphdef, params, batch)
    _, _, logq = plain(graphdef, other, batch)
    assert_close(steps.make_logprobs(graphdef)(params, batch), logprobs)
    found = steps.make_drift(graphdef)(params, other, batch)
    kl = jnp.sum(jnp.exp(logp) * (logp - logq), -1)
    assert_close(found, {"entropy": mean(entropy, batch), "kl": mean(kl, batch)})


def test_no_array_of_a_large_batch_holds_the_logits_of_all_tokens():
    shape = ModelShape(vocab_size=32100, d_model=8, d_kv=4, d_ff=8, heads=2, encoder_layers=1, decoder_layers=1)
    graphdef, params = init_params(shape, jax.random.key(0), make_mesh(), kind="actor")
    b, t = 64, 512
    ids, mask = (lambda n: jax.ShapeDtypeStruct((b, n), jnp.int32)), (lambda n: jax.ShapeDtypeStruct((b, n), bool))
    batch = TextBatch(ids(8), mask(8), ids(t), mask(t))
    text_ = jax.jit(jax.grad(lambda p, b: steps.supervised_loss(graphdef, 0.0)(p, b, jax.random.key(0))[0])).lower(params, batch).as_text()
    assert f"x32100x{shape.d_model}" in text_.replace("tensor<", "x")
    assert f"{b}x{t}x32100" not in text_
    assert f"{b}x32x32100" in text_


def test_log_probabilities_have_the_derivative_that_autodiff_finds():
    rng = np.random.default_rng(0)
    logits, target, weight = (
        jnp.asarray(rng.normal(size=(2, 3, 9)), jnp.float32),
        jnp.asarray([[0, 8, 3]] * 2),
        jnp.arange(6.0).reshape(2, 3),
    )

    def found(x):
        return jnp.sum(weight * losses.token_logprobs(x, target))

    def expected(x):
        return jnp.sum(weight * jnp.take_along_axis(jax.nn.log_softmax(x), target[..., None], -1)[..., 0])

    assert_close(jax.value_and_grad(found)(logits), jax.value_and_grad(expected)(logits))


def test_the_tables_gradient_is_not_rounded_to_the_type_of_the_states():
    rng = np.random.default_rng(0)
    states, table = jnp.asarray(rng.normal(size=(64, 8)), jnp.bfloat16), jnp.asarray(rng.normal(size=(5, 8)), jnp.float32)
    slope = jnp.asarray(rng.normal(size=(64, 5)), jnp.bfloat16).astype(jnp.float32)
    _, back = jax.vjp(project, states, table, table.astype(states.dtype))
    of_states, of_table, _ = back(slope)
    assert (of_states.dtype, of_table.dtype) == (jnp.bfloat16, jnp.float32)
    np.testing.assert_allclose(of_table, slope.T @ states.astype(jnp.float32), rtol=1e-5, atol=1e-5)
