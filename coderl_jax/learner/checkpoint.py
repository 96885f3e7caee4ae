"""Checkpoints of a run, and stopping in time to write one."""

import copy
import logging
import os
import pathlib
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
from jax.experimental import multihost_utils
from orbax.checkpoint import v1 as ocp

from coderl_jax import hosts
from coderl_jax.files import UserError


class Checkpoints:
    """The last checkpoints of a run: arrays by orbax, and a small JSON value (data position, best result) beside them.

    Saving is asynchronous; a process killed while saving leaves the one before as the latest. So does a store that is full or cannot be
    written: that is said, and the run goes on.
    """

    def __init__(self, folder: pathlib.Path, keep: int = 2):
        logging.getLogger("absl").setLevel(logging.CRITICAL)  # orbax prints pages about a failed save; `_failed` says it in one line
        self._checkpointer = ocp.training.Checkpointer(
            folder.absolute(),
            preservation_policy=ocp.training.preservation_policies.LatestN(keep),
            cleanup_tmp_directories=True,
        )

    @property
    def latest(self) -> int | None:
        """The step of the latest checkpoint, whole once `wait` was called; None: there is none."""
        return None if self._checkpointer.latest is None else self._checkpointer.latest.step

    def save(self, step: int, state: Any, extra: dict[str, Any]) -> None:
        """Save `state` (a tree of arrays) and `extra` (JSON) as checkpoint `step`, after the one under way.

        Both as they are now: they may change as soon as this returns.
        """
        self.wait()
        try:
            self._checkpointer.save_async(step, state, custom_metadata=copy.deepcopy(extra), force=True, overwrite=True)
        except (OSError, ValueError) as error:
            self._failed(error)

    def wait(self) -> None:
        """Wait for the save under way."""
        try:
            self._checkpointer.wait()
        except (OSError, ValueError) as error:  # tensorstore has nothing finer
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        folder, kept = self._checkpointer.directory, "there is no earlier one" if self.latest is None else f"{self.latest} is kept"
        why = " ".join(str(error).split())[-160:]
        print(f"{folder}: checkpoint: expected a store to write to, got ...{why}; training goes on, {kept}; make room", file=sys.stderr)
        for _ in range(20 if hosts.is_first() else 0):  # a full disk needs the room; threads of the failed save may still write
            halves = list(pathlib.Path(folder).glob("*.orbax-checkpoint-tmp"))
            for half in halves:
                shutil.rmtree(half, ignore_errors=True)
            if not halves:
                break
            time.sleep(0.1)

    def restore(self, like: Any, step: int | None = None) -> tuple[Any, dict[str, Any]] | None:
        """The state of a step, or the latest, placed and typed as `like`, with its extra; None where there is none.

        Raises:
          UserError: the checkpoint holds another model or optimizer.
        """
        self.wait()
        there = self._checkpointer.checkpoints
        found = self._checkpointer.latest if step is None else next((each for each in there if each.step == step), None)
        if found is None:
            return None
        abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), like)
        try:
            state = self._checkpointer.load(found, abstract)
        except (ValueError, KeyError, TypeError) as error:
            why = str(error).splitlines()[0][:120]
            raise UserError(
                f"{self._checkpointer.directory}: checkpoint: expected this model's shapes, got another's ({why}); use another --out"
            ) from None
        return state, self._checkpointer.metadata(found).custom_metadata

    def close(self) -> None:
        """Wait for the save under way, and end."""
        self.wait()
        self._checkpointer.close()


class StopSignal:
    """Whether the run was asked to stop (SIGTERM or Ctrl-C), on this host or another."""

    requested = False

    def due(self, step: int) -> bool:
        """Whether to save and leave after this step: on every host after the same one. All must ask at each step, in order."""
        if hosts.count() == 1:
            return self.requested
        return multihost_utils.reached_preemption_sync_point(step)


@contextmanager
def stop_on_signal() -> Iterator[StopSignal]:
    """Within the block SIGTERM and Ctrl-C are noted instead of ending the process, so that the run can save and leave.

    A second Ctrl-C interrupts at once. Of several hosts, JAX has caught SIGTERM from the start and tells the others.
    """
    stop = StopSignal()

    def request(number: int, _: Any) -> None:
        if number == signal.SIGINT:
            if stop.requested:
                raise KeyboardInterrupt
            if hosts.count() > 1:
                os.kill(os.getpid(), signal.SIGTERM)
            print("\nstopping when this step is done and saved; Ctrl-C again stops at once", file=sys.stderr)
        stop.requested = True

    caught = (signal.SIGTERM, signal.SIGINT) if hosts.count() == 1 else (signal.SIGINT,)
    previous = {number: signal.signal(number, request) for number in caught}
    try:
        with hosts.stopping_itself():
            yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
