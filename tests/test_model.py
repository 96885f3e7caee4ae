"""The T5 and the critic on small random weights: what may see what, and cached decoding against decoding at once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from coderl_jax.config import ModelShape
from coderl_jax.model import layers, t5
from coderl_jax.model.critic import Critic, critic_from_actor, critic_logits
from coderl_jax.model.decoding import attend, decode_step, empty_cache, ready, source_cache
from coderl_jax.model.mesh import abstract_params
from coderl_jax.model.quantized import Quantized, quantized
from coderl_jax.model.slopes import Dropout
from coderl_jax.model.t5 import T5, sequence_logits, shift_right

# Longer sequences than `relative_max_distance`, so that far buckets are used too.
TIED = ModelShape(
    vocab_size=41, d_model=24, d_kv=6, d_ff=32, heads=4, encoder_layers=2, decoder_layers=3, relative_buckets=8, relative_max_distance=12
)
UNTIED = ModelShape(vocab_size=41, d_model=16, d_kv=8, d_ff=20, heads=2, encoder_layers=1, decoder_layers=2, gated=True, tied=False)

logits_of = jax.jit(sequence_logits, static_argnums=0, static_argnames="dropout")
critic_logits_of = jax.jit(critic_logits, static_argnums=0)


@functools.cache
def new_model(shape, kind="actor", dtype=jnp.float32):
    """(graphdef, params) with norms and relative biases that differ from layer to layer; numpy's numbers compile nothing."""
    graphdef, abstract = abstract_params(shape, kind, dtype)
    rng = np.random.default_rng(7)

    def fill(path, leaf):
        centre = 1.0 if path[-1] == "scale" else 0.0
        width = 1.0 if path[-1] in ("embedding", "output", "table") else 0.3
        return leaf.replace(jnp.asarray((centre + width * rng.normal(size=leaf.shape)).astype(np.float32)))

    return graphdef, nnx.map_state(fill, abstract)


def batch(shape, b=3, s=17, t=15):
    rng = np.random.default_rng(1)
    source = rng.integers(3, shape.vocab_size, (b, s)).astype(np.int32)
    mask = np.arange(s) < np.array([[s], [s // 2], [1]])[:b]
    return jnp.asarray(source), jnp.asarray(mask), jnp.asarray(rng.integers(3, shape.vocab_size, (b, t)).astype(np.int32))


@functools.partial(jax.jit, static_argnums=(0, 5, 6))
def cached_logits(graphdef, params, source, mask, read, length, int8=(False, False)):
    """Logits [p n t v] of what the slots read, one position at a time, sample i of a row i steps after the first."""
    weights, kept = int8
    p, n, t = read.shape
    model = nnx.merge(graphdef, params)
    decoder, cross = ready(model, model.shape.vocab_size, weights), source_cache(model, source, mask, kept)

    def step(cache, now):
        position = jnp.broadcast_to(jnp.clip(now - jnp.arange(n), 0, t - 1), (p, n))
        tokens = jnp.take_along_axis(read, position[:, :, None], axis=2)[:, :, 0]
        logits, cache = decode_step(model.shape, decoder, tokens, position, cache, cross, mask)
        return cache, logits

    cache = empty_cache(model.shape, (p, n), length, model.dtype, kept)
    _, logits = jax.lax.scan(step, cache, jnp.arange(t + n - 1))
    return jnp.stack([logits[i : i + t, :, i] for i in range(n)]).transpose(2, 0, 1, 3)[..., : model.shape.vocab_size]


@functools.partial(jax.jit, static_argnums=0)
def states_at_once(graphdef, params, source, mask, read):
    """Decoder states [b t d] of what the rows read, all positions together."""
    model = nnx.merge(graphdef, params)
    return model.decode(read, model.encode(source, mask), mask)


def decoded(shape, *, length=15, int8=(False, False), dtype=jnp.float32, seed=2):
    """(cached, at once): logits [p n t v] of random tokens."""
    graphdef, params = new_model(shape, dtype=dtype)
    source, mask, _ = batch(shape)
    read = jnp.asarray(np.random.default_rng(seed).integers(0, shape.vocab_size, (3, 4, 15)).astype(np.int32))
    logits = jax.jit(nnx.merge(graphdef, params).logits)
    at_once = [logits(states_at_once(graphdef, params, source, mask, read[:, sample])) for sample in range(4)]
    return np.asarray(cached_logits(graphdef, params, source, mask, read, length, int8)), np.stack(at_once, axis=1)


@pytest.mark.parametrize("shape", [TIED, UNTIED], ids=["relu_tied", "gated_untied"])
@pytest.mark.parametrize("length", [15, 32])
def test_cached_decoding_equals_decoding_at_once_at_every_position(shape, length):
    cached, at_once = decoded(shape, length=length)
    assert np.max(np.abs(cached - at_once)) < 1e-5 * np.max(np.abs(at_once))


@pytest.mark.parametrize(("vocabulary", "size"), [(41, 128), (40, 128)])
def test_ids_that_fill_the_vocabulary_up_cannot_be_drawn(vocabulary, size):
    graphdef, params = new_model(TIED)
    decoder = jax.jit(lambda params: ready(nnx.merge(graphdef, params), vocabulary))(params)
    assert decoder.embedding.shape[0] == size
    np.testing.assert_array_equal(np.asarray(decoder.penalty) == 0, np.arange(size) < vocabulary)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-3, 1e3))
def test_bytes_are_within_half_a_254th_of_the_largest(seed, size):
    x = (size * np.random.default_rng(seed).normal(size=(5, 7, 6))).astype(np.float32)
    found = quantized(jnp.asarray(x), (-1,))
    back = np.asarray(found.values, np.float32) * np.asarray(found.scale)[..., None]
    assert np.all(np.abs(back - x) <= np.abs(x).max(axis=-1, keepdims=True) / 254 * 1.001)
    assert np.all(np.asarray(quantized(jnp.zeros((2, 3)), (0,)).values) == 0)


@pytest.mark.parametrize("shape", [TIED, UNTIED], ids=["relu_tied", "gated_untied"])
def test_weights_as_bytes_compute_what_the_numbers_that_they_stand_for_do(shape):
    graphdef, params = new_model(shape)
    source, mask, _ = batch(shape)

    @jax.jit
    def both(params):
        model = nnx.merge(graphdef, params)
        small, cross = ready(model, shape.vocab_size, True), source_cache(model, source, mask)

        def number(each):
            return each.values * each.scale if isinstance(each, Quantized) else each

        plain = jax.tree.map(number, small._replace(output=None), is_leaf=lambda each: isinstance(each, Quantized))
        plain = plain._replace(output=small.output.values * small.output.scale[:, None])
        tokens, position = jnp.array([[3, 4], [5, 6], [7, 8]]), jnp.zeros((3, 2), jnp.int32)
        empty = empty_cache(shape, (3, 2), 4, jnp.float32)
        logits = [decode_step(shape, decoder, tokens, position, empty, cross, mask)[0] for decoder in (small, plain)]
        return [each[..., : shape.vocab_size] for each in logits]

    ours, plain = map(np.asarray, both(params))
    assert np.max(np.abs(ours - plain)) < 1e-5 * np.max(np.abs(plain))


def test_a_cache_of_bytes_is_read_as_the_numbers_that_it_stands_for():
    rng = np.random.default_rng(0)
    queries, keys, values = (jnp.asarray(rng.normal(size=(3, 2, t, 8)).astype(np.float32)) for t in (4, 9, 9))
    small = [quantized(each, (-1,)) for each in (keys, values)]
    plain = [each.values * each.scale[..., None] for each in small]
    bias = jnp.zeros((3, 2, 4, 9))
    np.testing.assert_allclose(attend(queries, *small, bias), attend(queries, *plain, bias), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("int8", [(True, False), (False, True), (True, True)], ids=["weights", "cache", "both"])
def test_bytes_move_logits_by_a_few_hundredths_of_their_spread(int8):
    cached, at_once = decoded(TIED, int8=int8)
    error = np.mean(np.abs(cached - at_once)) / np.std(at_once)
    assert 1e-4 < error < 0.03


def test_a_step_writes_the_position_at_hand_only_and_reads_nothing_behind_it():
    graphdef, params = new_model(TIED)
    source, mask, _ = batch(TIED)
    position = jnp.array([[4, 0], [8, 2], [1, 1]], jnp.int32)

    @jax.jit
    def one_step(params, before):
        model = nnx.merge(graphdef, params)
        decoder, cross = ready(model, TIED.vocab_size), source_cache(model, source, mask)
        return decode_step(TIED, decoder, jnp.ones((3, 2), jnp.int32), position, before, cross, mask)

    empty = empty_cache(TIED, (3, 2), 9, jnp.float32)
    behind = (jnp.arange(9) > position[:, :, None])[:, :, None, :, None]
    logits, after = one_step(params, empty)
    for layer in (*after.keys, *after.values):
        np.testing.assert_array_equal(np.any(np.asarray(layer) != 0, axis=(2, 4)), np.arange(9) == position[:, :, None])
    stale = jax.tree.map(lambda each: jnp.where(behind, 7.0, each), empty)
    np.testing.assert_array_equal(one_step(params, stale)[0], logits)


def test_target_token_changes_only_later_logits():
    graphdef, params = new_model(TIED)
    source, mask, target = batch(TIED)
    changed = target.at[:, 6].set(target[:, 6] % 30 + 4)
    before, after = (logits_of(graphdef, params, source, mask, each) for each in (target, changed))
    np.testing.assert_array_equal(before[:, :7], after[:, :7])
    assert np.all(np.any(np.asarray(before[:, 7:] != after[:, 7:]), axis=-1))


def test_critic_at_a_token_has_not_seen_the_token():
    graphdef, params = new_model(TIED, "critic")
    source, mask, target = batch(TIED)
    changed = target.at[:, 6].set(target[:, 6] % 30 + 4)
    before, after = (critic_logits_of(graphdef, params, source, mask, each) for each in (target, changed))
    np.testing.assert_array_equal(before[:, :7], after[:, :7])
    assert np.all(np.any(np.asarray(before[:, 7:] != after[:, 7:]), axis=-1))


def test_source_padding_changes_nothing():
    graphdef, params = new_model(TIED)
    source, mask, target = batch(TIED)
    plain = logits_of(graphdef, params, source, mask, target)
    garbage = jnp.where(mask, source, 9)
    longer = jnp.pad(garbage, ((0, 0), (0, 5)), constant_values=8), jnp.pad(mask, ((0, 0), (0, 5)))
    np.testing.assert_allclose(plain, logits_of(graphdef, params, *longer, target), atol=1e-5, rtol=1e-5)
    alone = logits_of(graphdef, params, source[1:2, :8], mask[1:2, :8], target[1:2])
    np.testing.assert_allclose(plain[1:2], alone, atol=1e-5, rtol=1e-5)


def test_samples_of_one_problem_do_not_see_each_other():
    graphdef, params = new_model(TIED)
    source, mask, _ = batch(TIED)
    read = jnp.asarray(np.random.default_rng(3).integers(3, 41, (3, 2, 6)).astype(np.int32))
    before = cached_logits(graphdef, params, source, mask, read, 6)
    after = cached_logits(graphdef, params, source, mask, read.at[:, 1].set(5), 6)
    np.testing.assert_array_equal(before[:, 0], after[:, 0])
    assert np.any(np.asarray(before[:, 1] != after[:, 1]))


def test_empty_source_gives_finite_logits_and_gradients():
    graphdef, params = new_model(TIED)
    source, mask, target = batch(TIED)

    def total(params):
        return jnp.sum(sequence_logits(graphdef, params, source, jnp.zeros_like(mask), target) ** 2)

    gradient = jax.jit(jax.grad(total))(params)
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(gradient))


def test_decoder_reads_the_start_id_then_the_target_without_its_last_token():
    np.testing.assert_array_equal(shift_right(jnp.array([[7, 8, 2], [9, 2, 0]], jnp.int32)), [[0, 7, 8], [0, 9, 2]])


def test_relative_buckets_by_hand():
    # 8 buckets, 4 a direction: 0 and 1 have their own, 2..11 are log-spaced over two, all from 12 on share the last:
    # 2 + floor(2 * log(d / 2) / log(12 / 2)) is 2 for d = 2, 3, 4 and 3 from d = 5 on (log 2.5 / log 6 = 0.511).
    distance = jnp.array([0, -1, -2, -4, -5, -12, -100, 1, 2, 4, 5, 100])
    both = layers.relative_bucket(distance, bidirectional=True, buckets=8, max_distance=12)
    assert both.tolist() == [0, 1, 2, 2, 3, 3, 3, 5, 6, 6, 7, 7]
    # One direction has all 8: own buckets up to 3, then 4 + floor(4 * log(d / 4) / log 3): 5 -> 4, 6 -> 5, 8 -> 6, 11 -> 7.
    causal = layers.relative_bucket(jnp.array([3, 0, -3, -5, -6, -8, -11, -50]), bidirectional=False, buckets=8, max_distance=12)
    assert causal.tolist() == [0, 0, 3, 4, 5, 6, 7, 7]


@settings(max_examples=30, deadline=None)
@given(st.booleans(), st.sampled_from([8, 12, 32, 64]), st.sampled_from([48, 128, 300]))
def test_relative_buckets_grow_with_distance_and_stay_in_the_table(bidirectional, buckets, max_distance):
    distance = jnp.arange(0, -400, -1)
    back = np.asarray(layers.relative_bucket(distance, bidirectional=bidirectional, buckets=buckets, max_distance=max_distance))
    ahead = np.asarray(layers.relative_bucket(-distance, bidirectional=bidirectional, buckets=buckets, max_distance=max_distance))
    last = (buckets // 2 if bidirectional else buckets) - 1
    assert back[0] == 0
    assert np.all(np.diff(back) >= 0)
    assert np.all(back[max_distance:] == last)
    assert np.all(ahead[1:] == back[1:] + buckets // 2) if bidirectional else np.all(ahead == 0)


def test_attention_of_one_query_equals_numpy():
    shape = ModelShape(d_model=6, d_kv=3, heads=2, vocab_size=5)
    attention = layers.Attention(shape, nnx.Rngs(0))
    x = np.random.default_rng(0).normal(size=(1, 4, 6)).astype(np.float32)
    mask = np.array([True, True, False, True])
    bias = np.random.default_rng(1).normal(size=(2, 1, 4)).astype(np.float32)
    ours = attention.attend(
        attention.queries(jnp.asarray(x[:, :1])),
        *attention.keys_values(jnp.asarray(x)),
        jnp.asarray(mask)[None, None, None],
        jnp.asarray(bias),
    )
    q, k, v, o = (np.asarray(w[...]) for w in (attention.q, attention.k, attention.v, attention.o))
    expected = np.zeros(6)
    for head in range(2):
        scores = (x[0] @ k[:, head]) @ (x[0, 0] @ q[:, head]) + bias[head, 0]  # not divided by sqrt(d_kv)
        weights = np.where(mask, np.exp(scores), 0.0)
        expected += (weights / weights.sum()) @ (x[0] @ v[:, head]) @ o[head]
    np.testing.assert_allclose(ours[0, 0], expected, atol=1e-5)


def test_norm_divides_by_the_root_mean_square_and_keeps_the_mean():
    norm = layers.RMSNorm(ModelShape(d_model=4, vocab_size=5))
    norm.scale[...] = jnp.array([1.0, 2.0, 1.0, 1.0])
    # Mean square of (1, 1, 5, 3) is 9.
    np.testing.assert_allclose(norm(jnp.array([1.0, 1.0, 5.0, 3.0])), [1 / 3, 2 / 3, 5 / 3, 1.0], rtol=1e-6)


def test_dropout_differs_by_place_and_key_and_is_off_without_key():
    graphdef, params = new_model(TIED)
    source, mask, target = batch(TIED)
    plain = logits_of(graphdef, params, source, mask, target)
    np.testing.assert_array_equal(plain, logits_of(graphdef, params, source, mask, target, dropout=0.3))
    np.testing.assert_array_equal(plain, logits_of(graphdef, params, source, mask, target, dropout=0.0, key=jax.random.key(1)))
    one, again, other = (logits_of(graphdef, params, source, mask, target, dropout=0.3, key=jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert np.all(np.any(np.asarray(one != other), axis=-1))
    assert np.all(np.any(np.asarray(one != plain), axis=-1))
    drop, x = Dropout(0.5, jax.random.key(3)), jnp.ones(64)
    masks = {tuple(np.asarray(drop.at(place).at(layer)(x)).tolist()) for place in range(6) for layer in range(4)}
    assert len(masks) == 24


@pytest.mark.parametrize(("remat", "unrolled"), [("products", False), ("layers", False), ("nothing", True), ("products", True)])
def test_layers_that_keep_less_or_are_written_out_give_the_same_gradient_with_dropout(remat, unrolled):
    graphdef, params = new_model(TIED)
    source, mask, target = batch(TIED)

    def gradient(remat, unrolled=False):
        def loss(params):
            logits = sequence_logits(
                t5.keeping(graphdef, params, remat, unrolled), params, source, mask, target, dropout=0.2, key=jax.random.key(4)
            )
            return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), target[..., None], -1))

        return jax.jit(jax.grad(loss))(params)

    # Layers written out are rounded otherwise, and one unit in the last place of the parameters moves this gradient by 3e-5 of its largest.
    bound = 2e-5 if unrolled else 1e-6
    for ours, again in zip(jax.tree.leaves(gradient("nothing")), jax.tree.leaves(gradient(remat, unrolled)), strict=True):
        np.testing.assert_allclose(ours, again, atol=bound, rtol=1e-4)


def test_every_parameter_gets_a_gradient():
    for shape in (TIED, UNTIED):
        graphdef, params = new_model(shape)
        source, mask, target = batch(shape)
        gradient = jax.jit(jax.grad(lambda p, g=graphdef, x=(source, mask, target): jnp.sum(sequence_logits(g, p, *x)[..., :3] ** 2)))(
            params
        )
        for path, leaf in nnx.to_flat_state(gradient):
            assert float(jnp.max(jnp.abs(leaf[...]))) > 1e-6, path


def test_bfloat16_computes_close_to_float32_and_gives_float32_logits():
    graphdef, params = new_model(TIED)
    low, _ = new_model(TIED, dtype=jnp.bfloat16)
    source, mask, target = batch(TIED)
    exact, rough = logits_of(graphdef, params, source, mask, target), logits_of(low, params, source, mask, target)
    assert rough.dtype == jnp.float32
    assert float(jnp.mean(jnp.abs(exact - rough))) < 0.03 * float(jnp.std(exact))
    cached, at_once = decoded(TIED, dtype=jnp.bfloat16)
    assert np.mean(np.abs(cached - at_once)) < 0.03 * np.std(at_once)


def test_critic_head_reads_scaled_states_of_the_actors_body():
    actor_graphdef, actor = new_model(TIED)
    graphdef, params = critic_from_actor(TIED, actor, jax.random.key(5))
    assert graphdef == nnx.graphdef(Critic(T5(TIED, rngs=nnx.Rngs(1)), rngs=nnx.Rngs(2)))
    params["head"]["hidden_bias"][...] = jnp.linspace(-1.0, 1.0, 128)
    params["head"]["classes_bias"][...] = jnp.arange(4.0)
    source, mask, target = batch(TIED)
    states = np.asarray(states_at_once(actor_graphdef, actor, source, mask, shift_right(target))) * 24**-0.5
    w1, b1, w2, b2 = (np.asarray(params["head"][name][...]) for name in ("hidden", "hidden_bias", "classes", "classes_bias"))
    expected = np.maximum(states @ w1 + b1, 0.0) @ w2 + b2
    np.testing.assert_allclose(critic_logits_of(graphdef, params, source, mask, target), expected, atol=1e-5)


def test_fresh_heads_differ_by_key_and_the_body_stays_the_actors():
    _, actor = new_model(TIED)
    _, one = critic_from_actor(TIED, actor, jax.random.key(1))
    _, two = critic_from_actor(TIED, actor, jax.random.key(2))
    assert not np.array_equal(one["head"]["hidden"][...], two["head"]["hidden"][...])
    for ours, theirs in zip(jax.tree.leaves(actor), jax.tree.leaves(one["body"]), strict=True):
        np.testing.assert_array_equal(ours, theirs)
