"""The TPU kernel of a decoding step, interpreted: what it says is what the plain attention says. That over texts is in test_attention."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_attention
from commands import in_a_process
from jax.experimental.pallas import tpu as pltpu
from test_cuda_kernels import WIDE
from test_sampler import LENGTHS, PROMPTS, SHAPE, model, request, tokenizer

from coderl_jax.config import Sampling
from coderl_jax.model import decoding, layers, tpu_kernels
from coderl_jax.model.decoding import distance_bias, plain_attentions, tpu_attentions
from coderl_jax.rollout import engine
from coderl_jax.rollout.sampler import Sampler


def inputs(dtype: str, length: int):
    """(line, position, mask) and (qkv, keys, values), random; so is what no program wrote."""
    rng = np.random.default_rng(0)
    h, c = WIDE.heads, WIDE.d_kv

    def drawn(*size: int):
        return jnp.asarray(rng.normal(size=size), dtype)

    line = distance_bias(WIDE, jnp.asarray(rng.normal(size=(WIDE.relative_buckets, h)), jnp.float32), length)
    # 999: behind the end, where a slot may stand that is done.
    position = jnp.array([[0, 1, length - 1], [length // 2, 999, length - 128]], jnp.int32)
    return (line, position, jnp.ones((2, 16), bool)), (drawn(2, 3, 3, h, c), drawn(2, 3, h, length, c), drawn(2, 3, h, length, c))


@pytest.fixture
def simulated(monkeypatch):
    """A TPU's memories and copies between them, simulated: what nothing has written is NaN."""
    monkeypatch.setattr(tpu_kernels, "_interpreted", lambda: pltpu.InterpretParams(uninitialized_memory="nan"))


@pytest.mark.parametrize("length", [128, 256, 384, 512])
def test_the_kernel_reads_nothing_that_is_not_written(simulated, length):
    test_the_kernel_sees_what_the_plain_attention_sees("float32", 1e-5, length)


@pytest.mark.parametrize("scores", [400_000, 8 * 128], ids=["one block", "two blocks"])
@pytest.mark.parametrize("kind", test_attention.KINDS)
def test_the_kernels_over_texts_read_nothing_that_is_not_written(simulated, monkeypatch, kind, scores):
    test_attention.test_tpu_kernels_see_what_is_written_out(monkeypatch, kind, scores)


@pytest.mark.parametrize("length", [128, 256, 384, 512])
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-5), ("bfloat16", 2e-2)])
def test_the_kernel_sees_what_the_plain_attention_sees(dtype, bound, length):
    where, own = inputs(dtype, length)
    (seen, *caches), (right, *kept) = tpu_attentions(*where)[0](*own), plain_attentions(*where)[0](*own)
    at_work = where[1] < length
    assert at_work.sum() == 5
    np.testing.assert_allclose(seen[at_work].astype(np.float32), right[at_work].astype(np.float32), rtol=bound, atol=bound)
    for ours, theirs in zip(caches, kept, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_sampler_draws_the_same_programs_with_the_kernel(monkeypatch):
    def drawn():
        graphdef, params = model()
        sampling = Sampling(num_samples=4, temperature=1.0, rows_per_batch=8)
        batches = Sampler(graphdef, SHAPE, tokenizer(), LENGTHS, sampling).sample(params, [request(name) for name in PROMPTS], 3)
        return [(program.problem_id, program.index, program.tokens) for _, programs in batches for program in programs]

    plain, called = drawn(), []
    original = decoding.tpu_attentions
    monkeypatch.setattr(decoding, "tpu_attentions", lambda *arrays: called.append(arrays[0].shape) or original(*arrays))
    for place in (decoding, engine):
        monkeypatch.setattr(place, "takes_tpu_decoding", lambda dtype, heads, width: True)
    engine._compiled.cache_clear()  # what was traced before has no kernel
    assert drawn() == plain
    engine._compiled.cache_clear()
    assert {line[1] for line in called} == {2 * 128 - 1}, "a cache of 128 tokens for shorter programs too"


def test_the_kernel_is_taken_where_its_rules_allow(monkeypatch):
    assert not layers.takes_tpu_decoding(jnp.bfloat16, 16, 64)
    monkeypatch.setattr(layers, "_on_tpu", lambda: True)
    assert layers.takes_tpu_decoding(jnp.bfloat16, 16, 64)
    assert not layers.takes_tpu_decoding(jnp.float32, 16, 64)
    assert not layers.takes_tpu_decoding(jnp.bfloat16, 16, 24)
    assert not layers.takes_tpu_decoding(jnp.bfloat16, 64, 128), "a block of so many numbers does not fit"


ON_A_MESH = """
import jax
jax.config.update("jax_num_cpu_devices", 4)
import numpy as np
from test_tpu_kernels import inputs
from coderl_jax.model.decoding import tpu_attentions
from coderl_jax.model.mesh import make_mesh

where, own = inputs("float32", 256)
both = jax.jit(lambda where, own: tpu_attentions(*where)[0](*own))
alone = both(where, own)
with jax.set_mesh(make_mesh(2, 1, 2)):
    split = both(where, own)
assert all(len(leaf.sharding.device_set) == 4 for leaf in jax.tree.leaves(split))
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6), split, alone)
"""


def test_the_kernel_on_devices_that_share_rows_and_heads():
    in_a_process(ON_A_MESH)


@pytest.mark.gpu
def test_the_kernel_agrees_with_the_plain_way_on_a_tpu():
    if jax.default_backend() != "tpu":
        pytest.skip("needs a TPU, and JAX_PLATFORMS=tpu")
    test_the_kernel_sees_what_the_plain_attention_sees("bfloat16", 2e-2, 512)
