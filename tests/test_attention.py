"""Attention by cuDNN's kernel, as it is called, and by our TPU kernels, interpreted, against attention written out."""

import functools
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import in_a_process
from flax import nnx

from coderl_jax.config import ModelShape
from coderl_jax.model import layers, tpu_kernels

SHAPE = ModelShape(d_model=32, d_kv=16, heads=2, vocab_size=5)
B, S, LENGTHS = 3, 8, [8, 3, 1]
KINDS = {"encoder": (True, True, False), "decoder": (False, True, True), "cross": (True, False, False)}


def made(dtype, width=16):
    """(attention, stream [b s d], mask of padding at the end, bias)."""
    rng = np.random.default_rng(0)
    attention = layers.Attention(ModelShape(d_model=32, d_kv=width, heads=2, vocab_size=5), nnx.Rngs(0))
    mask = np.arange(S) < np.array(LENGTHS)[:, None]
    bias = jnp.asarray(rng.normal(size=(2, S, S)), jnp.float32)
    return attention, jnp.asarray(rng.normal(size=(B, S, 32)), dtype), jnp.asarray(mask)[:, None, None], bias


def gradients(kind, dtype, given=None):
    """(result, gradients of stream, parameters and bias) of one kind of attention."""
    attention, x, mask, bias = given or made(dtype)
    masked, biased, causal = KINDS[kind]
    graphdef, params = nnx.split(attention)
    weight = jnp.asarray(np.random.default_rng(1).normal(size=x.shape), jnp.float32)

    def loss(x, params, bias):
        attention = nnx.merge(graphdef, params)
        parts = mask if masked else None, bias if biased else None
        mixed = attention.attend(attention.queries(x), *attention.keys_values(x), *parts, causal=causal)
        return jnp.sum(weight * mixed.astype(jnp.float32)), mixed

    (_, mixed), slopes = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))(x, params, bias)
    return jax.tree.leaves((mixed, slopes))


def assert_alike_in_bfloat16(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        one, other = (np.asarray(x, np.float32) for x in (ours, theirs))
        assert np.abs(one - other).max() <= 0.03 * max(np.abs(other).max(), 1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_handed_to_the_kernel_means_what_is_written_out(monkeypatch, kind):
    expected = gradients(kind, jnp.float32)
    called = []

    def stand_in(*arrays, implementation, **options):
        called.append(implementation)
        return original(*arrays, implementation="xla", **options)

    original = jax.nn.dot_product_attention
    monkeypatch.setattr(jax.nn, "dot_product_attention", stand_in)
    monkeypatch.setattr(layers, "takes_cudnn", lambda queries, keys: True)
    found = gradients(kind, jnp.float32)
    assert called == ["cudnn"]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * max(1.0, float(jnp.max(jnp.abs(theirs)))))


@pytest.mark.parametrize("scores", [400_000, 8 * 128], ids=["one block", "two blocks"])
@pytest.mark.parametrize("kind", KINDS)
def test_tpu_kernels_see_what_is_written_out(monkeypatch, kind, scores):
    monkeypatch.setattr(sys.modules[__name__], "S", 16)
    monkeypatch.setattr(tpu_kernels, "SCORES", scores)
    assert tpu_kernels.queries_together(16, 16) == min(16, scores // 128)
    expected = gradients(kind, jnp.float32)
    called = []
    kernel = tpu_kernels.attention
    monkeypatch.setattr(tpu_kernels, "attention", lambda *arrays: called.append(len(arrays)) or kernel(*arrays))
    monkeypatch.setattr(layers, "takes_tpu_attention", lambda queries, keys: True)
    found = gradients(kind, jnp.float32)
    assert called
    assert_alike_in_bfloat16(gradients(kind, jnp.bfloat16), expected)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * max(1.0, float(jnp.max(jnp.abs(theirs)))))


def test_tpu_kernels_are_taken_where_their_rules_allow(monkeypatch):
    def takes(dtype=jnp.bfloat16, t=600, s=512, b=B):
        arrays = (jax.ShapeDtypeStruct((b, 2, length, 16), dtype) for length in (t, s))
        found = []
        jax.eval_shape(lambda queries, keys: found.append(layers.takes_tpu_attention(queries, keys)), *arrays)
        return found[0]

    assert not takes()
    monkeypatch.setattr(layers, "_on_tpu", lambda: True)
    assert takes()
    assert takes(t=1024, s=1024)
    assert not takes(dtype=jnp.float32)
    assert not takes(t=601)
    assert not takes(s=509)
    assert not takes(t=2048, s=2048), "its keys' slopes would be in memory for too many blocks"


ON_A_MESH = """
import jax
jax.config.update("jax_num_cpu_devices", 4)
import numpy as np
from flax import nnx
import test_attention
from coderl_jax.model import layers
from coderl_jax.model.mesh import make_mesh

test_attention.B, test_attention.LENGTHS = 4, [8, 3, 1, 5]
layers.takes_tpu_attention = lambda queries, keys: True
for kind in test_attention.KINDS:
    alone = test_attention.gradients(kind, "float32")
    made = test_attention.made("float32")
    with jax.set_mesh(make_mesh(2, 1, 2)):
        split = test_attention.gradients(kind, "float32", made)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), split, alone)
"""


def test_tpu_kernels_on_devices_that_share_texts_and_heads():
    in_a_process(ON_A_MESH)


GPU = types.SimpleNamespace(compute_capability="9.0", client=types.SimpleNamespace(platform_version="cuda 12090"))  # an H100


def test_the_kernel_is_taken_where_its_rules_allow_and_never_on_a_cpu(monkeypatch):
    def takes(dtype=jnp.bfloat16, t=6, s=S, width=16):
        return layers.takes_cudnn(jnp.zeros((B, 2, t, width), dtype), jnp.zeros((B, 2, s, width), dtype))

    if jax.default_backend() == "cpu":
        assert not takes()
    monkeypatch.setattr(jax, "devices", lambda: [GPU])
    assert takes()
    assert not takes(dtype=jnp.float32)
    assert not takes(t=5)
    assert not takes(s=7)
    assert not takes(width=12)
    monkeypatch.setattr(GPU, "compute_capability", "7.5")
    assert not takes()


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_cudnns_attention_agrees_with_ours_within_bfloat16(monkeypatch, kind):
    if jax.default_backend() != "gpu" or not layers.takes_cudnn(*(jnp.zeros((B, 2, S, 16), jnp.bfloat16),) * 2):
        pytest.skip("needs a CUDA GPU from Ampere on, and JAX_PLATFORMS=cuda")
    found = gradients(kind, jnp.bfloat16)
    monkeypatch.setattr(layers, "takes_cudnn", lambda queries, keys: False)
    expected = gradients(kind, jnp.bfloat16)
    assert_alike_in_bfloat16(found, expected)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_tpu_kernels_agree_with_ours_on_a_tpu_within_bfloat16(monkeypatch, kind):
    if jax.default_backend() != "tpu":
        pytest.skip("needs a TPU, and JAX_PLATFORMS=tpu")
    monkeypatch.setattr(sys.modules[__name__], "S", 200)  # no multiple of the chip's tiles of 128
    found = gradients(kind, jnp.bfloat16)
    monkeypatch.setattr(layers, "takes_tpu_attention", lambda queries, keys: False)
    expected = gradients(kind, jnp.bfloat16)
    assert_alike_in_bfloat16(found, expected)


def test_a_model_in_bfloat16_on_this_cpu_never_asks_for_the_kernel(monkeypatch):
    if jax.default_backend() != "cpu":
        pytest.skip("on a CPU only")
    monkeypatch.setattr(jax.nn, "dot_product_attention", functools.partial(pytest.fail, "cuDNN was asked for"))
    for kind in KINDS:
        gradients(kind, jnp.bfloat16)
