"""What a model costs by arithmetic: parameters, operations, memory, hours. A laptop can ask about a pod.

Operations are counted for matrix products (a multiplication and an addition each); all else is small beside them.
"""

import dataclasses
from typing import NamedTuple

from coderl_jax.config import ModelShape
from coderl_jax.files import UserError, shown
from coderl_jax.model.critic import HEAD_WIDTH, OUTCOMES
from coderl_jax.model.tokens import AT_ONCE


class Device(NamedTuple):
    """An accelerator by its maker's data sheet.

    Attributes:
      flops: operations a second in bfloat16, dense.
      wide: share of that in float32: GPUs take TF32 for it, TPUs bfloat16.
      gpu: whether it is one, with cuDNN.
      bandwidth: bytes a second of its memory.
      memory: bytes.
    """

    flops: float
    bandwidth: float
    memory: float
    wide: float = 1.0
    gpu: bool = False


DEVICES = {
    "a100": Device(312e12, 2.0e12, 80e9, 0.5, gpu=True),
    "h100": Device(989e12, 3.35e12, 80e9, 0.5, gpu=True),
    "h200": Device(989e12, 4.8e12, 141e9, 0.5, gpu=True),
    "v4": Device(275e12, 1.2e12, 32e9),
    "v5e": Device(197e12, 0.819e12, 16e9),
    "v5p": Device(459e12, 2.765e12, 95e9),
    "v6e": Device(918e12, 1.64e12, 32e9),
}
UTILISATION = 0.4
"""Share of a device's peak that training is assumed to reach; sampling is assumed to reach it of the memory's rate."""


def device_named(name: str) -> tuple[Device, int]:
    """Device and number of `h100`, `v5e:256` and the like.

    Raises:
      UserError: an unknown device, a number below 1.
    """
    kind, _, count = name.lower().partition(":")
    if kind not in DEVICES or not (count or "1").isdigit() or int(count or 1) < 1:
        raise UserError(f"--estimate: expected one of {', '.join(DEVICES)}, with :N for N of them, got {shown(name)}; change the flag")
    return DEVICES[kind], int(count or 1)


def parameters(shape: ModelShape, critic: bool = False) -> int:
    """Numbers in a T5, or in one with a critic's head besides."""
    d, inner = shape.d_model, shape.heads * shape.d_kv
    attention, feed = 4 * d * inner, (3 if shape.gated else 2) * d * shape.d_ff
    encoder = shape.encoder_layers * (attention + feed + 2 * d)
    decoder = shape.decoder_layers * (2 * attention + feed + 3 * d)
    embedding = shape.vocab_size * d * (1 if shape.tied else 2)
    head = (d + 1) * HEAD_WIDTH + (HEAD_WIDTH + 1) * OUTCOMES if critic else 0
    return embedding + encoder + decoder + 2 * d + 2 * shape.relative_buckets * shape.heads + head


def forward_flops(shape: ModelShape, s: int, t: int) -> tuple[float, float]:
    """Operations of one example with `s` prompt and `t` program tokens: in the layers, and in the output projection."""
    d, inner = shape.d_model, shape.heads * shape.d_kv
    feed = (3 if shape.gated else 2) * d * shape.d_ff
    encoder = 2 * s * (4 * d * inner + feed) + 4 * s * s * inner
    own = 2 * t * (4 * d * inner + feed) + 4 * t * t * inner
    cross = 2 * t * 2 * d * inner + 2 * s * 2 * d * inner + 4 * t * s * inner
    return float(shape.encoder_layers * encoder + shape.decoder_layers * (own + cross)), 2.0 * t * d * shape.vocab_size


REMATS = ("nothing", "products", "layers")
"""What the backward pass computes again, see `model.t5.REMATERIALISE`, from the quickest to the most sparing."""


def training_flops(shape: ModelShape, s: int, t: int, remat: str = "layers") -> float:
    """Operations of an update, an example: backward is twice forward, and layers are computed again for it under "layers".

    What "products" computes again, attention and what is no product, is left out.
    """
    layers, projection = forward_flops(shape, s, t)
    return (4 if remat == "layers" else 3) * layers + 3 * projection


class Memory(NamedTuple):
    """Bytes on one device while training in float32.

    Attributes:
      state: parameters, gradient and the optimizer's two moments.
      activations: what the backward pass keeps, and the widest layer's own.
    """

    state: float
    activations: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.state + self.activations


def training_memory(
    shape: ModelShape,
    rows: int,
    s: int,
    t: int,
    shards: int = 1,
    critic: bool = False,
    remat: str = "layers",
    width: int = 4,
    fused: bool = False,
    copies: int | float = 0,
    lanes: int = 1,
) -> Memory:
    """Memory of a device that holds 1 / `shards` of the parameters and `rows` examples of a batch.

    Beside what `kept_bytes` counts, a layer at a time is computed again, and its gradients, as large, are made. The logits that are made at
    a time exist three times over: themselves, their softmax, their gradient; where that is not all of them, the gradient of their table is
    summed up beside, in two copies. The compiler shares some of that.

    Args:
      shape: of the model.
      rows: examples that a device goes through at a time.
      s: source tokens of each.
      t: target tokens.
      shards: devices that share the parameters.
      critic: a critic's few classes in place of the vocabulary.
      remat: what is computed again, one of `REMATS`.
      width: bytes of a number in the layers: 4 float32, 2 bfloat16.
      fused: attention's scores are never in memory.
      copies: of the parameters, besides parameters, gradient and two moments.
      lanes: numbers of which a head's vector takes a multiple: 128 where a TPU's kernels read them.
    """
    encoder, decoder = kept_bytes(shape, s, t, remat, width, fused, lanes)
    kept = shape.encoder_layers * encoder + shape.decoder_layers * decoder
    again = max(kept_bytes(shape, s, t, "nothing", width, fused, lanes))
    logits, beside = rows * t * (OUTCOMES if critic else shape.vocab_size), 0
    if logits > AT_ONCE:
        logits, beside = AT_ONCE, 2 * shape.vocab_size * shape.d_model
    return Memory((16.0 + 4.0 * copies) * parameters(shape, critic) / shards, rows * (kept + again) + 4.0 * (3 * logits + beside))


def kept_bytes(shape: ModelShape, s: int, t: int, remat: str, width: int, fused: bool, lanes: int = 1) -> tuple[int, int]:
    """What an encoder's and a decoder's layer keep of an example for the backward pass; arguments as in `training_memory`.

    Under "nothing" these are, once each, what goes into a norm and what it gives, queries, keys, values, what attention mixes, what the
    feed-forward part multiplies, and scores as float32 unless they are fused; under "products" what goes into the layer, queries, keys,
    values, and what attention and the first matrices of the feed-forward part give; under "layers" what goes into the layer.
    """
    d, f, inner = shape.d_model, shape.d_ff, shape.heads * (shape.d_kv + -shape.d_kv % lanes)
    if remat == "layers":
        return s * d * width, t * d * width
    if remat == "products":
        wide = 2 * f if shape.gated else f
        return s * (2 * d + 3 * inner + wide) * width, (t * (3 * d + 4 * inner + wide) + s * 2 * inner) * width
    wide, score = (3 * f if shape.gated else f), 0 if fused else 4 * shape.heads
    encoder = s * (4 * d + 4 * inner + wide) * width + score * s * s
    return encoder, (t * (6 * d + 6 * inner + wide) + s * 2 * inner) * width + score * t * (t + s)


def decoding_work(shape: ModelShape, prompts: int | float, rows: int, s: int, t: int | float, width: int) -> tuple[float, float]:
    """(bytes, operations) of one token for each of `rows` programs, at least.

    The decoder's weights are read once, the keys and values of `prompts` sources of `s` tokens once, and those of every program up
    to its present length, `t` on average. Numbers are `width` bytes wide.
    """
    inner = shape.heads * shape.d_kv
    feed = (3 if shape.gated else 2) * shape.d_model * shape.d_ff
    weights = shape.decoder_layers * (6 * shape.d_model * inner + feed) + shape.vocab_size * shape.d_model
    kept = shape.decoder_layers * 2 * inner
    moved = width * (weights + kept * (prompts * s + rows * t))
    return float(moved), float(rows * 2 * (weights + kept * (s + t)))


def slot_bytes(shape: ModelShape, s: int, t: int, sharing: int, width: int) -> int:
    """Bytes of the keys and values that one program needs while it is drawn: its own `t` tokens', and its share of a source of `s` tokens,
    which `sharing` programs read. Numbers are `width` bytes wide."""
    return -(-shape.decoder_layers * 2 * shape.heads * shape.d_kv * width * (s + sharing * t) // sharing)


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a run takes.

    Attributes:
      tokens: that are trained on, padding included.
      flops: of all updates and sampled programs.
      device_hours: on all devices together.
      memory: of the fullest device.
      programs: sampled and judged.
      judge_seconds: of one process.
    """

    tokens: float
    flops: float
    device_hours: float
    memory: Memory
    programs: int = 0
    judge_seconds: float = 0.0
