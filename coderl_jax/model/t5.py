"""T5 encoder-decoder (CodeT5's shape: ReLU, tied embedding; T5 v1.1's: gated GELU, an output projection of its own).

The life of a batch: source tokens are embedded and encoded; the decoder reads the target shifted right by one and looks
at the encoder's states; hidden states become logits. `model.decoding` does the same one token at a time, for sampling.

`graphdef, params = nnx.split(model)`: graphdef is static, params is a pytree; the functions at the end take both.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key
from numpy.typing import DTypeLike

from coderl_jax.config import ModelShape
from coderl_jax.model import layers
from coderl_jax.model.layers import Attention, FeedForward, RelativeBias, RMSNorm, normal, stack_of, whole_width
from coderl_jax.model.slopes import Dropout

START_ID = 0  # what the decoder reads before the first token: T5 starts with the pad id

REMATERIALISE: dict[str, Any] = {
    "layers": None,  # the input of each layer only: the rest is computed again, a third more time
    "products": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,  # and the products with parameters, not those of attention
}
"""What is kept of a forward pass for the backward one, by name -> policy of `jax.checkpoint`. "nothing" is computed again where the name
is not here: all is kept."""


def shift_right(target: Int[Array, "b t"]) -> Int[Array, "b t"]:
    """What the decoder reads to predict `target`: the start id, then all tokens but the last."""
    return jnp.pad(target[:, :-1], ((0, 0), (1, 0)), constant_values=START_ID)


@jax.custom_vjp
def project(states: Float[Array, "*a d"], table: Float[Array, "v d"], rounded: Float[Array, "v d"]) -> Float[Array, "*a v"]:
    """Products of scaled decoder states with every row of a float32 table, made in the type of the states, float32.

    So are those of the backward pass, whose gradient of the table is float32: left to itself JAX would multiply in float32, at half of a
    GPU's speed or less, and round the table's gradient.

    Args:
      states: in the type of the residual stream.
      table: what the gradient is of.
      rounded: the same in the type of the states, which is what is multiplied: a loop has it made once.
    """
    return jnp.einsum("...d,vd->...v", states, rounded, preferred_element_type=jnp.float32)


def _project_forward(states: Array, table: Array, rounded: Array) -> tuple[Array, tuple[Array, Array]]:
    return project(states, table, rounded), (states, rounded)


def _project_backward(kept: tuple[Array, Array], slope: Array) -> tuple[Array, Array, None]:
    states, rounded = kept
    slope = slope.astype(states.dtype)
    of_table = jnp.einsum("...v,...d->vd", slope, states, preferred_element_type=jnp.float32)
    return jnp.einsum("...v,vd->...d", slope, rounded), of_table, None


project.defvjp(_project_forward, _project_backward)


class EncoderLayer(nnx.Module):
    """Self-attention, then feed-forward, each behind a norm and added to the residual stream."""

    def __init__(self, shape: ModelShape, rngs: nnx.Rngs):
        self.attention_norm = RMSNorm(shape)
        self.attention = Attention(shape, rngs)
        self.mlp_norm = RMSNorm(shape)
        self.mlp = FeedForward(shape, rngs)

    def __call__(
        self, x: Float[Array, "b s d"], mask: Bool[Array, "b 1 1 s"], bias: Float[Array, "h s s"], drop: Dropout
    ) -> Float[Array, "b s d"]:
        """The residual stream after this layer."""
        normed = self.attention_norm(x)
        mixed = self.attention.attend(self.attention.queries(normed), *self.attention.keys_values(normed), mask, bias, drop.at(0))
        x = x + drop.at(1)(mixed)
        return x + drop.at(3)(self.mlp(self.mlp_norm(x), drop.at(2)))


class DecoderLayer(nnx.Module):
    """Causal self-attention, attention to the source, feed-forward."""

    def __init__(self, shape: ModelShape, rngs: nnx.Rngs):
        self.attention_norm = RMSNorm(shape)
        self.attention = Attention(shape, rngs)
        self.cross_norm = RMSNorm(shape)
        self.cross = Attention(shape, rngs)
        self.mlp_norm = RMSNorm(shape)
        self.mlp = FeedForward(shape, rngs)

    def __call__(
        self,
        x: Float[Array, "b t d"],
        bias: Float[Array, "h t t"],
        memory: Float[Array, "b s d"],
        source_mask: Bool[Array, "b 1 1 s"],
        drop: Dropout,
    ) -> Float[Array, "b t d"]:
        """The residual stream after this layer, all positions at once."""
        normed = self.attention_norm(x)
        seen = self.attention.keys_values(normed)
        mixed = self.attention.attend(self.attention.queries(normed), *seen, None, bias, drop.at(0), causal=True)
        x = x + drop.at(1)(mixed)
        queries = self.cross.queries(self.cross_norm(x))
        x = x + drop.at(3)(self.cross.attend(queries, *self.cross.keys_values(memory), source_mask, None, drop.at(2)))
        return x + drop.at(5)(self.mlp(self.mlp_norm(x), drop.at(4)))


class T5(nnx.Module):
    """The encoder-decoder. Parameters are float32, `dtype` is what the residual stream is computed in."""

    def __init__(self, shape: ModelShape, *, rngs: nnx.Rngs, dtype: DTypeLike = jnp.float32):
        self.shape = shape
        self.dtype = jnp.dtype(dtype)
        self.remat: str = "nothing"
        self.unrolled = False
        self.embedding = normal(rngs, (shape.vocab_size, shape.d_model), 1.0, ("vocab", "embed"))
        self.encoder_bias = RelativeBias(shape, rngs, bidirectional=True)
        self.encoder_layers = stack_of(EncoderLayer, shape, shape.encoder_layers, rngs)
        self.encoder_norm = RMSNorm(shape)
        self.decoder_bias = RelativeBias(shape, rngs, bidirectional=False)
        self.decoder_layers = stack_of(DecoderLayer, shape, shape.decoder_layers, rngs)
        self.decoder_norm = RMSNorm(shape)
        self.output = None if shape.tied else normal(rngs, (shape.vocab_size, shape.d_model), 1.0, ("vocab", "embed"))

    def encode(
        self, source: Int[Array, "b s"], source_mask: Bool[Array, "b s"], *, dropout: float = 0.0, key: Key[Array, ""] | None = None
    ) -> Float[Array, "b s d"]:
        """The encoder's states of the source.

        Args:
          source: token ids.
          source_mask: False at padding, which stands at the end and which nothing looks at.
          dropout: rate, applied when `key` is given.
          key: seeds dropout.
        """
        drop = Dropout(dropout, key)
        at = jnp.arange(source.shape[1])
        bias = self.encoder_bias(at, at)
        mask = source_mask[:, None, None, :]
        x = drop.at(0)(self._embed(source))
        x = self._run(self.encoder_layers, x, drop.at(1), lambda layer, x, drop: layer(x, mask, bias, drop))
        return drop.at(2)(self.encoder_norm(x))

    def decode(
        self,
        target_in: Int[Array, "b t"],
        memory: Float[Array, "b s d"],
        source_mask: Bool[Array, "b s"],
        *,
        dropout: float = 0.0,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "b t d"]:
        """The decoder's states, all positions at once; the state at t has seen `target_in` up to t and the source.

        Args:
          target_in: from `shift_right`.
          memory: from `encode`.
          source_mask: False at padding.
          dropout: rate, applied when `key` is given.
          key: seeds dropout.
        """
        drop = Dropout(dropout, key)
        at = jnp.arange(target_in.shape[1])
        bias = self.decoder_bias(at, at)
        cross_mask = source_mask[:, None, None, :]
        x = drop.at(0)(self._embed(target_in))
        x = self._run(self.decoder_layers, x, drop.at(1), lambda layer, x, drop: layer(x, bias, memory, cross_mask, drop))
        return drop.at(2)(self.decoder_norm(x))

    def scaled(self, hidden: Float[Array, "*a d"]) -> Float[Array, "*a d"]:
        """Decoder states as the output projection (and the critic's head) reads them: times d_model**-0.5 where tied."""
        return hidden * self.shape.d_model**-0.5 if self.shape.tied else hidden

    @property
    def table(self) -> Float[Array, "v d"]:
        """The output projection, float32: the embedding where tied."""
        return (self.embedding if self.output is None else self.output)[...]

    def logits(self, hidden: Float[Array, "*a d"]) -> Float[Array, "*a v"]:
        """Logits over the vocabulary, float32, of decoder states."""
        return project(self.scaled(hidden), self.table, self.table.astype(hidden.dtype))

    def _embed(self, tokens: Int[Array, "*a"]) -> Float[Array, "*a d"]:
        # Looked up in float32, then cast: the gradient of a bfloat16 lookup is a slow scatter.
        # Its width whole, as for the logits: else the compiler gathers the states of the whole batch for the table's gradient.
        return whole_width(self.embedding[...])[tokens].astype(self.dtype)

    def _run(self, stack: nnx.Module, x: Float[Array, "b t d"], drop: Dropout, call: Any) -> Float[Array, "b t d"]:
        """Run x through a stack of layers: compiled once, whatever their number, unless `unrolled`."""
        graphdef, params = nnx.split(stack)

        def body(x, layer):
            number, own = layer
            return layers.shard_batch(call(nnx.merge(graphdef, own), x, drop.at(number))), None

        if self.remat in REMATERIALISE:
            # Of layers written out the compiler would see that it has all already, and keep it.
            body = jax.checkpoint(body, prevent_cse=self.unrolled, policy=REMATERIALISE[self.remat])
        count = jax.tree.leaves(params)[0].shape[0]
        return jax.lax.scan(body, layers.shard_batch(x), (jnp.arange(count), params), unroll=self.unrolled)[0]


def keeping(graphdef: Any, params: Any, remat: str, unrolled: bool = False) -> Any:
    """The graphdef of a `T5` or a `Critic` whose layers keep for the backward pass what `remat` says, see `REMATERIALISE`.

    A loop over layers copies what it keeps to stacks, which it first fills with zeros, and back: a fifth of an update of CodeT5-large on
    an H200. Layers that are `unrolled`, written out one by one, do not, but take nine times as long to compile.
    """
    model = nnx.merge(graphdef, params)
    body = model if isinstance(model, T5) else model.body
    body.remat, body.unrolled = remat, unrolled
    return nnx.split(model)[0]


def sequence_logits(
    graphdef: Any,
    params: Any,
    source: Int[Array, "b s"],
    source_mask: Bool[Array, "b s"],
    target: Int[Array, "b t"],
    *,
    dropout: float = 0.0,
    key: Key[Array, ""] | None = None,
) -> Float[Array, "b t v"]:
    """Logits of every target token given the source and the target tokens before it, float32.

    Args:
      graphdef: from `nnx.split` of a `T5`.
      params: its parameters.
      source: token ids.
      source_mask: False at padding.
      target: token ids, not shifted; padding stands at the end, where its logits are to be ignored.
      dropout: rate, applied when `key` is given.
      key: seeds dropout.
    """
    model = nnx.merge(graphdef, params)
    return model.logits(teacher_forced(model, source, source_mask, target, dropout, key))


def teacher_forced(
    model: T5,
    source: Int[Array, "b s"],
    source_mask: Bool[Array, "b s"],
    target: Int[Array, "b t"],
    dropout: float,
    key: Key[Array, ""] | None,
) -> Float[Array, "b t d"]:
    """Decoder states of a target given whole; the state at t has not seen target token t."""
    keys = (None, None) if key is None else jax.random.split(key)
    memory = model.encode(source, source_mask, dropout=dropout, key=keys[0])
    return model.decode(shift_right(target), memory, source_mask, dropout=dropout, key=keys[1])
