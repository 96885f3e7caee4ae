"""Examples become training batches of few shapes, in an order that depends on the seed alone.

Every new array shape costs a compilation, every padded token costs time: examples are dealt into a handful of buckets whose
shapes fit the data. The order is a pure function of (seed, batch number), so the position of a stream is one number.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Int32

from coderl_jax.config import Lengths
from coderl_jax.data.tokenizer import EOS
from coderl_jax.files import UserError

_MULTIPLE = 16  # lengths are rounded up to it: fast attention kernels want even shapes
_CUTS = 20  # candidate boundaries between buckets: every 5% of the examples
_LENGTHS_AN_AXIS = 6
_NEAR = 1.05
_BATCHES_A_SHAPE = 2  # an epoch: what does not fill a batch of its own shape is padded to a larger one


@dataclasses.dataclass(frozen=True)
class Example:
    """A prompt and the program to write for it, as ids."""

    source: list[int]
    target: list[int]


@dataclasses.dataclass(frozen=True)
class Batch:
    """Examples as right-padded arrays; a mask is True at real tokens. `index` says which examples these are."""

    source: Int32[np.ndarray, "b s"]
    source_mask: Bool[np.ndarray, "b s"]
    target: Int32[np.ndarray, "b t"]
    target_mask: Bool[np.ndarray, "b t"]
    index: Int32[np.ndarray, " b"]


def pad_to(
    rows: Sequence[Sequence[int]], length: int, pad: int = 0
) -> tuple[Int32[np.ndarray, "b {length}"], Bool[np.ndarray, "b {length}"]]:
    """Rows of ids, right-padded to `length` tokens, and the mask that is True at their own tokens.

    Raises:
      ValueError: a row is longer than `length`.
    """
    ids = np.full((len(rows), length), pad, np.int32)
    mask = np.zeros((len(rows), length), bool)
    for i, row in enumerate(rows):
        if len(row) > length:
            raise ValueError(f"row {i} has {len(row)} tokens, more than {length}")
        ids[i, : len(row)] = row
        mask[i, : len(row)] = True
    return ids, mask


def upstream_padding(
    source: Int32[np.ndarray, "b s"], source_mask: Bool[np.ndarray, "b s"], target: Int32[np.ndarray, "b t"], lengths: Lengths
) -> tuple[Int32[np.ndarray, "b {lengths.max_prompt_tokens}"], Int32[np.ndarray, "b {lengths.max_new_tokens}"]]:
    """Prompts and programs as the released models read them: padded to their full length, prompts with `</s>` that no mask hides."""
    prompts = of_length(np.where(source_mask, source, EOS), lengths.max_prompt_tokens, EOS)
    return prompts, of_length(target, lengths.max_new_tokens)


def of_length(rows: np.ndarray, length: int, fill: int = 0) -> np.ndarray:
    """Rows [b t] cut or filled up on the right to [b length]; the type stays."""
    result = np.full((len(rows), length), fill, rows.dtype)
    kept = rows[:, :length]
    result[:, : kept.shape[1]] = kept
    return result


def bucket_lengths(lengths: Sequence[int], buckets: int) -> list[int]:
    """At most `buckets` padded lengths, ascending multiples of 16, the last of which holds every one of `lengths` (one or more).

    They lie where the padding they cost together is least, of the choices that put a multiple of 5% of the rows into each.
    """
    ordered = np.sort(-(-np.maximum(np.asarray(lengths, np.int64), 1) // _MULTIPLE) * _MULTIPLE).tolist()
    ends = sorted({-(-len(ordered) * cut // _CUTS) for cut in range(1, _CUTS + 1)})

    # The first `end` rows in so many buckets: the least tokens that takes, and the lengths. One bucket more at a time.
    found, best = {0: (0, ())}, []
    for _ in range(min(buckets, len(ends))):
        found = {
            end: min((tokens + ordered[end - 1] * (end - start), (*chosen, ordered[end - 1])) for start, (tokens, chosen) in before)
            for end in ends
            if (before := [(start, kept) for start, kept in found.items() if start < end])
        }
        best.append(found[ends[-1]])
    return sorted(set(min(best)[1]))


def bucket_shapes(sizes: Int[np.ndarray, "n 2"], most: int) -> list[tuple[int, int]]:
    """At most `most` shapes for examples of so many source and target tokens, by their sum; the last holds all.

    Every shape is compiled for, so they are few: of all that can be made of six source and six target lengths (`bucket_lengths`), those
    that are missed least are left out, as long as there are too many or the padding stays within 5% of what it is with all.
    """
    lengths = [bucket_lengths(sizes[:, axis].tolist(), _LENGTHS_AN_AXIS) for axis in (0, 1)]
    places = [np.array(lengths[axis])[np.searchsorted(lengths[axis], sizes[:, axis])] for axis in (0, 1)]
    own, examples = np.unique(np.stack(places, axis=1), axis=0, return_counts=True)
    shapes = sorted({*map(tuple, own.tolist()), (lengths[0][-1], lengths[1][-1])}, key=lambda shape: (sum(shape), shape))

    def padded_tokens(shapes: list[tuple[int, int]]) -> int:
        return int((np.array(shapes).sum(axis=1)[smallest_shapes(own, shapes)] * examples).sum())

    least = padded_tokens(shapes)
    while len(shapes) > 1:
        fewer = min(([*shapes[:i], *shapes[i + 1 :]] for i in range(len(shapes) - 1)), key=padded_tokens)
        if len(shapes) <= most and padded_tokens(fewer) > _NEAR * least:
            break
        shapes = fewer
    return shapes


def smallest_shapes(sizes: Int[np.ndarray, "n 2"], shapes: Sequence[tuple[int, int]]) -> Int[np.ndarray, " n"]:
    """Which of `shapes`, which stand in the order of their sums, is the first that holds each example."""
    return (sizes[:, None, :] <= np.array(shapes)[None]).all(axis=-1).argmax(axis=1)


class Stream:
    """Endless batches with a position, which a checkpoint keeps. `_next` is the number of the batch that comes next.

    Attributes:
      examples: of one pass over the data.
      batch_size: examples a batch.
      shares: padded source and target tokens of each shape, and the share of the examples that have it.
      rows: which rows of every batch this host reads; None: all. The batches are the same whatever the number of hosts.
    """

    shares: list[tuple[int, int, float]]
    rows: np.ndarray | None = None

    def __init__(self, examples: int, batch_size: int, seed: int):
        """At the beginning. Another stream must share all three to go on from this one's position."""
        self.examples, self.batch_size = examples, batch_size
        self._identity = {"examples": examples, "batch_size": batch_size, "seed": seed}
        self._next = 0

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """The position, JSON-able: a stream of the same data, batch size and seed goes on from it with `restore`."""
        return {"batches": self._next, **self._identity}

    def restore(self, state: dict[str, Any]) -> None:
        """Go to a position that `state` gave.

        Raises:
          UserError: it belongs to other data, another batch size or another seed.
        """
        for name, now in self._identity.items():
            if state.get(name) != now:
                raise UserError(f"{name}: expected {state.get(name)} as when the run was stopped, got {now}; repeat the same command")
        self._next = state["batches"]


class BatchStream(Stream):
    """Endless training batches; every one has exactly `batch_size` real examples and one of few shapes.

    The examples are shuffled anew every epoch, and epoch follows epoch without a gap. An epoch's batches are cut from that sequence:
    its last examples, fewer than a batch, open the next epoch. So after any number of epochs an example has been seen as often as
    every other, except that fewer than `batch_size` are one behind. Within an epoch, what does not fill a batch of its own
    bucket joins the next one that holds it, and batches of all shapes come in random order.
    """

    def __init__(self, examples: Sequence[Example], batch_size: int, seed: int, buckets: int = 8):
        """Plan the shapes, at most `buckets`, fewer for few examples; nothing is padded before it is asked for.

        Raises:
          UserError: no examples.
        """
        if not examples:
            raise UserError("examples: expected one or more, got none; give problems with solutions or programs")
        super().__init__(len(examples), batch_size, seed)
        self._examples = examples
        self._seed = seed
        known = getattr(examples, "lengths", None)  # of prepared ones, which need not be read for it
        self._sizes = np.array([(len(example.source), len(example.target)) for example in examples]) if known is None else known
        self.shapes = bucket_shapes(self._sizes, max(1, min(buckets, len(examples) // (_BATCHES_A_SHAPE * batch_size))))
        self._bucket = smallest_shapes(self._sizes, self.shapes)
        dealt = np.bincount(self._bucket, minlength=len(self.shapes)) / len(examples)
        self.shares = [(*shape, float(share)) for shape, share in zip(self.shapes, dealt, strict=True)]
        self._plan: tuple[int, list[tuple[int, np.ndarray]]] | None = None

    def __next__(self) -> Batch:
        bucket, index = self._planned(self._next)
        self._next += 1
        index = index if self.rows is None else index[self.rows]
        length_s, length_t = self.shapes[bucket]
        examples = [self._examples[i] for i in index.tolist()]
        source, source_mask = pad_to([example.source for example in examples], length_s)
        target, target_mask = pad_to([example.target for example in examples], length_t)
        return Batch(source, source_mask, target, target_mask, index.astype(np.int32))

    def _planned(self, number: int) -> tuple[int, np.ndarray]:
        """Bucket and examples of a batch. Epoch e holds the batches from floor(e * n / b) to floor((e + 1) * n / b)."""
        n, b = len(self._examples), self.batch_size
        epoch = -(-(number + 1) * b // n) - 1
        if self._plan is None or self._plan[0] != epoch:
            self._plan = epoch, self._plan_epoch(epoch)
        return self._plan[1][number - epoch * n // b]

    def _plan_epoch(self, epoch: int) -> list[tuple[int, np.ndarray]]:
        n, b = len(self._examples), self.batch_size
        start, end = epoch * n // b * b, (epoch + 1) * n // b * b
        passes = range(start // n, -(-end // n))
        sequence = np.concatenate([np.random.default_rng([self._seed, 0, p]).permutation(n) for p in passes])
        window = sequence[start - start // n * n :][: end - start]
        batches = []
        waiting = [window[:0] for _ in self.shapes]
        for bucket, shape in enumerate(self.shapes):
            rows = np.concatenate([waiting[bucket], window[self._bucket[window] == bucket]])
            full = len(rows) // b * b
            batches += [(bucket, rows[i : i + b]) for i in range(0, full, b)]
            if full < len(rows):  # there is a larger shape: all rows of the window fill whole batches
                larger = bucket + 1 + int(smallest_shapes(np.array([shape]), self.shapes[bucket + 1 :])[0])
                waiting[larger] = np.concatenate([waiting[larger], rows[full:]])
        order = np.random.default_rng([self._seed, 1, epoch]).permutation(len(batches))
        return [batches[i] for i in order]
