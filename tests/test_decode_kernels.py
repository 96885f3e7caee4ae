"""The CUDA kernels of a decoding step, interpreted: what they say is what the plain attention says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from coderl_jax.config import ModelShape
from coderl_jax.model import decode_kernels
from coderl_jax.model.decoding import distance_bias, kernel_attentions, plain_attentions
from coderl_jax.model.quantized import quantized

SHAPE = ModelShape(d_model=8, d_kv=16, d_ff=8, heads=4, encoder_layers=1, decoder_layers=1, vocab_size=8)
ROWS, COLUMNS, LENGTH, SOURCE = 2, 3, 150, 70


def inputs(dtype: str, int8: bool):
    """(line, position, mask) and (qkv, keys, values), (queries, keys, values), random; what no program wrote is not a number."""
    rng = np.random.default_rng(0)
    h, c = SHAPE.heads, SHAPE.d_kv

    def drawn(*size: int):
        return jnp.asarray(rng.normal(size=size), dtype)

    def kept(*size: int):
        return quantized(drawn(*size), (-1,)) if int8 else drawn(*size)

    line = distance_bias(SHAPE, jnp.asarray(rng.normal(size=(SHAPE.relative_buckets, h)), jnp.float32), LENGTH)
    position = jnp.array([[0, 1, 63], [64, 65, 149]], jnp.int32)
    mask = jnp.arange(SOURCE) < jnp.array([[1], [66]])
    own = drawn(ROWS, COLUMNS, 3, h, c), kept(ROWS, COLUMNS, h, LENGTH, c), kept(ROWS, COLUMNS, h, LENGTH, c)
    source = drawn(ROWS, COLUMNS, h, c), kept(ROWS, h, SOURCE, c), kept(ROWS, h, SOURCE, c)
    return (line, position, mask), own, source


@pytest.mark.parametrize("programs", [1, 256])
@pytest.mark.parametrize(("dtype", "int8", "bound"), [("float32", False, 1e-5), ("float32", True, 1e-5), ("bfloat16", False, 2e-2)])
def test_kernels_see_what_the_plain_attention_sees(dtype, int8, bound, programs, monkeypatch):
    monkeypatch.setattr(decode_kernels, "PROGRAMS", programs)  # a source in one part, in several
    where, own, source = inputs(dtype, int8)
    own_kernel, source_kernel = kernel_attentions(*where)
    own_plain, source_plain = plain_attentions(*where)
    (seen, *caches), (right, *kept) = own_kernel(*own), own_plain(*own)
    np.testing.assert_allclose(seen.astype(np.float32), right.astype(np.float32), rtol=bound, atol=bound)
    for ours, theirs in zip(jax.tree.leaves(caches), jax.tree.leaves(kept), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_allclose(source_kernel(*source).astype(np.float32), source_plain(*source).astype(np.float32), rtol=bound, atol=bound)
