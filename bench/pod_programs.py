"""The programs that a pod or a GPU runs, compiled here for chips that are not here: abstract arguments, real code, nothing allocated."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding

from bench.hlo import arrays, with_trips
from bench.pod_kernels import with_cycles
from coderl_jax.config import Lengths, MeshShape, ModelShape, Optimizer, Sampling
from coderl_jax.learner.state import TrainState, make_apply, make_gradient, make_optimizer
from coderl_jax.learner.steps import CriticBatch, TextBatch, critic_loss, supervised_loss
from coderl_jax.model import cost, layers, tpu_kernels
from coderl_jax.model.layers import BATCH_AXES, rows_split
from coderl_jax.model.mesh import abstract_params, arranged, check_mesh, shardings
from coderl_jax.model.t5 import keeping
from coderl_jax.rollout.decode import Slots
from coderl_jax.rollout.engine import ENCODED, STRETCH, Compiled, empty

WHOLE_UP_TO = 2**20
"""Bytes of an array that may be whole on every device although a mesh axis could split it: norms and biases."""
PARAMETER_AXES = ("fsdp", "tensor")
"""Axes that split parameters; devices along `data` hold copies."""
H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448 shared_memory_per_core: 233472
  registers_per_block_limit: 65536 registers_per_core_limit: 65536
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 device_memory_size: 84929347584 l2_cache_size: 52428800 cuda_compute_capability { major: 9 }
}
platform_name: "CUDA" runtime_version { major: 13 } dnn_version_info { major: 9 minor: 10 } device_description_str: "NVIDIA H100 80GB HBM3"
"""
"""What CUDA says of an H100 SXM, as XLA's compiler is told it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """What is compiled.

    Attributes:
      program: train, critic or sample.
      topology: such as v5e:4x4, or h100.
      mesh: sizes of its axes.
      rows: examples, or sampled programs, a chip.
      shape: the model's.
      lengths: prompt and program tokens, all of them used.
      dropout: rate while training.
      samples: programs of a prompt, while sampling.
      remat: what a train step computes again.
      unrolled: its layers are written out.
    """

    program: str
    topology: str
    mesh: MeshShape
    rows: int
    shape: ModelShape
    lengths: Lengths
    dropout: float
    samples: int
    remat: str = "layers"
    unrolled: bool = False

    @property
    def chips(self) -> int:
        """Chips of the mesh."""
        return self.mesh.data * self.mesh.fsdp * self.mesh.tensor

    @property
    def batch(self) -> int:
        """Rows on all chips together."""
        return self.rows * self.chips

    def arithmetic_flops(self) -> float:
        """Operations of a step on one chip by `model.cost`, layers computed again: what the count of the text is held against."""
        s, t = self.lengths.max_prompt_tokens, self.lengths.max_new_tokens
        if self.program == "sample":
            return self.useful_flops()
        projection = 0 if self.program == "train" else 3 * cost.forward_flops(self.shape, s, t)[1]  # a critic has none
        return self.rows * (cost.training_flops(self.shape, s, t, "layers") - projection)

    def useful_flops(self) -> float:
        """Operations of a step on one chip that the mathematics asks for: what is computed again for memory's sake is left out."""
        s, t = self.lengths.max_prompt_tokens, self.lengths.max_new_tokens
        layers, projection = cost.forward_flops(self.shape, s, t)
        if self.program == "train":
            return 3 * self.rows * (layers + projection)
        if self.program == "critic":
            return 3 * self.rows * layers
        # Each prompt is encoded once, and the keys that the decoder sees of it are made once, for all of its programs.
        decoder = dataclasses.replace(self.shape, encoder_layers=1)
        encoder = (layers - cost.forward_flops(decoder, s, t)[0]) * self.shape.encoder_layers / max(1, self.shape.encoder_layers - 1)
        keys = self.shape.decoder_layers * 4 * s * self.shape.d_model * self.shape.heads * self.shape.d_kv
        return self.rows * (layers - encoder - keys + projection + (encoder + keys) / self.samples)

    def watched(self) -> dict[str, list[tuple[int, ...]]]:
        """Lengths by which arrays are told whose part of the bytes and cycles is printed, by name."""
        s, t, heads, width = self.lengths.max_prompt_tokens, self.lengths.max_new_tokens, self.shape.heads, self.shape.d_kv
        heads //= self.mesh.tensor
        vocabulary = [(self.shape.vocab_size // self.mesh.tensor,)]
        if self.program == "sample":
            return {"keys and values": [(heads, s, width), (heads, t, width)], "vocabulary": vocabulary}
        vectors = {"queries, keys and values": [(heads, s, width), (heads, t, width)]}
        return {"attention's scores": [(heads, s, s), (heads, t, t), (heads, t, s)], **vectors, "vocabulary": vocabulary}


@dataclasses.dataclass(frozen=True)
class Part:
    """One compiled program of a step.

    Attributes:
      name: what it is.
      compiled: from `.compile()`.
      text: its instructions, those of one device.
      inputs: (name, abstract array) of every argument.
      outputs: the same of every result.
      inside: lengths of whole arrays, by name, that no device may hold on the way.
      splits: axes of the mesh that split its results.
      beside: bytes on a device that it does not touch, while it runs.
      times: how often it runs in a step.
    """

    name: str
    compiled: Any
    text: str
    inputs: Sequence[tuple[str, jax.ShapeDtypeStruct]]
    outputs: Sequence[tuple[str, jax.ShapeDtypeStruct]]
    inside: dict[str, tuple[int, ...]]
    splits: tuple[str, ...] = PARAMETER_AXES
    beside: float = 0.0
    times: float = 1.0


def topology_mesh(topology: str, sizes: MeshShape) -> Mesh:
    """The mesh that `model.mesh.make_mesh` makes on a machine with so many chips."""
    if topology == "h100":
        devices = topologies.get_topology_desc(platform="cuda", topology="1x1x1", target_config=H100).devices
    else:
        devices = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    return arranged((sizes.data, sizes.fsdp, sizes.tensor), devices)


def compile_parts(work: Work) -> tuple[Mesh, list[Part]]:
    """The mesh of a piece of work, and the programs that make up its step."""
    check_mesh(work.mesh, work.shape, work.batch)
    mesh = topology_mesh(work.topology, work.mesh)
    # Where our code asks what device there is, it is a TPU, not the CPU here.
    on_tpu = mock.patch.object(layers, "_on_tpu", lambda: True), mock.patch.object(tpu_kernels, "_interpreted", lambda: False)
    with jax.set_mesh(mesh), on_tpu[0], on_tpu[1]:
        parts = _sampling(work, mesh) if work.program == "sample" else list(_training(work, mesh))
    return mesh, [dataclasses.replace(part, text=with_cycles(part.text, work.topology.split(":")[0])) for part in parts]


def compile_gradient(work: Work) -> Part:
    """The first of the two programs that make up a step of training, by itself."""
    mesh = topology_mesh(work.topology, work.mesh)
    with jax.set_mesh(mesh):
        return next(_training(work, mesh))


def _training(work: Work, mesh: Mesh) -> Iterator[Part]:
    """Gradient and update, as `learner.state.make_update` joins them; each is compiled when it is asked for."""
    kind = "actor" if work.program == "train" else "critic"
    graphdef, params = abstract_params(work.shape, kind, jnp.bfloat16)
    graphdef, params = keeping(graphdef, params, work.remat, work.unrolled), _placed(params, mesh)
    optimizer = make_optimizer(Optimizer())
    loss_scalar = _scalar(mesh, jnp.float32)
    state = TrainState(params, jax.eval_shape(optimizer.init, params), _scalar(mesh, jnp.int32), loss_scalar, loss_scalar)
    state = _placed(state, mesh)
    batch = _text(work, mesh)
    if kind == "actor":
        loss = supervised_loss(graphdef, work.dropout)
    else:
        loss, batch = critic_loss(graphdef, work.dropout, 4), CriticBatch(batch, _rows(mesh, (work.batch,), jnp.int32))
    key = jax.eval_shape(lambda: jax.random.key(0))
    key = jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=NamedSharding(mesh, jax.P()))
    b, s, t = work.batch, work.lengths.max_prompt_tokens, work.lengths.max_new_tokens
    # States may be whole: at few chips the compiler rather gathers those of a small batch for the embedding's gradient than sums
    # the table. What is computed of them may not, and tells a batch that is not split.
    heads = work.shape.heads
    inside = {
        "logits": (b, t, work.shape.vocab_size),
        "encoder attention": (b, heads, s, s),
        "decoder attention": (b, heads, t, t),
        "cross attention": (b, heads, t, s),
    }
    if work.mesh.fsdp * work.mesh.tensor > 1:
        inside |= {f"all layers of {name}": leaf.shape for name, leaf in _named(params) if len(leaf.shape) > 2}
    gradient = _part("gradient", make_gradient(loss), (params, batch, key), inside)
    moments = sum(_bytes_here(leaf) for _, leaf in _named(state.opt_state))
    yield dataclasses.replace(gradient, beside=moments)
    yield _part("update", make_apply(optimizer), (state, params, loss_scalar), {})


def _sampling(work: Work, mesh: Mesh) -> list[Part]:
    """What `Sampler` runs for a batch of prompts whose programs are as long as they may be: prompts encoded, then token after token.

    Tokens are written in stretches of `STRETCH`, after each of which the host has a look: the loop's text does not say how many. That
    of the nucleus's search ends when every row has its token; one turn is counted.
    """
    graphdef, params = abstract_params(work.shape, "actor", jnp.bfloat16)
    params = _placed(params, mesh)
    compiled = Compiled(graphdef, work.shape, work.shape.vocab_size, 2, Sampling(num_samples=work.samples, rows_per_batch=work.batch))
    p, n, s, t = work.batch // work.samples, work.samples, work.lengths.max_prompt_tokens, work.lengths.max_new_tokens
    decoder = _made(compiled.ready, (params,))
    cache, cross = (_made(empty, (), work.shape, rows, length, jnp.bfloat16, False) for rows, length in (((p, n), t), ((p,), s)))
    parts = rows_split(mesh)
    each = max(1, min(p // parts, ENCODED // s))
    together = parts * each
    prompts = [_rows(mesh, (together, s), kind) for kind in (jnp.int32, bool)]
    places = _rows(mesh, (parts, each), jnp.int32)
    slots = Slots(*(_rows(mesh, (p, n), kind) for kind in (jnp.int32, jnp.int32, bool)))
    wanted = _rows(mesh, (p,), jnp.uint32), _rows(mesh, (p, n), jnp.uint32), _rows(mesh, (p, n), jnp.float32)
    forced, waiting = _rows(mesh, (p, n, STRETCH), jnp.int32), _rows(mesh, (p,), jnp.int32)
    numbers = jax.ShapeDtypeStruct((4,), jnp.uint32, sharding=NamedSharding(mesh, jax.P()))
    inside = {
        "logits": (p, n, work.shape.vocab_size),
        "cache of a layer": (p, n, work.shape.heads, t, work.shape.d_kv),
        "keys of the prompts": (p, work.shape.heads, s, work.shape.d_kv),
    }
    source_mask = _rows(mesh, (p, s), bool)
    encode = _part("encode", compiled.load, (params, cross, *prompts, places), inside)
    decode = _part("decode", compiled.decode, (decoder, cache, cross, source_mask, slots, *wanted, forced, waiting, numbers), inside)
    return [
        dataclasses.replace(encode, splits=BATCH_AXES, times=p / together),
        dataclasses.replace(decode, text=with_trips(decode.text, STRETCH), splits=BATCH_AXES, times=t / STRETCH),
    ]


def _made(function: Any, arguments: tuple, *fixed: Any) -> Any:
    """What a compiled function returns, abstract, placed as it places it."""
    lowered = function.lower(*arguments, *fixed)
    return jax.tree.map(_abstract, lowered.out_info, lowered.compile().output_shardings)


def _part(name: str, function: Any, arguments: tuple, inside: dict[str, tuple[int, ...]]) -> Part:
    lowered = function.lower(*arguments)
    compiled = lowered.compile()
    placed = jax.tree.map(_abstract, lowered.out_info, compiled.output_shardings)
    return Part(name, compiled, compiled.as_text(), _named(arguments), _named(placed), inside)


def _abstract(leaf: Any, sharding: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _placed(tree: Any, mesh: Mesh) -> Any:
    return jax.tree.map(_abstract, tree, shardings(tree, mesh))


def _rows(mesh: Mesh, lengths: tuple[int, ...], kind: Any) -> jax.ShapeDtypeStruct:
    """A batch's array, placed as `model.mesh.spread` places it."""
    return jax.ShapeDtypeStruct(lengths, kind, sharding=NamedSharding(mesh, jax.P(BATCH_AXES)))


def _scalar(mesh: Mesh, kind: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((), kind, sharding=NamedSharding(mesh, jax.P()))


def _text(work: Work, mesh: Mesh) -> TextBatch:
    source, target = ((work.batch, n) for n in (work.lengths.max_prompt_tokens, work.lengths.max_new_tokens))
    return TextBatch(*(_rows(mesh, lengths, kind) for lengths in (source, target) for kind in (jnp.int32, bool)))


def _named(tree: Any) -> list[tuple[str, jax.ShapeDtypeStruct]]:
    return [(jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def _bytes_here(leaf: jax.ShapeDtypeStruct) -> float:
    """Bytes of an array on one device."""
    return float(math.prod(leaf.sharding.shard_shape(leaf.shape)) * jnp.dtype(leaf.dtype).itemsize)


def memory(parts: Sequence[Part]) -> dict[str, float]:
    """Bytes on one device, by the compiler's figures, of the part that needs most: what it is given, makes and keeps meanwhile.

    `arguments` holds what lies beside the program too, such as the optimizer's moments while the gradient is computed;
    results that take an argument's place count once.
    """
    needs = []
    for part in parts:
        own = part.compiled.memory_analysis()
        needs.append(
            {
                "arguments": own.argument_size_in_bytes + part.beside,
                "results": float(own.output_size_in_bytes - own.alias_size_in_bytes),
                "temporaries": float(own.temp_size_in_bytes),
                "program": float(own.generated_code_size_in_bytes),
            }
        )
    most = max(needs, key=lambda need: sum(need.values()))
    return {**most, "all": sum(most.values())}


# What a layout must not do


def kept_whole(part: Part, mesh: Mesh) -> list[str]:
    """Names of a program's arguments, results and arrays on the way that every device holds whole though it should not."""
    given = replicated(part.inputs, mesh, PARAMETER_AXES)
    made = replicated(part.outputs, mesh, part.splits)
    return [f"{part.name}: {name}" for name in (*given, *made, *whole_inside(part.text, part.inside, mesh))]


def replicated(named: Sequence[tuple[str, jax.ShapeDtypeStruct]], mesh: Mesh, axes: Sequence[str]) -> list[str]:
    """Names of arrays of more than `WHOLE_UP_TO` bytes that every device holds whole although one of these axes could split them."""
    sizes = [mesh.shape[axis] for axis in axes if mesh.shape[axis] > 1]
    found = []
    for name, leaf in named:
        could = any(length % size == 0 for length in leaf.shape for size in sizes)
        if could and _bytes_here(leaf) > WHOLE_UP_TO and leaf.sharding.shard_shape(leaf.shape) == tuple(leaf.shape):
            found.append(f"{name} {list(leaf.shape)}")
    return found


def whole_inside(text: str, inside: dict[str, tuple[int, ...]], mesh: Mesh) -> list[str]:
    """Names of arrays that a device's program holds whole on its way, told by their lengths, in whatever order.

    Args:
      text: the compiled program's.
      inside: lengths of the whole arrays, by name.
      mesh: with one device nothing is wrong.
    """

    def signature(lengths: Sequence[int]) -> tuple[int, ...]:
        return tuple(sorted(n for n in lengths if n > 1))

    held = {signature(lengths) for _, lengths, _ in arrays(text)}
    return [f"{name} {list(lengths)}" for name, lengths in inside.items() if mesh.size > 1 and signature(lengths) in held]
