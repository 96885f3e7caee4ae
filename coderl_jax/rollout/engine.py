"""What a sampler keeps on the device: the decoder's weights, the sources' keys and values, the programs' so far.

Few programs are compiled: one that makes the weights ready, one a padded prompt length that encodes, and one for each pair
of a prompt length and a cache length that decodes.
"""

import dataclasses
import functools
import zlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, UInt

from coderl_jax.config import ModelShape, Sampling
from coderl_jax.model.decoding import Cache, Decoder, decode_step, empty_cache, placed, ready, resized, source_cache
from coderl_jax.model.layers import LANES, rows_split, takes_cuda_decoding, takes_tpu_decoding
from coderl_jax.model.mesh import current_mesh, spread
from coderl_jax.rollout.decode import Slots, Stretch, Work, decode, row_keys
from coderl_jax.rollout.slots import Table

STRETCH = 64  # steps after which the host has a look, at the latest
CACHE_STEP = 64  # a cache's lengths are multiples of it; where a step reads but what is written, of
KERNEL_CACHE_STEP = 256  # this: fewer programs to compile
ENCODED = 1024  # tokens of prompts that a device encodes together, about
SHARE = 16  # the host has a look when one slot in so many could start another program


def padded_length(length: int) -> int:
    """The compiled length that holds `length` tokens: multiples of 64, of 128 from 512 on. Every length compiled costs seconds."""
    step = 64 if length <= 512 else 128
    return -(-length // step) * step


class Compiled:
    """The functions that run on the device, for one actor and one way to draw."""

    @classmethod
    def of(cls, graphdef: Any, shape: ModelShape, vocabulary: int, end_id: int, sampling: Sampling) -> "Compiled":
        """The same for all who ask alike: one process traces and compiles them once."""
        unread = {name: getattr(Sampling(), name) for name in ("num_samples", "temperature", "rows_per_batch")}
        return _compiled(graphdef, shape, vocabulary, end_id, dataclasses.replace(sampling, **unread))

    def __init__(self, graphdef: Any, shape: ModelShape, vocabulary: int, end_id: int, sampling: Sampling):
        """Nothing is compiled before it is called."""
        self._int8 = sampling.sampling_cache == "int8"
        self.shape = shape
        self.ready = jax.jit(lambda params: ready(nnx.merge(graphdef, params), vocabulary, sampling.sampling_weights == "int8"))
        self.load = jax.jit(functools.partial(load_prompts, graphdef, int8=self._int8), donate_argnums=1)
        drawing = {"top_k": sampling.top_k, "top_p": sampling.top_p, "end_id": end_id}
        self.decode = jax.jit(functools.partial(decode_stretch, shape, **drawing), donate_argnums=1)

    def empty(self, rows: tuple[int, ...], length: int, dtype: Any) -> Cache:
        """See `empty_cache`."""
        return empty(self.shape, rows, length, dtype, self._int8)


_compiled = functools.cache(Compiled)


def load_prompts(
    graphdef: Any,
    params: Any,
    cross: Cache,
    source: Int[Array, "e s"],
    source_mask: Bool[Array, "e s"],
    rows: Int[Array, "k per"],
    *,
    int8: bool = False,
) -> Cache:
    """The sources' cache with e prompts encoded into its `rows`, see `model.decoding.placed`."""
    return placed(cross, source_cache(nnx.merge(graphdef, params), source, source_mask, int8), rows)


def decode_stretch(
    shape: ModelShape,
    decoder: Decoder,
    cache: Cache,
    cross: Cache,
    source_mask: Bool[Array, "p s"],
    slots: Slots,
    problem: UInt[Array, " p"],
    sample: UInt[Array, "p n"],
    temperature: Float[Array, "p n"],
    forced: Int[Array, "p n c"],
    waiting: Int[Array, " p"],
    numbers: UInt[Array, " 4"],
    *,
    top_k: int,
    top_p: float,
    end_id: int,
) -> tuple[Stretch, Cache]:
    """`decode` with the model as its step. `numbers` are the seed, and `Work`'s `enough`, `steps` and `limit`."""

    def step(tokens, position, kept):
        return decode_step(shape, decoder, tokens, position, kept, cross, source_mask)

    seed, (enough, steps, limit) = numbers[0], numbers[1:].astype(jnp.int32)
    keys = row_keys(jax.random.key(seed), problem, sample)
    work = Work(keys, temperature, forced, waiting, enough, steps, limit)
    return decode(step, cache, slots, work, top_k=top_k, top_p=top_p, end_id=end_id)


empty = jax.jit(empty_cache, static_argnums=(0, 1, 2, 3, 4))
_resized = jax.jit(resized, static_argnums=(1, 2))


class Engine:
    """Slots at work, and what the device keeps for them.

    Attributes:
      table: the slots.
    """

    def __init__(self, compiled: Compiled, params: Any, rows: int, columns: int, limit: int, pad_id: int, seed: int):
        """All slots done.

        Args:
          compiled: what runs on the device.
          params: the actor's.
          rows: of slots; a multiple of the devices that share them.
          columns: slots of a row.
          limit: tokens of a program at most.
          pad_id: what pads prompts, and what the decoder reads first.
          seed: of the random numbers.
        """
        self.table = Table(rows, columns, limit, pad_id)
        self._compiled, self._params = compiled, params
        self._decoder = compiled.ready(params)
        dtype, heads, width = self._decoder.embedding.dtype, compiled.shape.heads, compiled.shape.d_kv
        on_tpu = takes_tpu_decoding(dtype, heads, width)
        self._cache_step = KERNEL_CACHE_STEP if on_tpu or takes_cuda_decoding(dtype, width) else CACHE_STEP
        self._room = -(-limit // LANES) * LANES if on_tpu else limit  # of the longest cache
        self._limit, self._pad_id, self._seed = limit, pad_id, seed & 0xFFFFFFFF
        self._prompts: list[tuple[int, ...]] = [()] * rows
        self._free = spread(self.table.forced(STRETCH))
        self._cache: Cache | None = None
        self._cross: Cache | None = None
        self._source_mask: Any = None

    def load(self, rows: Sequence[int], ids: Sequence[str], prompts: Sequence[tuple[int, ...]]) -> None:
        """Give rows other prompts, of the problems with these ids."""
        if not rows:
            return
        for row, name, prompt in zip(rows, ids, prompts, strict=True):
            self._prompts[row] = prompt
            self.table.problem[row] = zlib.crc32(name.encode())
        width = padded_length(max(1, *map(len, self._prompts)))
        self._cross = self._fitted(self._cross, (len(self._prompts),), width)
        self._source_mask = spread(self._padded(self._prompts, self._cross.length)[1])  # the cache may have been left longer
        parts = rows_split(current_mesh())
        each = len(self._prompts) // parts  # rows of a device
        together = max(1, min(each, ENCODED // width))
        queues = [[i for i, row in enumerate(rows) if row // each == part] for part in range(parts)]
        for start in range(0, max(map(len, queues)), together):
            places = np.full((parts, together), each, np.int32)
            chosen: list[tuple[int, ...]] = [()] * (parts * together)
            for part, queue in enumerate(queues):
                for place, i in enumerate(queue[start : start + together]):
                    places[part, place] = rows[i] % each
                    chosen[part * together + place] = prompts[i]
            self._cross = self._compiled.load(self._params, self._cross, *spread((*self._padded(chosen, width), places)))

    def run(self, waiting: Int[np.ndarray, " p"]) -> list[tuple[int, int]]:
        """Run a stretch; (row, column) of the programs that it ended. `waiting` is of `decode.Work`."""
        table = self.table
        longest = table.longest()
        length = min(-(-(longest + 1) // self._cache_step) * self._cache_step, self._room)
        self._cache = self._fitted(self._cache, table.done.shape, length)
        enough = max(1, table.done.size // SHARE)
        steps = min(STRETCH, length - longest)
        forced = spread(table.forced(STRETCH)) if table.has_prefixes else self._free
        arrays = spread((table.slots, table.problem, table.sample, table.temperature))
        numbers = np.array([self._seed, enough, steps, self._limit], np.uint32)
        stretch, self._cache = self._compiled.decode(
            self._decoder, self._cache, self._cross, self._source_mask, *arrays, forced, spread(waiting), numbers
        )
        return table.add(jax.device_get(stretch))

    def _padded(self, prompts: Sequence[tuple[int, ...]], width: int) -> tuple[Int[np.ndarray, "e s"], Bool[np.ndarray, "e s"]]:
        source = np.full((len(prompts), width), self._pad_id, np.int32)
        mask = np.zeros(source.shape, bool)
        mask[:, 0] = True  # an empty row still attends somewhere
        for row, prompt in enumerate(prompts):
            source[row, : len(prompt)] = prompt
            mask[row, : len(prompt)] = True
        return source, mask

    def _fitted(self, cache: Cache | None, rows: tuple[int, ...], length: int) -> Cache:
        """A cache of at least this length, empty where there is none. A much longer one is cut; a little longer, it is left."""
        if cache is None:
            return self._compiled.empty(rows, length, self._decoder.embedding.dtype)
        if cache.length // 2 < length <= cache.length:
            return cache
        leaves, structure = jax.tree.flatten(cache)
        for i in range(len(leaves)):  # one by one, each old one let go: two whole caches may not fit
            leaves[i] = _resized(leaves[i], len(rows), length)
        return jax.tree.unflatten(structure, leaves)
