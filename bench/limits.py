"""What no program on this device can beat: how fast it copies memory and multiplies matrices, both measured here and now."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


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


def best_seconds(run: Callable[[], Any], least: float = 1.0) -> float:
    """The shortest of five runs or more, of `least` seconds together, which wait for their result, after one that compiles."""
    jax.block_until_ready(run())
    found: list[float] = []
    while len(found) < 5 or sum(found) < least:
        began = time.perf_counter()
        jax.block_until_ready(run())
        found.append(time.perf_counter() - began)
    return min(found)


def measured(dtype: str) -> Limits:
    """The limits of the default device, matrices of `dtype` ("float32", "bfloat16")."""
    device = jax.devices()[0]
    small = device.platform == "cpu"
    numbers = jnp.ones((64 if small else 512, 1024, 1024), jnp.float32)  # larger than any cache
    add = jax.jit(lambda x: x + 1)
    copy = best_seconds(lambda: add(numbers))
    product, multiply = 0.0, jax.jit(lambda x: x @ x)
    for side in (1024, 2048) if small else (8192,):  # a CPU's caches are faster with one, its threads with the other
        matrix = jax.random.normal(jax.random.key(0), (side, side), dtype)  # of ones a GPU draws less power and runs faster
        product = max(product, 2 * side**3 / best_seconds(lambda matrix=matrix: multiply(matrix)))
    return Limits(device.device_kind, 2 * numbers.nbytes / copy, product)
