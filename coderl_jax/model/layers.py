"""The parts of a T5: parameters with named axes, RMSNorm, attention, feed-forward, relative position bias.

Parameters are float32; what is computed takes the type of the residual stream, except sums that need float32 (norms,
softmax). Axes of parameters carry logical names; `model.mesh.LOGICAL_RULES` places them on devices.
"""

import importlib.util
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import AbstractMesh, Mesh
from jaxtyping import Array, Bool, Float, Int, Shaped
from numpy.typing import DTypeLike

from coderl_jax.config import ModelShape
from coderl_jax.model.slopes import NO_DROPOUT, Dropout, computed_again, relu, rms_normed, softmax

# In place of minus infinity: a row that may attend to nothing then gives an even average instead of NaN.
NEGATIVE = -1e9

LANES = 128  # numbers that a TPU's vector unit has side by side, of which its kernels' arrays have multiples

BATCH_AXES = ("data", "fsdp")  # mesh axes over which a batch is spread, see `model.mesh`

Layer = TypeVar("Layer", bound=nnx.Module)


def normal(rngs: nnx.Rngs, shape: tuple[int, ...], std: float, axes: tuple[str, ...]) -> nnx.Param:
    """A float32 parameter drawn from N(0, std^2), its axes named for `model.mesh`."""
    # Not placed as it is made: a module can be built without a mesh, and `mesh.init_params` places it under jit.
    return nnx.Param(std * jax.random.normal(rngs.params(), shape, jnp.float32), out_sharding=axes, eager_sharding=False)


def stack_of(layer: type[Layer], shape: ModelShape, count: int, rngs: nnx.Rngs) -> Layer:
    """`count` layers as one module whose parameters have a leading axis `layers`: what `jax.lax.scan` runs over."""
    make = nnx.vmap(lambda key: layer(shape, nnx.Rngs(key)), transform_metadata={nnx.PARTITION_NAME: "layers"})
    return make(jax.random.split(rngs.params(), count))


def without_mesh() -> AbstractContextManager:
    """Within the block no mesh is in use: Flax would take the logical names of parameters' axes for the mesh's own."""
    return jax.set_mesh(Mesh(np.empty((), object), ()))


def shard_batch(x: Shaped[Array, "b ..."]) -> Shaped[Array, "b ..."]:
    """x with its batch spread over the mesh in use, if any.

    Said at every layer: left to itself the compiler may gather the batch instead of the sharded parameters.
    """
    mesh = jax.sharding.get_abstract_mesh()
    return x if mesh.empty else jax.lax.with_sharding_constraint(x, jax.P(BATCH_AXES))


def per_device(call: Callable, into: Any, out: Any) -> Callable:
    """`call` on each device of the mesh in use, if any, with what is its own: a compiler cannot divide a kernel."""
    mesh = jax.sharding.get_abstract_mesh()
    return call if mesh.empty else jax.shard_map(call, mesh=mesh, in_specs=into, out_specs=out, check_vma=False)


def rows_split(mesh: Mesh | AbstractMesh | None) -> int:
    """Among how many devices a batch's rows are split."""
    return 1 if mesh is None or mesh.empty else math.prod(mesh.shape[axis] for axis in BATCH_AXES)


def tensor_split(count: int) -> str | None:
    """The axis `tensor` where the mesh in use divides so many heads or entries evenly; None where they stay whole, or there is no mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    return "tensor" if not mesh.empty and count % mesh.shape["tensor"] == 0 else None


def whole_width(table: Float[Array, "v d"]) -> Float[Array, "v d"]:
    """A table of the vocabulary with its width whole on every device of the mesh in use, if any; its entries stay split.

    Said before a loop that multiplies by it: left to itself the compiler may gather it anew each time.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return table
    return jax.lax.with_sharding_constraint(table, jax.P(tensor_split(table.shape[0]), None))


def shard_heads(x: Shaped[Array, "..."], heads_axis: int) -> Shaped[Array, "..."]:
    """x with its first axis, rows of a batch, and its heads spread over the mesh in use, if any; heads that cannot be are whole."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return x
    heads = tensor_split(x.shape[heads_axis])
    return jax.lax.with_sharding_constraint(x, jax.P(BATCH_AXES, *(None,) * (heads_axis - 1), heads))


class RMSNorm(nnx.Module):
    """`rms_normed` with a learned scale."""

    def __init__(self, shape: ModelShape):
        self.scale = nnx.Param(jnp.ones(shape.d_model, jnp.float32), out_sharding=("norm",), eager_sharding=False)
        self.epsilon = shape.epsilon

    def __call__(self, x: Float[Array, "*a d"]) -> Float[Array, "*a d"]:
        """The normed x, in x's type."""
        return rms_normed(x, self.scale[...], self.epsilon)


class FeedForward(nnx.Module):
    """wo(relu(wi x)), or wo(gelu(gate x) * wi x) where the shape is gated; no biases."""

    def __init__(self, shape: ModelShape, rngs: nnx.Rngs):
        d, f = shape.d_model, shape.d_ff
        self.wi = normal(rngs, (d, f), d**-0.5, ("embed", "mlp"))
        self.gate = normal(rngs, (d, f), d**-0.5, ("embed", "mlp")) if shape.gated else None
        self.wo = normal(rngs, (f, d), f**-0.5, ("mlp", "embed"))

    def __call__(self, x: Float[Array, "*a d"], drop: Dropout = NO_DROPOUT) -> Float[Array, "*a d"]:
        """The feed-forward branch, not yet added to the residual stream."""
        inner = x @ self.wi[...].astype(x.dtype)
        if self.gate is None:
            return relu(drop(inner)) @ self.wo[...].astype(x.dtype)
        gated = computed_again(lambda gate, inner: jax.nn.gelu(gate, approximate=True) * inner)
        return drop(gated(x @ self.gate[...].astype(x.dtype), inner)) @ self.wo[...].astype(x.dtype)


class Attention(nnx.Module):
    """Multi-head attention without biases and without scaling of the scores: T5 folds the scale into q's initial size.

    Heads stand before positions in every array ([b h t c], c the width of a head): a query of one token is then a
    batch of matrix-vector products over contiguous keys, five times as fast on a CPU as [b t h c].
    """

    def __init__(self, shape: ModelShape, rngs: nnx.Rngs):
        d, h, c = shape.d_model, shape.heads, shape.d_kv
        self.q = normal(rngs, (d, h, c), (d * c) ** -0.5, ("embed", "heads", "kv"))
        self.k = normal(rngs, (d, h, c), d**-0.5, ("embed", "heads", "kv"))
        self.v = normal(rngs, (d, h, c), d**-0.5, ("embed", "heads", "kv"))
        self.o = normal(rngs, (h, c, d), (h * c) ** -0.5, ("heads", "kv", "embed"))

    def queries(self, x: Float[Array, "*b t d"]) -> Float[Array, "*b h t c"]:
        """What each position asks."""
        return jnp.einsum("...td,dhc->...htc", x, self.q[...].astype(x.dtype))

    def keys_values(self, x: Float[Array, "*b s d"]) -> tuple[Float[Array, "*b h s c"], Float[Array, "*b h s c"]]:
        """What each position answers to, and with."""
        keys = jnp.einsum("...sd,dhc->...hsc", x, self.k[...].astype(x.dtype))
        return keys, jnp.einsum("...sd,dhc->...hsc", x, self.v[...].astype(x.dtype))

    def attend(
        self,
        queries: Float[Array, "*b h t c"],
        keys: Float[Array, "*b h s c"],
        values: Float[Array, "*b h s c"],
        mask: Bool[Array, "*#b 1 1 s"] | None = None,
        bias: Float[Array, "h t s"] | None = None,
        drop: Dropout = NO_DROPOUT,
        *,
        causal: bool = False,
    ) -> Float[Array, "*b t d"]:
        """softmax(q k^T + bias) v, joined over heads and projected back to the residual stream's width.

        Args:
          queries: from `queries`.
          keys: from `keys_values`.
          values: from `keys_values`.
          mask: True where a position may be looked at, the padding behind is False; the axes of size 1 stand for heads and queries.
          bias: of relative positions, float32.
          drop: drops attention probabilities, but for the kernels of `takes_cudnn` and `takes_tpu_attention`, which do not.
          causal: whether a position may look at none behind it.
        """
        if takes_cudnn(queries, keys):
            return jnp.einsum("bthc,hcd->btd", _by_cudnn(queries, keys, values, mask, bias, causal), self.o[...].astype(values.dtype))
        if takes_tpu_attention(queries, keys):
            mixed = _by_tpu_kernels(queries, keys, values, mask, bias, causal)
        else:
            mixed = _written_out(queries, keys, values, mask, bias, drop, causal)
        return jnp.einsum("...htc,hcd->...td", mixed, self.o[...].astype(mixed.dtype))


def takes_cudnn(queries: Float[Array, "*b h t c"], keys: Float[Array, "*b h s c"]) -> bool:
    """Whether attention is cuDNN's: on CUDA GPUs from Ampere on, in bfloat16, of even lengths, which the bias's gradient needs.

    Twice as fast, and scores are never in memory; it drops no probabilities.
    """
    t, s, width = queries.shape[-2], keys.shape[-2], queries.shape[-1]
    suits = queries.ndim == 4 and queries.dtype == jnp.bfloat16 and t % 2 == s % 2 == 0 and width % 8 == 0 and width <= 128
    return suits and _on_ampere()


def takes_tpu_attention(queries: Float[Array, "*b h t c"], keys: Float[Array, "*b h s c"]) -> bool:
    """Whether attention is that of `model.tpu_kernels`: on TPUs, in bfloat16, of lengths whose scores fit on the chip.

    Scores are never in memory; it drops no probabilities.
    """
    if not (queries.ndim == 4 and queries.dtype == jnp.bfloat16 and _on_tpu()):
        return False
    from coderl_jax.model.tpu_kernels import queries_together

    splits = rows_split(jax.sharding.get_abstract_mesh())
    return len(queries) % splits == 0 and queries_together(queries.shape[2], keys.shape[2]) is not None


def _on_tpu() -> bool:
    return jax.devices()[0].platform == "tpu"


def takes_cuda_decoding(dtype: DTypeLike, width: int) -> bool:
    """Whether attention of a decoding step is that of `model.cuda_kernels`: on CUDA GPUs from Ampere on, in bfloat16, heads of a width
    that is a power of two."""
    suits = dtype == jnp.bfloat16 and 16 <= width <= 256 and width & (width - 1) == 0
    return suits and _on_ampere() and importlib.util.find_spec("jax.experimental.pallas.triton") is not None


def takes_tpu_decoding(dtype: DTypeLike, heads: int, width: int) -> bool:
    """Whether a decoding step's attention to its own program is that of `model.tpu_kernels`: on TPUs, in bfloat16, where the cache is as
    wide and of a multiple of `LANES` tokens, and a device's heads are small enough for a block of theirs to fit on the chip."""
    here = heads // jax.sharding.get_abstract_mesh().shape["tensor"] if tensor_split(heads) else heads
    return dtype == jnp.bfloat16 and width % 16 == 0 and here * width <= 4096 and _on_tpu()


def _on_ampere() -> bool:
    """Whether the device is a CUDA GPU of this generation or a later one."""
    device = jax.devices()[0]
    return "cuda" in device.client.platform_version and float(device.compute_capability) >= 8


def _written_out(queries: Array, keys: Array, values: Array, mask: Array | None, bias: Array | None, drop: Dropout, causal: bool) -> Array:
    """Mixed values [... h t c], anywhere."""
    scores = jnp.einsum("...htc,...hsc->...hts", queries, keys, preferred_element_type=jnp.float32)
    # Bias and mask stay apart until here: their sum over batch and heads would be kept in memory for all layers.
    scores = scores if bias is None else scores + bias
    if mask is not None:
        scores = jnp.where(mask, scores, NEGATIVE)
    if causal:
        scores = jnp.where(jnp.tri(*scores.shape[-2:], dtype=bool), scores, NEGATIVE)
    mix = computed_again(lambda weights: jnp.einsum("...hts,...hsc->...htc", drop(weights).astype(values.dtype), values))
    return mix(softmax(scores))


def _by_cudnn(queries: Array, keys: Array, values: Array, mask: Array | None, bias: Array | None, causal: bool) -> Array:
    """Mixed values [b t h c]. A mask is handed over as lengths: as one it would need an entry for every query and head."""
    return jax.nn.dot_product_attention(
        *(jnp.swapaxes(x, 1, 2) for x in (queries, keys, values)),
        bias=None if bias is None else bias[None].astype(queries.dtype),
        scale=1.0,
        is_causal=causal,
        key_value_seq_lengths=None if mask is None else _lengths(mask, keys),
        implementation="cudnn",
    )


def _by_tpu_kernels(queries: Array, keys: Array, values: Array, mask: Array | None, bias: Array | None, causal: bool) -> Array:
    """Mixed values [b h t c], each device its texts and heads."""
    from coderl_jax.model.tpu_kernels import attention

    if causal:
        size = queries.shape[1:3] + keys.shape[2:3]
        bias = jnp.broadcast_to(jnp.where(jnp.tri(*size[1:], dtype=bool), 0.0 if bias is None else bias, NEGATIVE), size)
    lengths = jnp.full(len(keys), keys.shape[2], jnp.int32) if mask is None else _lengths(mask, keys)
    heads = tensor_split(queries.shape[1])
    texts = jax.P(BATCH_AXES, heads)
    return per_device(attention, (texts, texts, texts, jax.P(heads), jax.P(BATCH_AXES)), texts)(queries, keys, values, bias, lengths)


def _lengths(mask: Array, keys: Array) -> Int[Array, " b"]:
    """Keys of each text that may be looked at. A text of padding alone looks at its first one, where the plain way averages: both mean
    nothing, neither is NaN."""
    return jnp.maximum(jnp.sum(jnp.broadcast_to(mask[:, 0, 0], keys.shape[::2]), axis=-1, dtype=jnp.int32), 1)


def relative_bucket(distance: Int[Array, "*a"], *, bidirectional: bool, buckets: int, max_distance: int) -> Int[Array, "*a"]:
    """The bucket of a distance in tokens (T5, section 2.1): one each for short ones, log-spaced up to `max_distance`.

    Args:
      distance: position looked at minus position that looks, int32.
      bidirectional: half of the buckets for positive distances; otherwise those share the bucket of 0.
      buckets: buckets in all.
      max_distance: from here on all distances share the last bucket.
    """
    if bidirectional:
        buckets //= 2
        offset = jnp.where(distance > 0, buckets, 0)
        distance = jnp.abs(distance)
    else:
        offset = 0
        distance = jnp.maximum(-distance, 0)
    exact = buckets // 2
    far = jnp.log(jnp.maximum(distance, exact).astype(jnp.float32) / exact) / jnp.log(jnp.float32(max_distance / exact))
    spaced = jnp.minimum(exact + (far * (buckets - exact)).astype(jnp.int32), buckets - 1)
    return offset + jnp.where(distance < exact, distance, spaced)


class RelativeBias(nnx.Module):
    """A learned number for each head and bucket of distances; a stack of layers shares one table."""

    def __init__(self, shape: ModelShape, rngs: nnx.Rngs, *, bidirectional: bool):
        self.table = normal(rngs, (shape.relative_buckets, shape.heads), shape.d_model**-0.5, ("buckets", "heads"))
        self.bidirectional = bidirectional
        self.max_distance = shape.relative_max_distance

    def __call__(self, looking: Int[Array, " t"], looked_at: Int[Array, " s"]) -> Float[Array, "h t s"]:
        """The bias between positions, float32."""
        table = self.table[...]
        bucket = relative_bucket(
            looked_at[None, :] - looking[:, None],
            bidirectional=self.bidirectional,
            buckets=table.shape[0],
            max_distance=self.max_distance,
        )
        # A product, not a lookup: the gradient of a lookup is a scatter of t * s indices into few rows, 20 times as slow on a GPU.
        return jnp.einsum("tsk,kh->hts", jax.nn.one_hot(bucket, table.shape[0], dtype=table.dtype), table)
