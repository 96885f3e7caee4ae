"""The training state and one update of it."""

import collections
import functools
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, Key

from coderl_jax import hosts
from coderl_jax.config import Optimizer
from coderl_jax.model.mesh import split_as_parameters

Loss = Callable[..., tuple[Float[Array, ""], dict[str, Array]]]
"""(params, batch, dropout key, *fixed parameters) -> (scalar to minimise, scalars to log)."""


class TrainState(NamedTuple):
    """What an update changes and a checkpoint holds.

    Attributes:
      params: the model's parameters.
      opt_state: the optimizer's.
      step: updates made, int32 scalar.
      step_scale: factor on every update, float32 scalar; 1 until a roll-back lowers it.
      usual_loss: moving average of the losses, float32 scalar; infinite before the first.
    """

    params: Any
    opt_state: Any
    step: Int[Array, ""]
    step_scale: Float[Array, ""]
    usual_loss: Float[Array, ""]


IN_FLIGHT = 2
"""Updates that are begun before the one ahead of them is done: the devices never wait for the host, and hold few batches. Simulated
devices need the limit: JAX runs theirs on few threads, and hosts that have begun some thirty computations wait for each other forever."""
EXPLODED = 10.0
"""A loss above so many times the usual one, or above so many nats where that is less than 1, has exploded."""


def learning_rate(config: Optimizer) -> optax.Schedule:
    """Linear warm-up from 0, then polynomial decay that would be at `end_learning_rate` one update after the last (CodeRL section 4.2)."""
    warmup = min(config.warmup_steps, config.steps - 1)
    rise = optax.linear_schedule(0.0, config.learning_rate, max(warmup, 1))
    fall = optax.polynomial_schedule(config.learning_rate, config.end_learning_rate, config.decay_power, max(config.steps - warmup, 1))
    return optax.join_schedules([rise, fall], [warmup]) if warmup else fall


@functools.cache
def make_optimizer(config: Optimizer) -> optax.GradientTransformation:
    """AdamW behind a clip of the global norm; with `relative_steps` an update is scaled by its matrix's size, as Adafactor's is:

    w <- w - lr (max(RMS(w), 1e-3) m / (sqrt(v) + eps) + decay w)        Shazeer and Stern 2018, section 8; stacked layers are one matrix
    """
    if config.warmup_steps >= config.steps > 1 and hosts.is_first():
        print(f"--warmup-steps {config.warmup_steps} of {config.steps} updates: the step size rises to the last", file=sys.stderr)
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.scale_by_adam(b2=config.beta2),
        *([optax.scale_by_param_block_rms(1e-3)] if config.relative_steps else []),
        optax.add_decayed_weights(config.weight_decay),
        _scale_by_step(learning_rate(config)),
    )


def _scale_by_step(schedule: optax.Schedule) -> optax.GradientTransformationExtraArgs:
    """Minus the step size of update `step`. With a count of its own it would stand still at skipped updates and go back with the rest."""

    def update(updates: Any, state: Any, params: Any = None, *, step: Int[Array, ""], **_: Any) -> tuple[Any, Any]:
        size = schedule(step)
        return jax.tree.map(lambda u: -size * u, updates), state

    return optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)


def init_state(params: Any, optimizer: optax.GradientTransformation) -> TrainState:
    """A state before its first update, the optimizer's moments sharded as the parameters are.

    The parameters are copied: updates donate their buffers.
    """
    params = jax.tree.map(lambda p: jax.device_put(jnp.copy(p), p.sharding), params)
    placed = jax.tree.leaves(params)[0].sharding
    everywhere = NamedSharding(placed.mesh, PartitionSpec()) if isinstance(placed, NamedSharding) else placed
    shardings = optax.tree_utils.tree_map_params(
        optimizer,
        lambda _, param: param.sharding,
        jax.eval_shape(optimizer.init, params),
        params,
        transform_non_params=lambda _: everywhere,
    )
    opt_state = jax.jit(optimizer.init, out_shardings=shardings)(params)
    scalars = np.int32(0), np.float32(1.0), np.float32(np.inf)
    return TrainState(params, opt_state, *jax.device_put(scalars, everywhere))


@functools.cache
def make_gradient(loss: Loss, parts: int = 1) -> Callable[..., tuple[Any, dict[str, Array]]]:
    """A jitted (params, batch, dropout key, *fixed) -> (gradient, logged scalars with `loss`), the same for the same loss.

    In several parts, one after the other, the activations of one are in memory at a time; loss and gradient are the same, but for dropout:

      L = sum_i a_i L_i / sum_i a_i          a_i: what part i's mean is over (`batch.amount()`: tokens, or programs)

    Args:
      loss: of a batch, or of a part; `fixed` are other parameters that it reads, which get no gradient.
      parts: that a batch is gone through in; its rows are a multiple. Scalars of a batch are counts, shared evenly.
    """

    def of(params: Any, batch: Any, key: Key[Array, ""], *fixed: Any) -> tuple[Any, dict[str, Array]]:
        (value, logged), slope = jax.value_and_grad(loss, has_aux=True)(params, batch, key, *fixed)
        # Said here: left to itself the compiler may keep the whole gradient on every device and sum it there.
        return split_as_parameters(slope), {"loss": value, **logged}

    @jax.jit
    def gradient(params: Any, batch: Any, key: Key[Array, ""], *fixed: Any) -> tuple[Any, dict[str, Array]]:
        if parts == 1:
            return of(params, batch, key, *fixed)

        def add(total: Any, part: Any) -> tuple[Any, None]:
            number, rows = part
            amount = jnp.asarray(rows.amount(), jnp.float32)
            found = of(params, rows, jax.random.fold_in(key, number), *fixed), jnp.float32(1.0)
            return jax.tree.map(lambda sum, x: sum + amount * x, total, found), None

        divided = jax.tree.map(functools.partial(_in_parts, parts), batch)
        like = jax.eval_shape(of, params, jax.tree.map(lambda leaf: leaf[0], divided), key, *fixed)
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), (like, jax.ShapeDtypeStruct((), jnp.float32)))
        (sums, amount), _ = jax.lax.scan(add, nothing, (jnp.arange(parts), divided))
        return jax.tree.map(lambda x: x / amount, sums)

    return gradient


@functools.partial(jax.jit, static_argnums=2, donate_argnums=0)
def weighted_sum(gradient: Any, other: Any, weights: tuple[float, float]) -> Any:
    """weights[0] * gradient + weights[1] * other; it donates the first."""
    return jax.tree.map(lambda a, b: weights[0] * a + weights[1] * b, gradient, other)


def _in_parts(parts: int, leaf: Array) -> Array:
    """Rows [b ...] as [parts, b / parts ...], every so-manieth row in one part: each device keeps the rows that it has."""
    if leaf.ndim == 0:
        return jnp.broadcast_to(leaf / parts, (parts,))
    return jnp.swapaxes(leaf.reshape(-1, parts, *leaf.shape[1:]), 0, 1)


def make_apply(
    optimizer: optax.GradientTransformation,
) -> Callable[[TrainState, Any, Float[Array, ""]], tuple[TrainState, dict[str, Array]]]:
    """A jitted (state, gradient, loss) -> (new state, logged scalars). It donates the old state.

    A gradient that is not finite or a loss that has exploded changes nothing but the step, and logs `skipped` = 1.

    The new state is placed as the old one was, and `IN_FLIGHT` are made at once. As of a jitted function, `.lower` takes abstract
    arguments: bench.pod compiles for devices that are not here.
    """
    compiled = None
    begun: collections.deque = collections.deque()

    def jitted(state: TrainState) -> Callable:
        shardings, structure = jax.tree.flatten(jax.tree.map(lambda leaf: leaf.sharding, state))
        return _jitted_apply(optimizer, structure, tuple(shardings))

    def call(state: TrainState, *rest: Any) -> tuple[TrainState, dict[str, Array]]:
        nonlocal compiled
        compiled = compiled or jitted(state)
        state, logged = compiled(state, *rest)
        begun.append(logged)
        if len(begun) > IN_FLIGHT:
            jax.block_until_ready(begun.popleft())
        return state, logged

    call.lower = lambda state, *rest: jitted(state).lower(state, *rest)
    return call


@functools.cache
def _jitted_apply(optimizer: optax.GradientTransformation, structure: Any, shardings: tuple[Any, ...]) -> Callable:
    """`_apply` into a state of this structure, placed so: the compiler might place the first result elsewhere, and compile again."""
    placed = jax.tree.unflatten(structure, shardings)
    return jax.jit(functools.partial(_apply, optimizer), donate_argnums=0, out_shardings=(placed, None))


def make_update(
    loss: Loss, optimizer: optax.GradientTransformation, parts: int = 1
) -> Callable[[TrainState, Any, Key[Array, ""]], tuple[TrainState, dict]]:
    """An update: gradient of `loss`, then `make_apply`. It donates the old state.

    Two programs, not one: the first is compiled for every shape of a batch, the second once.

    The dropout key of update i is fold_in(key, i), so a resumed run draws what an uninterrupted one would have drawn.
    """
    gradient, apply = make_gradient(loss, parts), make_apply(optimizer)

    def update(state: TrainState, batch: Any, key: Key[Array, ""]) -> tuple[TrainState, dict]:
        slope, logged = gradient(state.params, batch, jax.random.fold_in(key, state.step))
        state, applied = apply(state, slope, logged["loss"])
        return state, {**logged, **applied}

    return update


def _apply(
    optimizer: optax.GradientTransformation, state: TrainState, gradient: Any, loss: Float[Array, ""]
) -> tuple[TrainState, dict[str, Array]]:
    norm = optax.global_norm(gradient)
    change, opt_state = optimizer.update(gradient, state.opt_state, state.params, step=state.step)
    params = jax.tree.map(lambda p, c: p + state.step_scale * c.astype(p.dtype), state.params, change)
    sane = jnp.isfinite(norm) & (loss <= EXPLODED * jnp.maximum(state.usual_loss, 1.0))
    usual = jnp.where(jnp.isfinite(state.usual_loss), 0.99 * state.usual_loss + 0.01 * loss, loss)

    def choose(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda n, o: jnp.where(sane, n, o), new, old)

    kept = choose((params, opt_state, usual), (state.params, state.opt_state, state.usual_loss))
    new = TrainState(kept[0], kept[1], state.step + 1, state.step_scale, kept[2])
    return new, {"grad_norm": norm, "skipped": 1.0 - sane}
