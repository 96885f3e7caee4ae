"""Where the numbers of a run go: `metrics.jsonl` always, TensorBoard and Weights & Biases where they are asked for.

The JSON lines are the record. A tracker shows them, and one that fails is left behind.
"""

import contextlib
import errno
import json
import math
import os
import pathlib
import sys
import time
from collections.abc import Iterator
from typing import Any

from coderl_jax import hosts
from coderl_jax.config import Tracking
from coderl_jax.files import UserError, read_json, read_jsonl, reason, replacing, sha256, to_json_line


class MetricsLog:
    """`metrics.jsonl` of a run folder: one JSON object a line, flushed as written.

    Opened again at `step`, it drops the lines a resumed run is about to write again. Rows that a full disk refuses are kept and tried
    again with the next one.
    """

    def __init__(self, path: str | os.PathLike, resume_at: int = 0):
        self._path = pathlib.Path(path)
        lines = self._path.read_bytes().splitlines(keepends=True) if self._path.exists() else []
        whole = [line for line in lines if line.endswith(b"\n")]  # an interruption may have cut the last one short
        with replacing(self._path) as temporary:
            temporary.write_bytes(b"".join(line for line in whole if json.loads(line)["step"] < resume_at))
        self._file = self._path.open("r+b", buffering=0)
        self._end = self._file.seek(0, os.SEEK_END)
        self._waiting = b""

    def write(self, step: int, **values: Any) -> None:
        """Append one row. `step` counts optimizer updates or rounds, as the stage says."""
        refused, self._waiting = bool(self._waiting), self._waiting + to_json_line({"step": step, **values}).encode()
        try:
            self._flush()
        except OSError as error:
            if not refused:
                print(f"{self._path}: output: expected a writable place, got {reason(error)}; the run goes on, make room", file=sys.stderr)

    def _flush(self) -> None:
        self._file.seek(self._end)
        self._file.truncate()  # of what was refused a part may stand there
        written = self._file.write(self._waiting)
        if written != len(self._waiting):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._end, self._waiting = self._end + written, b""

    def close(self) -> None:
        """Close the file.

        Raises:
          UserError: the last rows cannot be written.
        """
        try:
            if self._waiting:
                self._flush()
        except OSError as error:
            raise UserError(f"{self._path}: output: expected a writable place, got {reason(error)}; make room, run it again") from None
        finally:
            self._file.close()


class RunLog:
    """The log of a run folder, open within a `with` block. Rows go to `metrics.jsonl` first, then to the trackers."""

    def __init__(self, folder: pathlib.Path, tracking: Tracking, resume_at: int = 0):
        """Open the log, without the rows from step `resume_at` on: a resumed run writes them again. Of several hosts the first writes.

        Args:
          folder: run folder with the manifest and settings of `open_output`, which Weights & Biases is told.
          tracking: which trackers.
          resume_at: first step (update or round) that will be written.
        """
        self._trackers: dict[str, Any] = {}
        self._metrics = MetricsLog(folder / "metrics.jsonl", resume_at) if hosts.is_first() else None
        if self._metrics is None:
            return
        if tracking.tensorboard:
            with self._spared_by("TensorBoard") as name:
                self._trackers[name] = _TensorBoard(folder)
        if tracking.wandb:
            with self._spared_by("Weights & Biases") as name:
                self._trackers[name] = _WandB(folder, tracking.wandb)

    def write(self, step: int, **values: Any) -> None:
        """Write one row. `step` counts optimizer updates or rounds, as the stage says.

        Raises:
          UserError: a number that is not finite: the run has diverged.
        """
        for name, value in values.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(f"{name}: expected a finite number at step {step}, got {value}; lower --learning-rate, with another --out")
        if self._metrics is None:
            return
        self._metrics.write(step, **values)
        for name, tracker in list(self._trackers.items()):
            with self._spared_by(name):
                tracker.write(step, values)

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if self._metrics is None:
            return
        self._metrics.close()
        for name, tracker in list(self._trackers.items()):
            with self._spared_by(name):
                tracker.close(ended_well=kind is None)

    @contextlib.contextmanager
    def _spared_by(self, name: str) -> Iterator[str]:
        """Whatever goes wrong with a tracker in this block, the run goes on without it and says so."""
        try:
            yield name
        except Exception as error:  # no network, no login, a broken installation: each library has its own
            self._trackers.pop(name, None)
            why = " ".join(f"{type(error).__name__}: {error}".split())
            print(f"{name} failed ({why}); the run goes on without it, every row is in metrics.jsonl", file=sys.stderr)


class _TensorBoard:
    """Event files in `tensorboard/`, made anew from `metrics.jsonl` at the first row after a start.

    So each step stands there once, for every reader, wherever a run was killed and whenever tracking was turned on. The price is that
    the rows before a resumption carry its time. A run that is refused before its first row leaves nothing here.
    """

    def __init__(self, folder: pathlib.Path):
        import tensorboardX.event_file_writer  # noqa: F401 - a broken installation shows at the start

        self._rows, self._place = folder / "metrics.jsonl", folder / "tensorboard"
        self._events: Any = None

    def write(self, step: int, values: dict[str, Any]) -> None:
        if self._events is None:
            self._begin()
        else:
            self._put(step, values)
        self._events.flush()

    def _begin(self) -> None:
        """Write all rows so far, the present one included."""
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self._place.mkdir(exist_ok=True)
        for earlier in self._place.iterdir():
            earlier.write_bytes(b"")  # not deleted: a TensorBoard that is showing the run would wait for that file for ever
        # Not SummaryWriter: its thread dies of the first failed write, and the queue to it then blocks the run for ever.
        self._events = EventsWriter(str(self._place / "events"))
        # Here it forgets what it read before.
        self._events.write_event(Event(wall_time=time.time(), step=0, session_log=SessionLog(status=SessionLog.START)))
        for _, row in read_jsonl(self._rows):
            self._put(row.pop("step"), row)

    def _put(self, step: int, values: dict[str, Any]) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        numbers = [(name, value) for name, value in _leaves(values) if isinstance(value, int | float)]
        summary = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in numbers])
        self._events.write_event(Event(wall_time=time.time(), step=step, summary=summary))

    def close(self, ended_well: bool) -> None:
        if self._events is not None:
            self._events.close()


class _WandB:
    """A run of Weights & Biases that bears the run folder's name, and goes on when the folder's run does.

    Its id is the hash of the manifest, which is written once: a folder begun anew is another run. Rows that a resumed run writes
    again are passed over there, since its steps only rise. Local files go where wandb puts them (`WANDB_DIR`), not into the run
    folder: `wandb sync` changes them later, and a run folder is known by its hash.
    """

    def __init__(self, folder: pathlib.Path, project: str):
        import wandb

        self._run = wandb.init(
            project=project,
            name=folder.name.removesuffix(".partial"),
            id=sha256(folder / "manifest.json")[:16],
            resume="allow",
            reinit="create_new",  # by default an unfinished run of this process would be returned, and take our rows
            config=read_json(folder / "config.json"),
        )

    def write(self, step: int, values: dict[str, Any]) -> None:
        self._run.log(dict(_leaves(values)), step=step)

    def close(self, ended_well: bool) -> None:
        self._run.finish(exit_code=0 if ended_well else 1)


def _leaves(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Names and values, those of a group under `group/name`."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{above}{name}/")
        else:
            yield above + name, value
