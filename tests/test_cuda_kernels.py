"""The CUDA kernels of a decoding step, interpreted: what they say is what the plain attention says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import in_a_process
from test_sampler import LENGTHS, PROMPTS, SHAPE, model, request, tokenizer

from coderl_jax.config import ModelShape, Sampling
from coderl_jax.model import cuda_kernels, decoding
from coderl_jax.model.decoding import cuda_attentions, distance_bias, plain_attentions
from coderl_jax.model.quantized import quantized
from coderl_jax.rollout import engine
from coderl_jax.rollout.sampler import Sampler

WIDE = ModelShape(d_model=8, d_kv=16, d_ff=8, heads=4, encoder_layers=1, decoder_layers=1, vocab_size=8)
ROWS, COLUMNS, LENGTH, SOURCE = 2, 3, 150, 70


def inputs(dtype: str, int8: bool):
    """(line, position, mask) and (qkv, keys, values), (queries, keys, values), random; so is what no program wrote."""
    rng = np.random.default_rng(0)
    h, c = WIDE.heads, WIDE.d_kv

    def drawn(*size: int):
        return jnp.asarray(rng.normal(size=size), dtype)

    def kept(*size: int):
        return quantized(drawn(*size), (-1,)) if int8 else drawn(*size)

    line = distance_bias(WIDE, jnp.asarray(rng.normal(size=(WIDE.relative_buckets, h)), jnp.float32), LENGTH)
    position = jnp.array([[0, 1, 63], [64, 300, 149]], jnp.int32)  # 300: behind the end, where a slot may stand that is done
    mask = jnp.arange(SOURCE) < jnp.array([[1], [66]])
    own = drawn(ROWS, COLUMNS, 3, h, c), kept(ROWS, COLUMNS, h, LENGTH, c), kept(ROWS, COLUMNS, h, LENGTH, c)
    source = drawn(ROWS, COLUMNS, h, c), kept(ROWS, h, SOURCE, c), kept(ROWS, h, SOURCE, c)
    return (line, position, mask), own, source


@pytest.mark.parametrize("programs", [1, 256])
@pytest.mark.parametrize(("dtype", "int8", "bound"), [("float32", False, 1e-5), ("float32", True, 1e-5), ("bfloat16", False, 2e-2)])
def test_kernels_see_what_the_plain_attention_sees(dtype, int8, bound, programs, monkeypatch):
    monkeypatch.setattr(cuda_kernels, "PROGRAMS", programs)  # a source in one part, in several
    where, own, source = inputs(dtype, int8)
    own_kernel, source_kernel = cuda_attentions(*where)
    own_plain, source_plain = plain_attentions(*where)
    (seen, *caches), (right, *kept) = own_kernel(*own), own_plain(*own)
    at_work = where[1] < LENGTH
    np.testing.assert_allclose(seen[at_work].astype(np.float32), right[at_work].astype(np.float32), rtol=bound, atol=bound)
    for ours, theirs in zip(jax.tree.leaves(caches), jax.tree.leaves(kept), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    seen, right = source_kernel(*source), source_plain(*source)
    np.testing.assert_allclose(seen.astype(np.float32), right.astype(np.float32), rtol=bound, atol=bound)


@pytest.mark.parametrize("cache", ["compute", "int8"])
def test_a_sampler_draws_the_same_programs_with_kernels(cache, monkeypatch):
    sampling = Sampling(num_samples=4, temperature=1.0, rows_per_batch=8, sampling_cache=cache)

    def drawn():
        graphdef, params = model()
        batches = Sampler(graphdef, SHAPE, tokenizer(), LENGTHS, sampling).sample(params, [request(name) for name in PROMPTS], 3)
        return [(program.problem_id, program.index, program.tokens) for _, programs in batches for program in programs]

    plain, called = drawn(), []
    monkeypatch.setattr(decoding, "cuda_attentions", lambda *arrays: called.append(arrays[0].shape) or cuda_attentions(*arrays))
    for place in (decoding, engine):
        monkeypatch.setattr(place, "takes_cuda_decoding", lambda dtype, width: True)
    engine._compiled.cache_clear()  # what was traced before has no kernels
    assert drawn() == plain
    assert called
    engine._compiled.cache_clear()


ON_A_MESH = """
import jax
jax.config.update("jax_num_cpu_devices", 4)
import numpy as np
from test_cuda_kernels import inputs
from coderl_jax.model.decoding import cuda_attentions
from coderl_jax.model.mesh import make_mesh

where, own, source = inputs("float32", False)
def both(where, own, source):
    first, second = cuda_attentions(*where)
    return first(*own), second(*source)
alone = jax.jit(both)(where, own, source)
with jax.set_mesh(make_mesh(2, 1, 2)):
    split = jax.jit(both)(where, own, source)
assert any(len(leaf.sharding.device_set) == 4 for leaf in jax.tree.leaves(split))
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6), split, alone)
"""


def test_kernels_on_devices_that_share_rows_and_heads():
    in_a_process(ON_A_MESH)
