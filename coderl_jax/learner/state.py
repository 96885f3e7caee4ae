"""The training state and one update of it."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, Key

from coderl_jax.config import Optimizer
from coderl_jax.model.mesh import split_as_parameters

Loss = Callable[[Any, Any, Key[Array, ""]], tuple[Float[Array, ""], dict[str, Array]]]
"""(params, batch, dropout key) -> (scalar to minimise, scalars to log)."""


class TrainState(NamedTuple):
    """What an update changes and a checkpoint holds.

    Attributes:
      params: the model's parameters.
      opt_state: the optimizer's.
      step: updates made, int32 scalar.
      step_scale: factor on every update, float32 scalar; 1 until a roll-back lowers it.
    """

    params: Any
    opt_state: Any
    step: Int[Array, ""]
    step_scale: Float[Array, ""]


def learning_rate(config: Optimizer) -> optax.Schedule:
    """Linear warm-up from 0, then polynomial decay to `end_learning_rate` at the last update (CodeRL section 4.2)."""
    warmup = min(config.warmup_steps, config.steps - 1)
    rise = optax.linear_schedule(0.0, config.learning_rate, max(warmup, 1))
    fall = optax.polynomial_schedule(config.learning_rate, config.end_learning_rate, config.decay_power, max(config.steps - warmup, 1))
    return optax.join_schedules([rise, fall], [warmup]) if warmup else fall


def make_optimizer(config: Optimizer) -> optax.GradientTransformation:
    """AdamW behind a clip of the global norm."""
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(learning_rate(config), b2=config.beta2, weight_decay=config.weight_decay),
    )


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
    step, step_scale = jax.device_put((jnp.zeros((), jnp.int32), jnp.ones((), jnp.float32)), everywhere)
    return TrainState(params, opt_state, step, step_scale)


def make_gradient(loss: Loss) -> Callable[[Any, Any, Key[Array, ""]], tuple[Any, dict[str, Array]]]:
    """A jitted (params, batch, dropout key) -> (gradient, logged scalars with `loss`)."""

    @jax.jit
    def gradient(params: Any, batch: Any, key: Key[Array, ""]) -> tuple[Any, dict[str, Array]]:
        (value, logged), slope = jax.value_and_grad(loss, has_aux=True)(params, batch, key)
        # Said here: left to itself the compiler may keep the whole gradient on every device and sum it there.
        return split_as_parameters(slope), {"loss": value, **logged}

    return gradient


def make_apply(optimizer: optax.GradientTransformation) -> Callable[[TrainState, Any], tuple[TrainState, dict[str, Array]]]:
    """A jitted (state, gradient) -> (new state, logged scalars). It donates the old state.

    A gradient that is not finite changes nothing but the step, and logs `skipped` = 1.
    """
    return _keeping_shardings(functools.partial(_apply, optimizer))


def make_update(
    loss: Loss, optimizer: optax.GradientTransformation
) -> Callable[[TrainState, Any, Key[Array, ""]], tuple[TrainState, dict]]:
    """An update: gradient of `loss`, then `make_apply`. It donates the old state.

    Two programs, not one: the first is compiled for every shape of a batch, the second once.

    The dropout key of update i is fold_in(key, i), so a resumed run draws what an uninterrupted one would have drawn.
    """
    gradient, apply = make_gradient(loss), make_apply(optimizer)

    def update(state: TrainState, batch: Any, key: Key[Array, ""]) -> tuple[TrainState, dict]:
        slope, logged = gradient(state.params, batch, jax.random.fold_in(key, state.step))
        state, applied = apply(state, slope)
        return state, {**logged, **applied}

    return update


def _keeping_shardings(step: Callable) -> Callable:
    """Jit a (state, ...) -> (new state, logged) that donates the state and places the new one as the old one was.

    Left to itself the compiler may place the first result elsewhere, and the second call compiles again. As of a jitted
    function, `.lower` takes abstract arguments: bench.pod compiles for devices that are not here.
    """
    compiled = None

    def jitted(state: TrainState) -> Callable:
        shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
        return jax.jit(step, donate_argnums=0, out_shardings=(shardings, None))

    def call(state: TrainState, *rest: Any) -> tuple[TrainState, dict]:
        nonlocal compiled
        compiled = compiled or jitted(state)
        return compiled(state, *rest)

    call.lower = lambda state, *rest: jitted(state).lower(state, *rest)
    return call


def _apply(optimizer: optax.GradientTransformation, state: TrainState, gradient: Any) -> tuple[TrainState, dict[str, Array]]:
    norm = optax.global_norm(gradient)
    change, opt_state = optimizer.update(gradient, state.opt_state, state.params)
    params = jax.tree.map(lambda p, c: p + state.step_scale * c.astype(p.dtype), state.params, change)
    finite = jnp.isfinite(norm)

    def choose(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)

    new = TrainState(choose(params, state.params), choose(opt_state, state.opt_state), state.step + 1, state.step_scale)
    return new, {"grad_norm": norm, "skipped": 1.0 - finite}
