"""Programs of earlier rounds, gone through again with each new round's (RLTF's online buffer)."""

import dataclasses
import pathlib
import sys
from collections.abc import Sequence

import numpy as np

from coderl_jax import hosts
from coderl_jax.data.batches import of_length
from coderl_jax.files import replacing
from coderl_jax.learner.fit import kept
from coderl_jax.types import Rollout


class Replay:
    """The rounds that are kept. Each is a file of the run folder, so that a resumed run has the same ones."""

    def __init__(self, folder: pathlib.Path, rounds: int):
        """Nothing yet.

        Args:
          folder: for the files.
          rounds: kept besides the newest.
        """
        self._folder, self._rounds = folder, rounds
        self._kept: dict[int, Rollout] = {}

    def joined(self, at: int, rollout: Rollout) -> Rollout:
        """The programs of round `at` and of those kept; then keep the round."""
        parts = [rollout, *(self._kept[number] for number in sorted(self._kept, reverse=True))]
        kept(lambda: self._keep(at, rollout))
        return together(parts)

    def load(self, at: int) -> None:
        """The rounds that were kept when round `at` was over."""
        self._kept = {}
        for number in range(max(1, at - self._rounds + 1), at + 1):
            if not self._path(number).exists():  # there was no room for it
                print(
                    f"{self._path(number)}: replay: expected the programs of round {number}, got none; going on without them",
                    file=sys.stderr,
                )
                continue
            with np.load(self._path(number)) as arrays:
                self._kept[number] = Rollout(**arrays)

    def forget(self, saved: int) -> None:
        """Delete the files that a run resumed from round `saved` would not read."""
        for path in self._folder.glob("*.npz") if hosts.is_first() else ():
            if int(path.stem) <= saved - self._rounds:
                path.unlink()

    def _path(self, number: int) -> pathlib.Path:
        return self._folder / f"{number}.npz"

    def _keep(self, at: int, rollout: Rollout) -> None:
        self._kept = {number: old for number, old in self._kept.items() if number > at - self._rounds} | {at: rollout}
        if not hosts.is_first():
            return
        arrays = {field.name: getattr(rollout, field.name) for field in dataclasses.fields(rollout)}
        with replacing(self._path(at)) as temporary, temporary.open("wb") as file:
            np.savez(file, **{name: array for name, array in arrays.items() if array is not None})


def corrected(rollout: Rollout, logprobs: np.ndarray, clip: float) -> Rollout:
    """The rollout, its tokens weighted by how likely they still are.

    weight = min(clip, p(w_t) / p_sampled(w_t))        truncated importance sampling (Ionides 2008; Espeholt et al. 2018, section 4.1)

    Args:
      rollout: with `behaviour`, log p_sampled.
      logprobs: log p of its tokens, float32 [b, t].
      clip: the largest weight.
    """
    apart = np.where(rollout.target_mask, logprobs - rollout.behaviour, 0.0)
    return dataclasses.replace(rollout, weight=np.minimum(np.exp(apart), clip).astype(np.float32))


def together(rollouts: Sequence[Rollout]) -> Rollout:
    """Rollouts of the same parts as one, padded to the longest."""
    s, t = (max(getattr(rollout, name).shape[1] for rollout in rollouts) for name in ("source", "target"))

    def part(name: str) -> np.ndarray | None:
        arrays = [getattr(rollout, name) for rollout in rollouts]
        if arrays[0] is None:
            return None
        width = s if name.startswith("source") else t
        return np.concatenate([array if array.ndim == 1 else of_length(array, width) for array in arrays])

    return Rollout(**{field.name: part(field.name) for field in dataclasses.fields(Rollout)})
