"""The slots of a batch as the host keeps them: what each is to write, and what it has written so far. NumPy only."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt

from coderl_jax.rollout.decode import Slots, Stretch

FREE = -1  # in place of a forced token


class Table:
    """Programs under way. Arrays are [p, n] unless said otherwise.

    Attributes:
      position: tokens written.
      done: nothing is being written.
      problem: a number for each row's problem, uint32 [p].
      sample: index of the program among its problem's.
      temperature: float32.
      steps: slots times steps run so far.
      written: tokens written so far, by all programs.
    """

    def __init__(self, rows: int, columns: int, limit: int, start_id: int):
        """All slots done.

        Args:
          rows: p.
          columns: n.
          limit: tokens of a program at most.
          start_id: what the decoder reads first.
        """
        self._start_id, self._limit = start_id, limit
        shape = (rows, columns)
        self._last: Int[np.ndarray, "p n"] = np.full(shape, start_id, np.int32)
        self.position: Int[np.ndarray, "p n"] = np.zeros(shape, np.int32)
        self.done: Bool[np.ndarray, "p n"] = np.ones(shape, bool)
        self.problem: UInt[np.ndarray, " p"] = np.zeros(rows, np.uint32)
        self.sample: UInt[np.ndarray, "p n"] = np.zeros(shape, np.uint32)
        self.temperature: Float[np.ndarray, "p n"] = np.ones(shape, np.float32)
        self._prefix: dict[tuple[int, int], tuple[int, ...]] = {}
        self._tokens: Int[np.ndarray, "p n t"] = np.zeros((*shape, limit), np.int32)
        self._logprobs: Float[np.ndarray, "p n t"] = np.zeros((*shape, limit), np.float32)
        self.steps = self.written = 0

    def begin(self, row: int, column: int, sample: int, temperature: float, prefix: tuple[int, ...]) -> None:
        """A new program in a slot."""
        self._last[row, column], self.position[row, column], self.done[row, column] = self._start_id, 0, False
        self.sample[row, column], self.temperature[row, column] = sample, temperature
        self._prefix.pop((row, column), None)
        if prefix:
            self._prefix[row, column] = prefix[: self._limit]

    @property
    def slots(self) -> Slots:
        """Where every slot is, for the device."""
        return Slots(self._last, self.position, self.done)

    @property
    def has_prefixes(self) -> bool:
        """Whether any program may still be forced."""
        return bool(self._prefix)

    def longest(self) -> int:
        """Tokens of the longest program under way."""
        return int(self.position[~self.done].max(initial=0))

    def forced(self, steps: int) -> Int[np.ndarray, "p n c"]:
        """The tokens that prefixes force in the next steps."""
        forced = np.full((*self.done.shape, steps), FREE, np.int32)
        for row, column in list(self._prefix):
            rest = self._prefix[row, column][self.position[row, column] :][:steps]
            forced[row, column, : len(rest)] = rest
            if not rest:
                del self._prefix[row, column]
        return forced

    def add(self, stretch: Any) -> list[tuple[int, int]]:
        """Take in a `Stretch`, its arrays on the host; (row, column) of the programs that it ended."""
        stretch = Stretch(*stretch)
        count = stretch.slots.position - self.position
        steps = np.arange(stretch.tokens.shape[2])
        where = np.nonzero(steps < count[:, :, None])
        at = where[0], where[1], self.position[where[0], where[1]] + where[2]
        self._tokens[at] = stretch.tokens[where]
        self._logprobs[at] = stretch.logprobs[where]
        self.steps += int(stretch.steps) * self.done.size
        self.written += int(count.sum())
        ended = np.argwhere(stretch.slots.done & ~self.done)
        self._last, self.position, self.done = (np.array(array) for array in stretch.slots)
        return [(int(row), int(column)) for row, column in ended]

    def program(self, row: int, column: int) -> tuple[tuple[int, ...], float]:
        """(token ids, their log-probability) of what a slot has written."""
        length = self.position[row, column]
        ids = tuple(self._tokens[row, column, :length].tolist())
        return ids, float(np.sum(self._logprobs[row, column, :length], dtype=np.float64))
