"""Which program stands in which slot: plain bookkeeping on the host, no model and no device.

Slots stand in rows; the slots of a row write programs for one prompt. A slot whose program has ended takes the next one of
its prompt; a row whose prompt has none left takes, once all its slots have ended, the next prompt, or helps with one that
still has many.
"""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from coderl_jax.rollout.decode import NEXT, NOTHING, OWN

ROUNDS = 32  # programs that a slot should write for one prompt: while a row's last ones end, its other slots are idle
FEWEST = 4  # slots of a row at least: they share the prompt's keys and values
NOBODY = -1


def slots_in_rows(counts: Sequence[int], slots: int, parts: int) -> tuple[int, int]:
    """(rows, slots of a row) for so many programs of each prompt.

    Few programs are all started at once, a prompt's in one row. Of more than there are slots, rows are narrower than a prompt
    has programs, so that its slots are started again and again.

    Args:
      counts: programs of each prompt.
      slots: at most, except that every part has at least one row.
      parts: devices that share the rows; each gets as many.
    """
    widest = max(counts)
    columns = widest if sum(counts) <= slots else max(-(-widest // ROUNDS), min(widest, FEWEST))
    columns = min(columns, max(1, slots // parts))
    return parts * max(1, slots // columns // parts), columns


class Start(NamedTuple):
    """A program to be started: the `index`-th of prompt number `prompt`, in a slot."""

    row: int
    column: int
    prompt: int
    index: int


class Schedule:
    """Hands programs to slots. Prompts are taken in their order, a prompt's programs too.

    Attributes:
      prompt: that each row works on; -1: none.
      index: of the program in each slot among its prompt's, int [p, n]; -1: none.
    """

    def __init__(self, counts: Sequence[int], rows: int, columns: int):
        """All slots empty, `counts[i]` programs of prompt i waiting."""
        self._counts = list(counts)
        self._started = [0] * len(self._counts)
        self._untouched = deque(i for i, count in enumerate(counts) if count)
        self.prompt = [NOBODY] * rows
        self.index: Int[np.ndarray, "p n"] = np.full((rows, columns), NOBODY)

    @property
    def idle(self) -> Bool[np.ndarray, "p n"]:
        """Slots without a program."""
        return self.index == NOBODY

    def left(self, prompt: int) -> int:
        """Programs of a prompt that have not been started."""
        return self._counts[prompt] - self._started[prompt]

    def ended(self, row: int, column: int) -> tuple[int, int]:
        """Empty a slot; (prompt, index) of the program that stood in it."""
        found = self.prompt[row], int(self.index[row, column])
        self.index[row, column] = NOBODY
        return found

    def refill(self) -> tuple[list[tuple[int, int]], list[Start]]:
        """Give waiting programs to empty slots: ([(row, prompt)] of rows whose prompt is new, programs to start)."""
        loads, starts = [], []
        for row in np.flatnonzero(self.idle.any(axis=1)).tolist():
            if self.prompt[row] == NOBODY or (self.left(self.prompt[row]) == 0 and self.idle[row].all()):
                prompt = self._next_prompt()
                if prompt is None:
                    continue
                self.prompt[row] = prompt
                loads.append((row, prompt))
            starts += self._fill(row)
        return loads, starts

    def waiting(self) -> Int[np.ndarray, " p"]:
        """What waits for each row: see `rollout.decode`."""
        others = NEXT if self._peek() is not None else NOTHING
        return np.array([OWN if prompt != NOBODY and self.left(prompt) else others for prompt in self.prompt], np.int32)

    def _fill(self, row: int) -> list[Start]:
        prompt = self.prompt[row]
        starts = []
        for column in np.flatnonzero(self.idle[row])[: self.left(prompt)]:
            start = Start(row, int(column), prompt, self._started[prompt])
            self.index[row, column] = start.index
            self._started[prompt] += 1
            starts.append(start)
        return starts

    def _peek(self) -> int | None:
        """The next prompt for an empty row: one that nobody works on, else the one with most programs left, if they fill a row."""
        if self._untouched:
            return self._untouched[0]
        working = set(self.prompt) - {NOBODY}
        most = max(working, key=self.left, default=None)
        return most if most is not None and self.left(most) >= self.index.shape[1] else None

    def _next_prompt(self) -> int | None:
        return self._untouched.popleft() if self._untouched else self._peek()
