"""The one fit loop: supervised stages and critics run through it (RL's loop is train/loop.py)."""

import dataclasses
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from coderl_jax import hosts
from coderl_jax.cli import Preempted
from coderl_jax.config import Tracking
from coderl_jax.data.batches import Batch, Stream
from coderl_jax.files import UserError
from coderl_jax.learner.checkpoint import Checkpoints, stop_on_signal
from coderl_jax.learner.state import TrainState
from coderl_jax.learner.trackers import RunLog

LOG_EVERY = 20  # updates between two rows of metrics.jsonl: reading a device value makes the host wait
MOST_SKIPPED = 0.5  # of the updates between two rows; more roll the run back to its last checkpoint
STEP_FACTOR = 0.5  # on the step size, at each roll-back
MAX_ROLLBACKS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
    """What a fit needs besides state and data.

    Attributes:
      folder: run folder; `metrics.jsonl` and `checkpoints/` are written there.
      steps: updates in all.
      save_every: updates between two checkpoints.
      evaluate_every: updates between two evaluations.
      evaluate: params -> numbers to log, or None.
      choose: name of the number whose best parameters are kept (larger is better, of equals the last), or None: the last are kept.
      keep: writes the chosen parameters, called whenever they are as good as any and, without `choose`, at the end.
      patience: evaluations without a better number after which the fit ends early; 0: never.
      tracking: where the log's numbers are shown besides.
    """

    folder: pathlib.Path
    steps: int
    save_every: int
    evaluate_every: int
    evaluate: Callable[[Any], dict[str, float]] | None
    choose: str | None
    keep: Callable[[Any], None]
    patience: int = 0
    tracking: Tracking = Tracking()


class Ahead:
    """A stream's batches on the device, the next of which is made while the device is busy with the present one.

    No thread: an update is only begun by its call, so that the host is free until it reads a result. What was made ahead does not count.

    Attributes:
      position: of the stream after the batch last taken, for a checkpoint.
    """

    def __init__(self, batches: Stream, to_device: Callable[[Batch], Any]):
        """At the stream's position; nothing is made yet."""
        self._batches, self._to_device = batches, to_device
        self._made: tuple[Any, dict[str, Any]] | None = None
        self.position = batches.state()

    def make(self) -> None:
        """Make the next batch, unless it is there."""
        self._made = self._made or (self._to_device(next(self._batches)), self._batches.state())

    def take(self) -> Any:
        """The next batch, made now if it was not before."""
        self.make()
        (batch, self.position), self._made = self._made, None
        return batch


def fit(
    state: TrainState,
    update: Callable,
    batches: Stream,
    to_device: Callable[[Batch], Any],
    key: Any,
    plan: Fit,
    schedule: Callable[[int], Any],
) -> dict[str, Any]:
    """Run `plan.steps` updates, or what is left of them after an interruption.

    Args:
      state: the state before the first update; a checkpoint in the folder takes its place.
      update: see `learner.state.make_update`.
      batches: the data's stream: `next`, `state()`, `restore(position)` (data.batches.Stream).
      to_device: makes of a batch what `update` reads.
      key: seeds dropout.
      plan: see `Fit`.
      schedule: update -> step size, for the log.

    Returns:
      {"best": the chosen number or None, "best_step": its update}.

    Raises:
      Preempted: SIGTERM or Ctrl-C came; the state is saved.
      UserError: the loss stays exploded after `MAX_ROLLBACKS` roll-backs, or before the first checkpoint; the best parameters could not
        be kept.
    """
    checkpoints = Checkpoints(plan.folder / "checkpoints")
    progress = {"best": None, "best_step": 0, "waited": 0, "rollbacks": 0, "lost": 0}
    pending: list[dict[str, Any]] = []  # what the updates since the last row logged
    restored = checkpoints.restore(state)
    if restored:
        state, extra = restored
        batches.restore(extra["position"])
        progress, pending = extra["progress"], extra["pending"]
    first, ahead = int(state.step), Ahead(batches, to_device)
    steps = plan.steps if not _given_up(plan, progress) else first

    def save(at: int) -> None:
        logged = [{name: float(value) for name, value in row.items()} for row in jax.device_get(pending)]
        checkpoints.save(at, state, {"position": ahead.position, "progress": progress, "pending": logged})

    with (
        RunLog(plan.folder, plan.tracking, resume_at=first + 1) as log,
        stop_on_signal() as stop,
        tqdm(
            disable=not hosts.is_first(), total=plan.steps, initial=first, unit="update", desc=plan.folder.name.removesuffix(".partial")
        ) as bar,
    ):
        began, before = time.perf_counter(), len(pending)
        for at in range(first + 1, steps + 1):
            state, logged = update(state, ahead.take(), key)
            if at < steps:
                ahead.make()
            pending.append(logged)
            bar.update()
            last = at == plan.steps
            if at % LOG_EVERY == 0 or last:
                row = _since(pending, began, before, schedule(at - 1) * float(state.step_scale))
                if row["skipped"] > MOST_SKIPPED:
                    progress = {**progress, "rollbacks": progress["rollbacks"] + 1}
                    state, event = _rolled_back(checkpoints, state, progress["rollbacks"], at)
                    log.write(at, skipped=row["skipped"], event=event)
                    pending, before, began = [], 0, time.perf_counter()
                    continue
                log.write(at, **row)
                bar.set_postfix(loss=f"{row['loss']:.3f}")
                pending, before, began = [], 0, time.perf_counter()
            if plan.evaluate and (at % plan.evaluate_every == 0 or last):
                row, seconds = _measured(plan, state, logged)
                began += seconds
                log.write(at, **row)
                bar.set_postfix({name: f"{value:.3f}" for name, value in row.items()})
                if plan.choose:
                    progress = _chosen(progress, row[plan.choose], at, lambda: plan.keep(state.params))  # noqa: B023
                if not last and _given_up(plan, progress):
                    last = True
                    if pending:
                        log.write(at, **_since(pending, began, before, schedule(at - 1) * float(state.step_scale)))
                    print(f"stopped early: {plan.choose} is best at update {progress['best_step']}, which is kept", file=sys.stderr)
            stopping = stop.due(at)
            if (stopping or at % plan.save_every == 0 or last) and not progress["lost"]:
                save(at)
            if stopping and not last:
                checkpoints.wait()
                raise Preempted(f"update {checkpoints.latest} of {plan.steps} is saved")
            if last:
                break
        if plan.choose is None:
            plan.keep(state.params)
        checkpoints.close()
    return _ended(plan, progress)


def _rolled_back(checkpoints: Checkpoints, state: TrainState, times: int, at: int) -> tuple[TrainState, str]:
    """The state of the last checkpoint with a smaller step size, at the present update, and what is to be said. The data go on."""
    restored = checkpoints.restore(state) if times <= MAX_ROLLBACKS else None
    if restored is None:
        when = "before the first checkpoint" if times <= MAX_ROLLBACKS else f"after {MAX_ROLLBACKS} roll-backs"
        raise UserError(
            f"loss: expected a finite one that falls, got one that is not or has exploded at update {at}, {when}; "
            "lower --learning-rate, with another --out"
        )
    old, _ = restored
    scale = state.step_scale * STEP_FACTOR
    event = f"the loss exploded: rolled back to update {int(old.step)}, step size x {float(scale):g}"
    print(f"update {at}: {event}", file=sys.stderr)
    return old._replace(step=state.step, step_scale=scale), event


def kept(keep: Callable[[], None]) -> bool:
    """Whether the best parameters could be written; a store that refuses them is said aloud, and the next better ones will be tried."""
    try:
        keep()
    except UserError as error:
        print(f"{error}; training goes on", file=sys.stderr)
        return False
    return True


def _ended(plan: Fit, progress: dict[str, Any]) -> dict[str, Any]:
    """What `fit` returns. Of a fit that lost its best parameters no later checkpoint was saved: run again, it comes by them again."""
    if progress["lost"]:
        raise not_kept(plan.folder, f"update {progress['lost']}")
    return {name: progress[name] for name in ("best", "best_step")}


def not_kept(folder: pathlib.Path, when: str) -> UserError:
    """What a run that could not keep its best parameters ends with: finished, it would pass others off as them."""
    return UserError(f"{folder}: output: expected room for the best parameters, those of {when}, got none; make room, run it again")


def _chosen(progress: dict[str, Any], value: float, at: int, keep: Callable[[], None]) -> dict[str, Any]:
    """Progress after an evaluation; parameters as good as any are kept: of equals the last, for what passes nothing yet learns unseen."""
    if progress["best"] is None or value > progress["best"]:
        better = {"best": value, "best_step": at, "waited": 0, "lost": 0} if kept(keep) else {"lost": progress["lost"] or at}
        return {**progress, **better}
    as_good = value == progress["best"] and kept(keep)
    return {**progress, "best_step": at if as_good else progress["best_step"], "waited": progress["waited"] + 1}


def _given_up(plan: Fit, progress: dict[str, Any]) -> bool:
    return plan.choose is not None and 0 < plan.patience <= progress["waited"]


def _since(rows: list[dict[str, Any]], began: float, before: int, step_size: Any) -> dict[str, float]:
    """What is logged of the updates since the last row; the first `before` an earlier process made, the others this one since `began`."""
    row = mean_of(rows)
    return {**row, "learning_rate": float(step_size), "updates_per_second": (len(rows) - before) / (time.perf_counter() - began)}


def _measured(plan: Fit, state: TrainState, logged: dict[str, Any]) -> tuple[dict[str, float], float]:
    """What `plan.evaluate` says, and the seconds it took once the update that logged this was through."""
    jax.block_until_ready(logged)
    began = time.perf_counter()
    return plan.evaluate(state.params), time.perf_counter() - began


def mean_of(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Mean of every number over the rows that have it. What is not finite, of an update that was skipped, counts only where all is so."""
    rows = jax.device_get(rows)
    found = {}
    for name in {name: None for row in rows for name in row}:
        values = np.array([row[name] for row in rows if name in row], np.float64)
        finite = values[np.isfinite(values)]
        found[name] = float(np.mean(finite if len(finite) else values))
    return found
