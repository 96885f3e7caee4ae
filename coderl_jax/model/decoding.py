"""The decoder, one token at a time: weights made ready once, keys and values kept.

The life of a step: every slot reads the token it wrote last, at a position of its own; its keys and values join those kept;
the residual stream becomes logits. Slots stand in rows, [p, n]: the n slots of a row read the same source, whose keys and
values are kept once. A cache is as long as its longest program needs (`resized`), so no step reads what nobody wrote.

`T5.decode` does the same for all positions at once; tests hold the two equal.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
from numpy.typing import DTypeLike

from coderl_jax.config import ModelShape
from coderl_jax.model.layers import LANES, NEGATIVE, relative_bucket, shard_batch, shard_heads, takes_cuda_decoding, takes_tpu_decoding
from coderl_jax.model.quantized import Quantized, Vectors, quantized
from coderl_jax.model.slopes import rms_normed
from coderl_jax.model.t5 import T5


def product(equation: str, x: Float[Array, "*x"], weight: Any, out: DTypeLike | None = None) -> Float[Array, "*y"]:
    """einsum(equation, x, weight), where the weight's own axes stand last in the result; `out` is its type, x's by default."""
    values = weight.values if isinstance(weight, Quantized) else weight
    y = jnp.einsum(equation, x, values.astype(x.dtype), preferred_element_type=jnp.float32)
    return (y * weight.scale if isinstance(weight, Quantized) else y).astype(out or x.dtype)


class LayerWeights(NamedTuple):
    """One decoder layer's. Matrices are arrays of the type computed in, or `Quantized`; norms are float32 [d].

    Attributes:
      norm: before self-attention.
      qkv: queries, keys and values in one, [d 3 h c].
      out: of self-attention, [h*c d]; flat, or a GPU's compiler may turn it around at every step.
      cross_norm: before attention to the source.
      cross_q: [d h c].
      cross_out: [h*c d].
      mlp_norm: before the feed-forward.
      wi: [d f].
      gate: [d f] where the shape is gated.
      wo: [f d].
    """

    norm: Array
    qkv: Any
    out: Any
    cross_norm: Array
    cross_q: Any
    cross_out: Any
    mlp_norm: Array
    wi: Any
    gate: Any
    wo: Any


class Decoder(NamedTuple):
    """The decoder's weights, ready for steps. Its vocabulary, v, is that of the tokenizer, filled up with ids that are never drawn.

    Attributes:
      layers: one a layer.
      norm: the last one, float32 [d].
      embedding: what is read, [v d] in the type that is computed in.
      output: what scores the vocabulary, [v d]; None: the embedding.
      penalty: added to the logits, float32 [v]: minus infinity for ids that fill up, else 0.
      bias: of relative positions, float32 [buckets h].
    """

    layers: tuple[LayerWeights, ...]
    norm: Array
    embedding: Array
    output: Any
    penalty: Array
    bias: Array


def ready(model: T5, vocabulary: int, int8: bool = False) -> Decoder:
    """The weights of a model's decoder, layer by layer, in the type that it computes in.

    Args:
      model: float32.
      vocabulary: ids that may be drawn; an embedding may have more rows.
      int8: matrices as bytes: a quarter of float32, an error of at most 1/254 of each output's largest weight.
    """

    def matrix(x: Array, *summed: int) -> Any:
        return quantized(x, summed) if int8 else x.astype(model.dtype)

    def flat(x: Array) -> Array:
        return x.reshape(-1, x.shape[-1])

    def layer(i: int) -> LayerWeights:
        stack = model.decoder_layers
        own, cross, mlp = stack.attention, stack.cross, stack.mlp
        return LayerWeights(
            norm=stack.attention_norm.scale[...][i],
            qkv=matrix(jnp.stack([own.q[...][i], own.k[...][i], own.v[...][i]], axis=1), 0),
            out=matrix(flat(own.o[...][i]), 0),
            cross_norm=stack.cross_norm.scale[...][i],
            cross_q=matrix(cross.q[...][i], 0),
            cross_out=matrix(flat(cross.o[...][i]), 0),
            mlp_norm=stack.mlp_norm.scale[...][i],
            wi=matrix(mlp.wi[...][i], 0),
            gate=None if mlp.gate is None else matrix(mlp.gate[...][i], 0),
            wo=matrix(mlp.wo[...][i], 0),
        )

    # Filled up, the vocabulary can be split among devices, and its sums in blocks (`rollout.filters`) too.
    unit = 1024 if vocabulary > 8192 else 128

    def filled(x: Array) -> Array:
        return jnp.pad(x[:vocabulary], ((0, -vocabulary % unit), (0, 0)))

    embedding = filled(model.embedding[...])
    table = embedding if model.output is None else filled(model.output[...])
    return Decoder(
        layers=tuple(layer(i) for i in range(model.shape.decoder_layers)),
        norm=model.decoder_norm.scale[...],
        embedding=embedding.astype(model.dtype),
        output=matrix(table, 1) if int8 or model.output is not None else None,
        penalty=jnp.where(jnp.arange(embedding.shape[0]) < vocabulary, 0.0, -jnp.inf),
        bias=model.decoder_bias.table[...],
    )


class Cache(NamedTuple):
    """Keys and values, one array a layer: a loop then updates each in place. A stacked cache under `jax.lax.scan` is copied
    at every step (2.5 times as slow, 2 layers on a CPU).

    Attributes:
      keys: [p n h length c] of programs, [p h s c] of sources.
      values: the same.
    """

    keys: tuple[Vectors, ...]
    values: tuple[Vectors, ...]

    @property
    def length(self) -> int:
        """Tokens that there is room for."""
        return jax.tree.leaves(self.keys)[0].shape[-2]


def empty_cache(shape: ModelShape, rows: tuple[int, ...], length: int, dtype: DTypeLike, int8: bool = False) -> Cache:
    """A cache of zeros: `rows` is (p, n) for programs of at most `length` tokens, (p,) for sources."""

    def zeros() -> Vectors:
        vectors = jnp.zeros((*rows, shape.heads, length, shape.d_kv), jnp.int8 if int8 else dtype)
        vectors = shard_heads(vectors, len(rows))
        return Quantized(vectors, shard_heads(jnp.zeros(vectors.shape[:-1], jnp.float32), len(rows))) if int8 else vectors

    return Cache(*(tuple(zeros() for _ in range(shape.decoder_layers)) for _ in range(2)))


def resized(array: Array, heads_axis: int, length: int) -> Array:
    """An array of a cache with its length, the axis after the heads, cut or filled up with zeros."""
    axis, now = heads_axis + 1, array.shape[heads_axis + 1]
    if length <= now:
        return shard_heads(jax.lax.slice_in_dim(array, 0, length, axis=axis), heads_axis)
    widths = [(0, length - now if i == axis else 0) for i in range(array.ndim)]
    return shard_heads(jnp.pad(array, widths), heads_axis)


def source_cache(model: T5, source: Int[Array, "p s"], source_mask: Bool[Array, "p s"], int8: bool = False) -> Cache:
    """What the decoder's layers see of each source: keys and values, [p h s c] a layer."""
    memory = model.encode(source, source_mask)
    stack = model.decoder_layers.cross

    def seen(weights: Array) -> tuple[Vectors, ...]:
        vectors = [jnp.einsum("psd,dhc->phsc", memory, weights[i].astype(memory.dtype)) for i in range(weights.shape[0])]
        return tuple(quantized(each, (-1,)) if int8 else each for each in vectors)

    return Cache(seen(stack.k[...]), seen(stack.v[...]))


def placed(cache: Cache, new: Cache, rows: Int[Array, "k e"]) -> Cache:
    """The sources' cache with rows of `new` in its own.

    Args:
      cache: of p rows, in k parts of p / k: one a device, which then takes what it needs from no other.
      new: of k e rows, e for each part in order. It may be narrower than the cache: what then stands behind it is of no source, and
        masked.
      rows: where each goes within its part; a number beyond the last is nowhere.
    """

    def put(kept: Array, fresh: Array) -> Array:
        fresh = resized(fresh, 1, kept.shape[2]).astype(kept.dtype)
        parts, arrivals = (x.reshape(rows.shape[0], -1, *x.shape[1:]) for x in (kept, fresh))
        written = jax.vmap(lambda part, arrived, at: part.at[at].set(arrived, mode="drop"))(parts, arrivals, rows)
        return shard_heads(written.reshape(kept.shape), 1)

    return jax.tree.map(put, cache, new)


def distance_bias(shape: ModelShape, table: Float[Array, "buckets h"], length: int) -> Float[Array, "h k"]:
    """The relative bias by distance, laid out so that a slot's is one slice of it: k = 2 length - 1.

    A slot at position i finds the bias of position j at length - 1 - i + j: that of distance i - j, and for j beyond i a
    number that stands for minus infinity.
    """
    back = -jnp.arange(length - 1, -1, -1, dtype=jnp.int32)
    limits = {"buckets": shape.relative_buckets, "max_distance": shape.relative_max_distance}
    seen = table.astype(jnp.float32)[relative_bucket(back, bidirectional=False, **limits)].T
    return jnp.concatenate([seen, jnp.full((shape.heads, length - 1), NEGATIVE)], axis=1)


def decode_step(
    shape: ModelShape,
    decoder: Decoder,
    tokens: Int[Array, "p n"],
    position: Int[Array, "p n"],
    cache: Cache,
    cross: Cache,
    source_mask: Bool[Array, "p s"],
) -> tuple[Float[Array, "p n v"], Cache]:
    """Logits of the next token of every slot, float32, and the cache with this position's keys and values.

    Args:
      shape: the model's.
      decoder: from `ready`.
      tokens: what each slot wrote last; the start id at position 0.
      position: of the token to be written, below the cache's length; positions before it are in the cache.
      cache: from `empty_cache` or the step before; what stands in it from `position` on is not read.
      cross: from `source_cache`.
      source_mask: False at padding.
    """
    line = distance_bias(shape, decoder.bias, cache.length)
    int8 = jax.tree.leaves(cache)[0].itemsize == 1
    reachable = not int8 or all(leaf.size < 2**31 for leaf in jax.tree.leaves(cache))  # by the offsets of a kernel
    with_kernels = reachable and takes_cuda_decoding(decoder.embedding.dtype, shape.d_kv)
    on_tpu = takes_tpu_decoding(decoder.embedding.dtype, shape.heads, shape.d_kv) and not int8 and cache.length % LANES == 0
    attentions = cuda_attentions if with_kernels else tpu_attentions if on_tpu else plain_attentions
    own, of_source = attentions(line, position, source_mask)
    x = decoder.embedding[tokens]
    keys, values = list(cache.keys), list(cache.values)
    for i, layer in enumerate(decoder.layers):
        qkv = product("pnd,dkhc->pnkhc", rms_normed(x, layer.norm, shape.epsilon), layer.qkv)
        mixed, keys[i], values[i] = own(qkv, keys[i], values[i])
        x = x + product("pna,ad->pnd", mixed.reshape(*x.shape[:2], -1), layer.out)
        queries = product("pnd,dhc->pnhc", rms_normed(x, layer.cross_norm, shape.epsilon), layer.cross_q)
        mixed = of_source(queries, cross.keys[i], cross.values[i])
        x = x + product("pna,ad->pnd", mixed.reshape(*x.shape[:2], -1), layer.cross_out)
        x = shard_batch(x + _feed_forward(rms_normed(x, layer.mlp_norm, shape.epsilon), layer))
    hidden = rms_normed(x, decoder.norm, shape.epsilon) * (shape.d_model**-0.5 if shape.tied else 1.0)
    table = decoder.embedding if decoder.output is None else decoder.output
    logits = product("pnd,vd->pnv", hidden, table, jnp.float32) + decoder.penalty
    return logits, Cache(tuple(keys), tuple(values))


OwnAttention = Callable[[Array, Vectors, Vectors], tuple[Array, Vectors, Vectors]]
"""(query, key and value of every slot [p n 3 h c], its layer's kept keys, values) -> (what it sees [p n h c], both with the new ones)."""
SourceAttention = Callable[[Array, Vectors, Vectors], Array]
"""(queries [p n h c], keys, values of the sources) -> what every slot sees of its source [p n h c]."""


def plain_attentions(
    line: Float[Array, "h k"], position: Int[Array, "p n"], source_mask: Bool[Array, "p s"]
) -> tuple[OwnAttention, SourceAttention]:
    """Both attentions of a step, anywhere. Arguments are those of `decode_step`, and `line` is from `distance_bias`."""
    bias = _windows(line, position)[:, :, :, None]

    def own(qkv: Array, keys: Vectors, values: Vectors) -> tuple[Array, Vectors, Vectors]:
        keys, values = _written(keys, qkv[:, :, 1], position), _written(values, qkv[:, :, 2], position)
        return attend(qkv[:, :, 0][:, :, :, None], keys, values, bias)[:, :, :, 0], keys, values

    return own, _plain_of_source(source_mask)


def _plain_of_source(source_mask: Bool[Array, "p s"]) -> SourceAttention:
    """Attention to the source, anywhere."""
    source_bias = jnp.where(source_mask, 0.0, NEGATIVE)[:, None, None]  # [p 1 1 s]

    def of_source(queries: Array, keys: Vectors, values: Vectors) -> Array:
        # A row's slots stand where positions stand in an attention over a text: they look at the same source.
        return jnp.moveaxis(attend(jnp.moveaxis(queries, 1, 2), keys, values, source_bias), 2, 1)

    return of_source


def _windows(line: Float[Array, "h k"], position: Int[Array, "p n"]) -> Float[Array, "p n h length"]:
    """The bias of every slot, cut out of `distance_bias`'s line."""
    length = (line.shape[1] + 1) // 2

    def window(at: Int[Array, ""]) -> Float[Array, "h length"]:
        return jax.lax.dynamic_slice_in_dim(line, length - 1 - at, length, axis=1)

    return jax.vmap(jax.vmap(window))(position)


def tpu_attentions(
    line: Float[Array, "h k"], position: Int[Array, "p n"], source_mask: Bool[Array, "p s"]
) -> tuple[OwnAttention, SourceAttention]:
    """`plain_attentions` on a TPU, where the one to the source multiplies matrices anyway."""
    from coderl_jax.model import tpu_kernels

    position = jnp.minimum(position, (line.shape[1] - 1) // 2)  # see `cuda_attentions`
    bias = _windows(line, position)
    return (
        lambda qkv, keys, values: tpu_kernels.own_attention(qkv, keys, values, bias, position),
        _plain_of_source(source_mask),
    )


def cuda_attentions(
    line: Float[Array, "h k"], position: Int[Array, "p n"], source_mask: Bool[Array, "p s"]
) -> tuple[OwnAttention, SourceAttention]:
    """`plain_attentions` on a CUDA GPU."""
    from coderl_jax.model import cuda_kernels  # what it is written in takes a tenth of a second to import

    lengths = jnp.sum(source_mask, axis=1, dtype=jnp.int32)
    # As the plain way does. A slot that is done may stand behind the end, and a kernel would write into another slot's keys.
    position = jnp.minimum(position, (line.shape[1] - 1) // 2)
    return (
        lambda qkv, keys, values: cuda_kernels.own_attention(qkv, keys, values, line, position),
        lambda queries, keys, values: cuda_kernels.source_attention(queries, keys, values, lengths),
    )


def _written(kept: Vectors, new: Float[Array, "p n h c"], position: Int[Array, "p n"]) -> Vectors:
    """One layer's keys or values with a new vector of every slot at its position."""

    def put(slot: Array, fresh: Array, at: Int[Array, ""]) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(slot, fresh[:, None], at, axis=1)

    fresh = quantized(new, (-1,)) if isinstance(kept, Quantized) else new.astype(kept.dtype)
    # Mapped over slots, not indexed by them: the compiler then knows that a device writes to slots of its own only.
    return jax.tree.map(lambda a, b: jax.vmap(jax.vmap(put))(a, b, position), kept, fresh)


def attend(
    queries: Float[Array, "*b h t c"], keys: Vectors, values: Vectors, bias: Float[Array, "*#b #h #t s"]
) -> Float[Array, "*b h t c"]:
    """softmax(q k^T + bias) v over kept vectors; a scale of bytes is applied to the scores and to the weights."""
    dtype = queries.dtype
    scores = product("...htc,...hsc->...hts", queries, _bytes(keys), jnp.float32)
    weights = jax.nn.softmax((scores if keys is _bytes(keys) else scores * keys.scale[..., None, :]) + bias, axis=-1)
    weights = weights if values is _bytes(values) else weights * values.scale[..., None, :]
    return product("...hts,...hsc->...htc", weights.astype(dtype), _bytes(values))


def _bytes(vectors: Vectors) -> Array:
    return vectors.values if isinstance(vectors, Quantized) else vectors


def _feed_forward(x: Float[Array, "p n d"], layer: LayerWeights) -> Float[Array, "p n d"]:
    inner = product("pnd,df->pnf", x, layer.wi)
    if layer.gate is None:
        return product("pnf,fd->pnd", jax.nn.relu(inner), layer.wo)
    gate = jax.nn.gelu(product("pnd,df->pnf", x, layer.gate), approximate=True)
    return product("pnf,fd->pnd", gate * inner, layer.wo)
