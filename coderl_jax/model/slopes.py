"""Functions of a layer whose backward pass is written out, so that it keeps little of the forward one.

What is kept for every layer is most of a training step's memory, and writing and reading it a third of its time on a GPU.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt32


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def rms_normed(x: Float[Array, "*a d"], scale: Float[Array, " d"], epsilon: float) -> Float[Array, "*a d"]:
    """x / rms(x) * scale over the last axis, in x's type: no mean is subtracted, nothing is added. Computed in float32.

    The backward pass keeps x as it is; left to itself JAX would keep two float32 copies, over a third of all that it keeps in bfloat16.
    """
    return _normed(x, scale, epsilon)[0]


def _normed(x: Array, scale: Array, epsilon: float) -> tuple[Array, tuple[Array, Array, Array]]:
    wide = x.astype(jnp.float32)
    rms_inverse = jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + epsilon)
    return (wide * rms_inverse * scale).astype(x.dtype), (x, scale, rms_inverse)


def _normed_slopes(epsilon: float, kept: tuple[Array, Array, Array], slope: Array) -> tuple[Array, Array]:
    """With n = x r, r = 1 / rms(x) and u = slope * scale: that of x is r (u - n mean(u n)), that of the scale the sum of slope * n."""
    x, scale, rms_inverse = kept
    normed, slope = x.astype(jnp.float32) * rms_inverse, slope.astype(jnp.float32)
    scaled = slope * scale
    of_x = rms_inverse * (scaled - normed * jnp.mean(scaled * normed, axis=-1, keepdims=True))
    return of_x.astype(x.dtype), jnp.sum(slope * normed, axis=tuple(range(x.ndim - 1)))


rms_normed.defvjp(_normed, _normed_slopes)


@jax.custom_vjp
def relu(x: Float[Array, "*a"]) -> Float[Array, "*a"]:
    """max(x, 0), whose slope is told by what it returns: left to itself the compiler keeps x for the backward pass as well."""
    return jnp.maximum(x, 0)


def _relu_forward(x: Array) -> tuple[Array, Array]:
    found = jax.lax.optimization_barrier(relu(x))  # without it the compiler would see that x tells the slope too, and keep that
    return found, found


relu.defvjp(_relu_forward, lambda found, slope: (slope * (found > 0),))


@jax.custom_vjp
def softmax(scores: Float[Array, "*a"]) -> Float[Array, "*a"]:
    """softmax over the last axis; what it returns is kept once, though both its own backward pass and the next product's read it."""
    return jax.nn.softmax(scores, axis=-1)


def _softmax_forward(scores: Array) -> tuple[Array, Array]:
    found = softmax(scores)
    return found, found


softmax.defvjp(_softmax_forward, lambda found, slope: (found * (slope - jnp.sum(found * slope, axis=-1, keepdims=True)),))


def computed_again(function: Callable) -> Callable:
    """A function of few steps, of which the backward pass keeps what goes in; left to itself JAX would keep what each step gives."""
    return jax.checkpoint(function, prevent_cse=False)


class Dropout(NamedTuple):
    """Dropout of one forward pass; `NO_DROPOUT` is a pass without.

    Attributes:
      rate: share of entries set to zero; the rest is scaled up by 1 / (1 - rate).
      key: None leaves everything as it is.
    """

    rate: float = 0.0
    key: Key[Array, ""] | None = None

    def at(self, place: int | Int[Array, ""]) -> "Dropout":
        """The dropout of one place in the model: every place draws its own mask."""
        return self if self.key is None else Dropout(self.rate, jax.random.fold_in(self.key, place))

    def __call__(self, x: Float[Array, "*a"]) -> Float[Array, "*a"]:
        """x with entries dropped."""
        if self.key is None or self.rate == 0.0:
            return x
        return _dropped(self.rate, self.key, x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _dropped(rate: float, key: Array, x: Array) -> Array:
    # Products, no `where`: its zeros are the same in every layer, and a loop over layers would be handed them ready made, to read.
    return x * (random_words(key, x.shape) >= np.uint32(rate * 2**32)) * (1 / (1 - rate))


# The backward pass draws the mask again: kept, it would be an eighth of all that is.
_dropped.defvjp(lambda rate, key, x: (_dropped(rate, key, x), key), lambda rate, key, slope: (None, _dropped(rate, key, slope)))


def random_words(key: Key[Array, ""], shape: tuple[int, ...]) -> UInt32[Array, "*a"]:
    """32 random bits for each entry of an array, good enough to drop entries by: a hash of its column and of a word of its row, JAX's own.

    A hash as short as this is made again wherever the bits are needed, while JAX's would be made once and kept: a tenth of a training
    step's memory traffic on a GPU, besides its 20 rounds. It is that of two multiplications whose bits depend on each other least:
    https://github.com/skeeto/hash-prospector; the row's word, added twice, keeps rows apart that overlap.
    """
    *rows, width = shape
    word = jax.random.bits(key, (*rows, 1), jnp.uint32)
    mixed = jnp.arange(width, dtype=jnp.uint32) * np.uint32(0x9E3779B9) + word
    mixed = (mixed ^ (mixed >> 16)) * np.uint32(0x7FEB352D) + word
    return (mixed ^ (mixed >> 15)) * np.uint32(0x846CA68B)


NO_DROPOUT = Dropout()
