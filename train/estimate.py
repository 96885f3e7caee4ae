"""What a run will cost, said before it begins: tokens, operations, memory, device hours, judge seconds."""

import dataclasses
import math
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
    copies: int | float = 0,
    passes: int | float = 1,
    drawn: Sequence[cost.Cost] = (),
) -> str | None:
    """Check that training suits the mesh and fits the memory here; where an estimate was asked for, print it and say None: the run stops.

    Args:
      estimate: the device of `--estimate`.
      optimizer: its steps are known (`Optimizer.over`).
      shape: the model's.
      shares: shapes of the batches, see `data.batches.Stream`.
      mesh: of the devices here, or of those that the estimate is of; 1 x 1 x 1 stands for sharing parameters and batch over all.
      critic: the model is one.
      copies: of the parameters that the run holds besides parameters, gradient and moments.
      passes: forward and backward passes of an update, in those over one batch.
      drawn: what sampling and judging cost besides, see `drawing_cost`.

    Returns:
      What the backward pass is to compute again, see `model.t5.REMATERIALISE`.

    Raises:
      UserError: devices cannot share model or batch, the batch does not fit the memory of the device here, an unknown device.
    """
    from coderl_jax.model.layers import LANES
    from coderl_jax.model.mesh import check_mesh, device_memory

    rows = optimizer.batch_size // optimizer.accumulate
    device, count = cost.device_named(estimate) if estimate else (None, 1)
    if device:
        mesh = _mesh_of(mesh, count, str(estimate))
    check_mesh(mesh, shape, rows)
    longest = max(s for s, _, _ in shares), max(t for _, t, _ in shares)
    splits, shards = mesh.data * mesh.fsdp, mesh.fsdp * mesh.tensor
    limit, narrow = device.memory if device else device_memory(), mesh.compute == "bfloat16"
    platform = ("gpu" if device.gpu else "tpu") if device else _platform()
    # See `model.layers.takes_cudnn` and `takes_tpu_attention`.
    fused = narrow and (platform == "gpu" or (platform == "tpu" and _fits_tpu(*longest)))
    heads = {"fused": fused, "lanes": LANES if fused and platform == "tpu" else 1}
    # A loop on a GPU keeps things at a price (`model.t5.keeping`): "nothing" takes longer there than "products".
    quickest = cost.REMATS[1:] if platform == "gpu" and not mesh.unroll else cost.REMATS
    choices = quickest if mesh.remat == "auto" else (mesh.remat,)
    taken = {
        remat: cost.training_memory(shape, rows // splits, *longest, shards, critic, remat, 2 if narrow else 4, copies=copies, **heads)
        for remat in choices
    }
    remat = next((remat for remat, memory in taken.items() if limit is None or memory.total <= ROOM * limit), choices[-1])
    memory = taken[remat]
    if device is None:
        _check_fits(memory, optimizer.batch_size, limit)
        return remat
    examples = optimizer.steps * optimizer.batch_size
    flops = examples * passes * sum(share * cost.training_flops(shape, s, t, remat) for s, t, share in shares)
    tokens = examples * sum(share * (s + t) for s, t, share in shares)
    peak = device.flops * (1 if narrow else device.wide)
    hours = flops / (peak * cost.UTILISATION) / 3600
    flops, hours = flops + sum(each.flops for each in drawn), hours + sum(each.device_hours for each in drawn)
    programs, judging = sum(each.programs for each in drawn), sum((each.judge_seconds for each in drawn), 0.0)
    whole = cost.Cost(tokens, flops, hours, memory, programs, judging)
    print("\n".join(lines(str(estimate), whole, device, mesh, optimizer.steps, cost.parameters(shape, critic), remat)))
    return None


def _mesh_of(mesh: MeshShape, count: int, estimate: str) -> MeshShape:
    """The mesh that an estimate of so many devices is of."""
    sizes = mesh.data * mesh.fsdp * mesh.tensor
    if sizes not in (1, count):
        got = f"{mesh.data} x {mesh.fsdp} x {mesh.tensor}"
        raise UserError(f"mesh: expected data x fsdp x tensor to be {count}, as --estimate {estimate} has it, got {got}; change the sizes")
    return dataclasses.replace(mesh, fsdp=count) if sizes == 1 else mesh


def fit_announced(config: Any, shape: ModelShape, batches: Any, critic: bool = False, drawn: Sequence[cost.Cost] = ()) -> str | None:
    """`announced` of a stage that fits a model to a stream of batches; its `estimate`, `optimizer` and `mesh` are read."""
    settings = config.optimizer.over(batches.examples)
    return announced(config.estimate, settings, shape, batches.shares, config.mesh, critic=critic, drawn=drawn)


def lines(name: str, whole: cost.Cost, device: cost.Device, mesh: MeshShape, steps: int, parameters: int, remat: str) -> Sequence[str]:
    """The estimate for reading."""
    count = mesh.data * mesh.fsdp * mesh.tensor
    size = f"{device.memory / 1e9:.0f} GB (--remat {remat})"
    fits = whole.memory.total <= device.memory
    room = f"fits {size}" if fits else f"does NOT fit {size}; raise --accumulate, or share over more devices"
    found = [
        f"{steps:,} updates of {parameters / 1e6:,.1f} M parameters, {whole.tokens / 1e6:,.1f} M tokens with padding",
        f"operations    {whole.flops:.3g}",
        f"memory        {whole.memory.total / 1e9:,.1f} GB a device: parameters, gradient and moments {whole.memory.state / 1e9:,.1f}, "
        f"activations {whole.memory.activations / 1e9:,.1f}; {room}",
        f"device hours  {_shown(whole.device_hours)} on {name}, {_shown(whole.device_hours / count)} h by the clock, "
        f"at {cost.UTILISATION:.0%} of the peak in {mesh.compute}",
        f"mesh          data {mesh.data} x fsdp {mesh.fsdp} x tensor {mesh.tensor}",
    ]
    if whole.programs:
        judging = f" and judged, {whole.judge_seconds:,.0f} s of judging on one process" if whole.judge_seconds else ""
        found.append(f"programs      {whole.programs:,} sampled{judging}")
    return found


def _shown(hours: float) -> str:
    """Hours with two digits at least."""
    return f"{hours:,.2f}" if hours >= 0.095 else f"{hours:.2g}"


def drawing_cost(config: Any, model: Any, problems: Sequence[Any], programs: int, samples: int) -> cost.Cost:
    """Cost of drawing `programs`, as long as they may be, `samples` a problem, and of judging them where there are tests.

    Args:
      config: of a stage that samples; its `estimate`, `lengths`, `sampling`, `judging` and `mesh` are read.
      model: draws them.
      problems: what they are drawn for. A few are judged, to see how long it takes.
      programs: of all problems together.
      samples: of one problem, which share a prompt.
    """
    from coderl_jax.rollout.sampler import requests_for, slots_for
    from coderl_jax.sandbox import Judge

    device, _ = cost.device_named(config.estimate)
    narrow = config.mesh.compute == "bfloat16"
    requests, _ = requests_for([p.public() for p in problems], model.tokenizer, config.lengths, 1)
    s, t = max(len(request.prompt) for request in requests), config.lengths.max_new_tokens
    rows = slots_for(config.sampling, model.shape, config.lengths, 2 if narrow else 4, device.memory)
    flops = programs * sum(cost.forward_flops(model.shape, s, t))
    moved, _ = cost.decoding_work(model.shape, rows / samples, rows, s, t / 2, 2 if narrow else 4)
    peak = device.flops * (1 if narrow else device.wide)
    seconds = max(math.ceil(programs / rows) * t * moved / device.bandwidth, flops / peak) / cost.UTILISATION
    tested = [p for p in problems if p.hidden_tests]
    judging = 0.0
    if tested:
        with Judge(config.judging) as judge:
            judging = programs * judging_seconds(judge, tested, config.judging.processes)
    return cost.Cost(0.0, flops, seconds / 3600, cost.Memory(0.0, 0.0), programs, judging)


def validation_cost(config: Any, model: Any, times: int) -> cost.Cost:
    """`drawing_cost` of validating so many times."""
    from coderl_jax.data.problems import load_problems

    settings = config.validation
    problems = load_problems(settings.validation, settings.validation_limit)
    samples = settings.validation_samples
    return drawing_cost(config, model, problems, times * len(problems) * samples, samples)


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


def _fits_tpu(s: int, t: int) -> bool:
    """Whether attention over sources of s and programs of t tokens is the TPU's kernels'."""
    from coderl_jax.model.tpu_kernels import queries_together

    return all(queries_together(*lengths) for lengths in ((s, s), (t, t), (t, s)))


def _platform() -> str:
    import jax

    return jax.local_devices()[0].platform
