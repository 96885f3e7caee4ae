"""Where arrays live: a mesh of devices, one table from named parameter axes to mesh axes, and models born in place.

One device is a mesh of 1 x 1 x 1, so there is one way to make a model. Train under `with jax.set_mesh(mesh):`, which lets
every layer keep its batch spread; without it results are the same, but the compiler places activations as it likes.
"""

import contextlib
import functools
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.experimental import mesh_utils
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding
from jaxtyping import Array, Int, Key
from numpy.typing import DTypeLike

from coderl_jax import hosts
from coderl_jax.config import MeshShape, ModelShape
from coderl_jax.files import UserError
from coderl_jax.model.critic import Critic
from coderl_jax.model.layers import BATCH_AXES, rows_split, without_mesh
from coderl_jax.model.t5 import T5

Kind = Literal["actor", "critic"]

# Name of a parameter's axis -> mesh axis it is split over; None: whole on every device.
LOGICAL_RULES: dict[str, str | None] = {
    "vocab": "tensor",  # rows of the embedding and of the output projection
    "embed": "fsdp",  # the residual stream's width
    "heads": "tensor",
    "mlp": "tensor",  # the feed-forward's inner width
    "kv": None,  # width of one head
    "layers": None,  # layers of a stack: `jax.lax.scan` slices this axis
    "buckets": None,  # of the relative position bias
    "norm": None,
    "head": None,  # the critic head's inner width
    "classes": None,
}


def make_mesh(data: int = 1, fsdp: int = 1, tensor: int = 1, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh over all devices, or, of one host, over the first one.

    Args:
      data: groups that hold a whole copy of the parameters; the batch is split among them.
      fsdp: devices among which parameters and batch are split.
      tensor: devices among which heads, feed-forward and vocabulary are split.
      devices: that there are; None: those of all hosts.

    Raises:
      UserError: the product is neither 1 nor the number of devices, or hosts would share a tensor group.
    """
    devices = jax.devices() if devices is None else devices
    sizes, there, of_us = (data, fsdp, tensor), len(devices), sum(d.process_index == jax.process_index() for d in devices)
    wanted = math.prod(sizes)
    if min(sizes) < 1 or wanted not in ((1, there) if there == of_us else (there,)):
        rule = f"1 or the number of devices, {there}" if there == of_us else f"the number of devices of all hosts, {there}"
        raise UserError(f"mesh: expected data x fsdp x tensor to be {rule}, got {data} x {fsdp} x {tensor}; change the sizes")
    mesh = arranged(sizes, devices[:wanted])
    if any(len({device.process_index for device in group}) > 1 for group in mesh.devices.reshape(-1, tensor)):
        raise UserError(f"--tensor: expected a divisor of the {of_us} devices of a host, got {tensor}; hosts are too far apart for it")
    return mesh


def arranged(sizes: tuple[int, int, int], devices: Sequence[Any]) -> Mesh:
    """Devices as data x fsdp x tensor, neighbours in the network next to each other.

    `jax.make_mesh` refuses GPUs of several nodes (JAX calls a node a slice) and what does not fill whole axes of a TPU's network.

    Raises:
      UserError: the devices are of several TPU slices and `data` is no multiple of their number: only it can cross between slices.
    """
    data, fsdp, tensor = sizes
    slices = len({getattr(device, "slice_index", 0) for device in devices}) if devices[0].platform == "tpu" else 1
    if data % slices:
        raise UserError(
            f"--data: expected a multiple of the number of TPU slices, {slices}, got {data}; slices are too far apart for the rest"
        )

    def within(split: bool) -> np.ndarray:
        if slices == 1:
            return mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=split)
        inner = data // slices, fsdp, tensor
        return mesh_utils.create_hybrid_device_mesh(inner, (slices, 1, 1), devices, allow_split_physical_axes=split)

    try:
        arrangement = within(split=False)
    except NotImplementedError:  # an axis that fills no axis of the network lies along parts of them
        arrangement = within(split=True)
    return Mesh(arrangement, ("data", "fsdp", "tensor"), axis_types=(AxisType.Auto,) * 3)


@contextlib.contextmanager
def mesh_in_use(shape: MeshShape, each_host: bool = False) -> Iterator[Mesh]:
    """Within the block models are loaded onto this mesh, batches spread over it, and layers keep them so.

    Args:
      shape: of the mesh.
      each_host: a mesh of this host's devices alone.

    Raises:
      UserError: see `make_mesh`.
    """
    mesh = make_mesh(shape.data, shape.fsdp, shape.tensor, jax.local_devices() if each_host else None)
    with jax.set_mesh(mesh):
        yield mesh


@contextlib.contextmanager
def sampling_mesh(params: Any) -> Iterator[Any]:
    """Within the block: this host's devices alone, and the parameters laid out for drawing programs.

    A step of decoding is too short to gather parameters for: every device holds them whole, but for what `tensor` splits. Hosts then
    draw each at its own pace.
    """
    mesh = current_mesh()
    if mesh is None or (hosts.count() == 1 and mesh.shape["fsdp"] == 1):
        yield params
        return
    groups = mesh.devices.reshape(-1, mesh.shape["tensor"])
    ours = np.array([group for group in groups if group[0].process_index == jax.process_index()])[:, None, :]
    own = Mesh(ours, mesh.axis_names, axis_types=(AxisType.Auto,) * 3)

    def placed(param: Any, whole: Any) -> Any:
        shards = [shard.data for shard in whole.addressable_shards]
        return jax.make_array_from_single_device_arrays(param.shape, NamedSharding(own, whole.sharding.spec), shards)

    def over_tensor(param: Any) -> NamedSharding:
        return NamedSharding(mesh, jax.P(*(axis if axis == "tensor" else None for axis in param.sharding.spec)))

    whole = jax.device_put(params, jax.tree.map(over_tensor, params))
    with jax.set_mesh(own):
        yield jax.tree.map(placed, params, whole)


def current_mesh() -> Mesh | None:
    """The mesh in use, or None outside of `mesh_in_use`."""
    mesh = jax.sharding.get_mesh()
    return None if mesh.empty else mesh


def device_memory() -> int | None:
    """Bytes of a device's memory, of a CPU's all there is; None where nobody says."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats:
        return stats.get("bytes_limit")
    if device.platform != "cpu" or sys.platform != "linux":
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def on_current_mesh(params: Any) -> Any:
    """Parameters placed on the mesh in use, those that are there already left alone."""
    mesh = current_mesh()
    return params if mesh is None else jax.device_put(params, shardings(params, mesh))


def check_mesh(mesh: MeshShape, shape: ModelShape, rows: int | None = None) -> None:
    """Raise UserError where devices could not share a model, or the rows of a batch that are gone through together, evenly."""
    rules = [
        ("--tensor", mesh.tensor, "heads", shape.heads),
        ("--tensor", mesh.tensor, "feed-forward width", shape.d_ff),
        ("--fsdp", mesh.fsdp, "width", shape.d_model),
        ("--data x --fsdp", mesh.data * mesh.fsdp, "--batch-size / --accumulate", rows),
    ]
    for flag, parts, name, size in rules:
        if size is not None and size % parts:
            raise UserError(f"{flag}: expected a divisor of the {name} {size}, got {parts}; change the mesh or the size")


def own_rows(batch_size: int) -> Int[np.ndarray, " rows"]:
    """Which rows of a batch this host's devices hold; all of them where there is no other host."""
    mesh = current_mesh()
    if mesh is None:
        return np.arange(batch_size)
    places = NamedSharding(mesh, jax.P(BATCH_AXES)).addressable_devices_indices_map((batch_size,))
    return np.unique(np.concatenate([np.arange(batch_size)[place] for place in places.values()]))


def spread(batch: Any) -> Any:
    """A tree of host arrays on the mesh in use, split by batch; every host has the whole of them. Without a mesh as it is.

    What cannot be split evenly is whole on every device.
    """
    mesh = current_mesh()
    parts = rows_split(mesh)

    def place(leaf: Any) -> Any:
        array = np.asarray(leaf)
        spec = jax.P() if array.ndim == 0 or array.shape[0] % parts else jax.P(BATCH_AXES)
        return jax.make_array_from_callback(array.shape, NamedSharding(mesh, spec), lambda place: array[place])

    return batch if mesh is None else jax.tree.map(place, batch)


def spread_own(batch: Any, batch_size: int) -> Any:
    """`spread` of a batch of which each host has its `own_rows` only; `batch_size` is that of the whole batch."""
    mesh = current_mesh()

    def place(leaf: Any) -> Any:
        shape = (batch_size, *np.shape(leaf)[1:])
        return jax.make_array_from_process_local_data(NamedSharding(mesh, jax.P(BATCH_AXES)), np.asarray(leaf), shape)

    return batch if mesh is None else jax.tree.map(place, batch)


def fetch(tree: Any) -> Any:
    """A tree of arrays in host memory, as numpy, on every host; all of them must ask."""

    def whole(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable and not leaf.is_fully_replicated:
            leaf = jax.device_put(leaf, NamedSharding(leaf.sharding.mesh, jax.P()))
        return np.asarray(leaf)

    return jax.tree.map(whole, tree)


def shardings(tree: Any, mesh: Mesh | AbstractMesh) -> Any:
    """A tree of `NamedSharding`s for a tree with NNX variables: parameters, or an optimizer's state (abstract ones too).

    An axis of a length that its mesh axis does not divide stays whole, and so does what is no variable.
    """

    def place(leaf: Any) -> Any:
        if not isinstance(leaf, nnx.Variable):
            return NamedSharding(mesh, jax.P())
        axes = []
        for length, name in zip(leaf.shape, leaf.out_sharding, strict=True):
            axis = LOGICAL_RULES[name]
            axes.append(axis if axis and length % mesh.shape[axis] == 0 else None)
        return leaf.replace(NamedSharding(mesh, jax.P(*axes)))

    return jax.tree.map(place, tree, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))


def split_as_parameters(tree: Any) -> Any:
    """Within a jitted function: a tree of NNX variables kept split as parameters are over the mesh in use, if any."""
    mesh = jax.sharding.get_abstract_mesh()
    return tree if mesh.empty else jax.lax.with_sharding_constraint(tree, shardings(tree, mesh))


@functools.cache
def abstract_params(shape: ModelShape, kind: Kind, dtype: DTypeLike = jnp.float32) -> tuple[Any, Any]:
    """(graphdef, parameters as shapes and types) of a model, without computing or keeping any; the same objects when asked again."""
    with without_mesh():
        return nnx.split(nnx.eval_shape(lambda: _build(shape, kind, jax.random.key(0), dtype)))


def init_params(shape: ModelShape, key: Key[Array, ""], mesh: Mesh, *, kind: Kind, dtype: DTypeLike = jnp.float32) -> tuple[Any, Any]:
    """(graphdef, parameters) of a new model; each device computes and holds its own share. The values do not depend on the mesh.

    Args:
      shape: the T5's; its vocabulary is not 0.
      key: seeds the parameters.
      mesh: from `make_mesh`.
      kind: "actor" for a `T5`, "critic" for a `Critic`.
      dtype: what the model computes in; parameters are float32.
    """
    with without_mesh():
        return abstract_params(shape, kind, dtype)[0], _initializer(shape, mesh, kind, dtype)(key)


@functools.cache
def _initializer(shape: ModelShape, mesh: Mesh, kind: Kind, dtype: DTypeLike) -> Callable[[Key[Array, ""]], Any]:
    """A jitted key -> parameters."""
    _, abstract = abstract_params(shape, kind, dtype)
    # It runs once: on a CPU, a level below the usual one compiles it in 3 s, not 6 (CodeT5-small's shape), to the same values as fast.
    # A level in XLA_FLAGS wins.
    level, chosen = "xla_backend_optimization_level", os.environ.get("XLA_FLAGS", "")
    once = {level: 2} if mesh.devices.flat[0].platform == "cpu" and level not in chosen else None
    return jax.jit(lambda key: nnx.state(_build(shape, kind, key, dtype)), out_shardings=shardings(abstract, mesh), compiler_options=once)


def _build(shape: ModelShape, kind: Kind, key: Key[Array, ""], dtype: DTypeLike) -> T5 | Critic:
    body_key, head_key = jax.random.split(key)
    body = T5(shape, rngs=nnx.Rngs(body_key), dtype=dtype)
    return body if kind == "actor" else Critic(body, rngs=nnx.Rngs(head_key))
