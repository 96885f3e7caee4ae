"""Functions with a backward pass of their own: their slopes are those of the definitions; dropout's bits are random enough."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from coderl_jax.model import slopes


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.001, 0.999])
@pytest.mark.parametrize("width", [200, 203])
def test_dropout_zeroes_its_share_of_every_row_and_column_and_scales_the_rest(rate, width):
    x = jnp.full((3, 500, width), 3.0)
    dropped = np.asarray(slopes.Dropout(rate, jax.random.key(0))(x))
    np.testing.assert_allclose(np.unique(dropped), [0, 3 / (1 - rate)], rtol=1e-6)
    zero, variance = (dropped == 0) - rate, rate * (1 - rate)
    for of in (zero.mean(), zero.mean((0, 1)), zero.mean(2).ravel()):
        assert np.mean(of**2) * zero.size / of.size == pytest.approx(variance, rel=10 * math.sqrt(2 / of.size))


def test_what_dropout_leaves_of_one_place_tells_nothing_of_another():
    words = np.asarray(slopes.random_words(jax.random.key(7), (2000, 512)))
    for bit in (31, 30, 24):  # a rate looks at the highest ones first
        sign = (words >> bit & 1) * 2.0 - 1
        of_columns, of_rows = sign.T @ sign / math.sqrt(len(sign)), sign @ sign.T / math.sqrt(sign.shape[1])
        for found in (of_columns, of_rows):
            pairs = found[np.triu_indices(len(found), 1)]
            assert np.mean(pairs**2) == pytest.approx(1, abs=6 * math.sqrt(2 / pairs.size))
            assert np.abs(pairs).max() < 7
    assert len(np.unique(words[:, 0])) == len(words), "rows have their own words"


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_slopes_of_a_norm_are_those_of_its_definition(dtype):
    keys = jax.random.split(jax.random.key(2), 3)
    x, slope = (jax.random.normal(key, (3, 5, 64), dtype) for key in keys[:2])
    scale, epsilon = jax.random.normal(keys[2], 64), 1e-6

    def plain(x, scale):
        wide = x.astype(jnp.float32)
        return (wide * jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + epsilon) * scale).astype(x.dtype)

    ours, theirs = jax.vjp(lambda *a: slopes.rms_normed(*a, epsilon), x, scale), jax.vjp(plain, x, scale)
    np.testing.assert_array_equal(ours[0], theirs[0])
    for one, other in zip(ours[1](slope), theirs[1](slope), strict=True):
        assert one.dtype == other.dtype
        bound = 1e-5 if one.dtype == jnp.float32 else 2**-7
        np.testing.assert_allclose(one.astype(jnp.float32), other.astype(jnp.float32), rtol=bound, atol=bound)


def test_the_slope_of_a_relu_is_that_of_its_definition():
    x = jnp.array([-2.0, -0.0, 0.0, 1e-30, 3.0])
    ours, theirs = jax.vjp(slopes.relu, x), jax.vjp(jax.nn.relu, x)
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_array_equal(ours[1](x + 5)[0], theirs[1](x + 5)[0])


def test_the_slope_of_a_softmax_is_that_of_its_definition():
    x, slope = jax.random.normal(jax.random.key(0), (2, 4, 5, 33)) * 4
    ours, theirs = jax.vjp(slopes.softmax, x), jax.vjp(jax.nn.softmax, x)
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_allclose(ours[1](slope)[0], theirs[1](slope)[0], rtol=1e-5, atol=1e-6)


def test_what_is_dropped_has_no_slope_and_the_rest_is_scaled_as_it_was():
    x = jax.random.normal(jax.random.key(0), (7, 50)) + 10
    drop = slopes.Dropout(0.3, jax.random.key(1))
    dropped, back = jax.vjp(drop, x)
    np.testing.assert_allclose(back(jnp.ones_like(x))[0], dropped / x, rtol=1e-6)
