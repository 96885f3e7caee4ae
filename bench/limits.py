"""What no program on this device can beat: how fast it copies memory and multiplies matrices, both measured here and now.

Also what a decoding step must read and multiply at least, for the share of the limit that a sampler reaches.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from coderl_jax.config import ModelShape


class Limits(NamedTuple):
    """A device's rates.

    Attributes:
      device: its name.
      copy: bytes a second that a large copy reads and writes, both counted.
      product: operations a second of a large matrix product, a multiplication and an addition each.
    """

    device: str
    copy: float
    product: float

    def seconds(self, bytes_moved: float, operations: float) -> float:
        """The least time for work that moves so many bytes and does so many operations, at best both at once."""
        return max(bytes_moved / self.copy, operations / self.product)


def best_seconds(run: Callable[[], Any], times: int = 5) -> float:
    """The shortest of several runs, which wait for their result, after one that compiles."""
    jax.block_until_ready(run())
    found = []
    for _ in range(times):
        began = time.perf_counter()
        jax.block_until_ready(run())
        found.append(time.perf_counter() - began)
    return min(found)


def measured(dtype: str) -> Limits:
    """The limits of the default device, matrices of `dtype` ("float32", "bfloat16")."""
    device = jax.devices()[0]
    small = device.platform == "cpu"
    numbers = jnp.ones((64 if small else 512, 1024, 1024), jnp.float32)  # larger than any cache
    copy = best_seconds(lambda: jax.jit(lambda x: x + 1)(numbers))
    side = 1024 if small else 8192
    matrix = jnp.ones((side, side), dtype)
    product = best_seconds(lambda: jax.jit(lambda x: x @ x)(matrix))
    return Limits(device.device_kind, 2 * numbers.nbytes / copy, 2 * side**3 / product)


def decoding_work(shape: ModelShape, prompts: int, rows: int, s: int, t: float, item: int) -> tuple[float, float]:
    """(bytes, operations) of one token for each of `rows` programs.

    The decoder's weights are read once, the keys and values of `prompts` sources of `s` tokens once, and those of every program up
    to its present length, `t` on average. Numbers are `item` bytes wide.
    """
    inner = shape.heads * shape.d_kv
    feed = (3 if shape.gated else 2) * shape.d_model * shape.d_ff
    weights = shape.decoder_layers * (6 * shape.d_model * inner + feed) + shape.vocab_size * shape.d_model
    kept = shape.decoder_layers * 2 * inner
    moved = item * (weights + kept * (prompts * s + rows * t))
    return float(moved), float(rows * 2 * (weights + kept * (s + t)))
