"""What a run will cost, said before it begins: tokens, operations, memory, device hours, judge seconds."""

import math
import sys
from collections.abc import Sequence
from typing import Any

from coderl_jax.config import MeshShape, ModelShape, Optimizer
from coderl_jax.files import UserError
from coderl_jax.model import cost

ROOM = 0.9
"""Share of a device's memory that a quicker backward pass may take; the estimate is rough, and others need some."""


def announced(
    estimate: str | None,
    optimizer: Optimizer,
    shape: ModelShape,
    shares: Sequence[tuple[int, int, float]],
    mesh: MeshShape,
    *,
    critic: bool = False,
    sampled: cost.Cost | None = None,
) -> str | None:
    """Check that training suits the mesh and fits the memory here; where an estimate was asked for, print it and say None: the run stops.

    Args:
      estimate: the device of `--estimate`.
      optimizer: its steps are known (`Optimizer.over`).
      shape: the model's.
      shares: shapes of the batches, see `data.batches.Stream`.
      mesh: of the devices here.
      critic: the model is one.
      sampled: what sampling and judging cost besides, in RL.

    Returns:
      What the backward pass is to compute again, see `model.t5.REMATERIALISE`.

    Raises:
      UserError: devices cannot share model or batch, the batch does not fit the memory of the device here, an unknown device.
    """
    from coderl_jax.model.mesh import check_mesh

    rows = optimizer.batch_size // optimizer.accumulate
    check_mesh(mesh, shape, rows)
    device, count = cost.device_named(estimate) if estimate else (None, 1)
    longest = max(s for s, _, _ in shares), max(t for _, t, _ in shares)
    splits, shards = (count, count) if device else (mesh.data * mesh.fsdp, mesh.fsdp * mesh.tensor)
    limit, width = device.memory if device else _memory_here(), 2 if mesh.compute == "bfloat16" else 4
    choices = cost.REMATS if mesh.remat == "auto" else (mesh.remat,)
    taken = {remat: cost.training_memory(shape, math.ceil(rows / splits), *longest, shards, critic, remat, width) for remat in choices}
    remat = next((remat for remat, memory in taken.items() if limit is None or memory.total <= ROOM * limit), choices[-1])
    memory = taken[remat]
    if device is None:
        _check_fits(memory, optimizer.batch_size, limit)
        return remat
    examples = optimizer.steps * optimizer.batch_size
    flops = examples * sum(share * cost.training_flops(shape, s, t, remat) for s, t, share in shares)
    tokens = examples * sum(share * (s + t) for s, t, share in shares)
    hours = flops / (device.flops * cost.UTILISATION) / 3600
    extra = sampled or cost.Cost(0.0, 0.0, 0.0, cost.Memory(0.0, 0.0))
    device_hours = hours + extra.device_hours
    whole = cost.Cost(tokens, flops + extra.flops, device_hours, memory, extra.programs, extra.judge_seconds)
    print("\n".join(lines(str(estimate), whole, device, count, optimizer.steps, cost.parameters(shape, critic), remat)))
    return None


def fit_announced(config: Any, shape: ModelShape, batches: Any, critic: bool = False) -> str | None:
    """`announced` of a stage that fits a model to a stream of batches; its `estimate`, `optimizer` and `mesh` are read."""
    settings = config.optimizer.over(batches.examples)
    return announced(config.estimate, settings, shape, batches.shares, config.mesh, critic=critic)


def lines(name: str, whole: cost.Cost, device: cost.Device, count: int, steps: int, parameters: int, remat: str) -> Sequence[str]:
    """The estimate for reading."""
    room = "fits" if whole.memory.total <= device.memory else "does NOT fit"
    found = [
        f"{steps:,} updates of {parameters / 1e6:,.1f} M parameters, {whole.tokens / 1e6:,.1f} M tokens with padding",
        f"operations    {whole.flops:.3g}",
        f"memory        {whole.memory.total / 1e9:,.1f} GB a device: parameters, gradient and moments {whole.memory.state / 1e9:,.1f}, "
        f"activations {whole.memory.activations / 1e9:,.1f}; {room} {device.memory / 1e9:.0f} GB (--remat {remat})",
        f"device hours  {whole.device_hours:,.2f} on {name}, {whole.device_hours / count:,.2f} h by the clock, "
        f"at {cost.UTILISATION:.0%} of the peak",
    ]
    if whole.programs:
        found.append(f"programs      {whole.programs:,} sampled and judged, {whole.judge_seconds:,.0f} s of judging on one process")
    return found


def sampling_cost(name: str, shape: ModelShape, programs: int, rows: int, s: int, t: int, judge_seconds: float) -> cost.Cost:
    """Cost of drawing `programs` of up to `t` tokens, `rows` at a time and device, and of judging each for `judge_seconds`."""
    device, _ = cost.device_named(name)
    steps = math.ceil(programs / rows) * t
    flops = programs * sum(cost.forward_flops(shape, s, t))
    seconds = max(steps * cost.decode_bytes(shape, rows, s, t) / device.bandwidth, flops / device.flops) / cost.UTILISATION
    return cost.Cost(0.0, flops, seconds / 3600, cost.Memory(0.0, 0.0), programs, programs * judge_seconds)


def judging_seconds(judge: Any, problems: Sequence[Any], workers: int, most: int = 8) -> float:
    """Seconds of one process a program, measured: the first problems' own solutions, or programs that do nothing, under their tests."""
    import time

    chosen = problems[:most]
    judge.submit("pass\n", chosen[0].hidden_tests).result()  # processes are up
    began = time.perf_counter()
    running = [judge.submit(p.solutions[0] if p.solutions else f"pass  # {i}\n", p.hidden_tests) for i, p in enumerate(chosen)]
    for verdict in running:
        verdict.result()
    return (time.perf_counter() - began) * min(workers, len(chosen)) / len(chosen)


def _check_fits(memory: cost.Memory, batch_size: int, limit: float | None) -> None:
    if limit is None or memory.total <= limit:
        return
    state, activations = memory.state / 1e9, memory.activations / 1e9
    raise UserError(
        f"--batch-size: expected a batch and a model that fit the {limit / 1e9:.1f} GB of this device, got {batch_size}, which takes about "
        f"{state + activations:.1f} GB ({state:.1f} for parameters, gradient and moments, {activations:.1f} for activations); "
        "lower it, or raise --accumulate"
    )


def _memory_here() -> float | None:
    """Bytes of a device's memory, of a CPU's all there is; None where nobody says."""
    import jax

    device = jax.local_devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats:
        return stats.get("bytes_limit")
    if device.platform != "cpu" or sys.platform != "linux":
        return None
    import os

    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
