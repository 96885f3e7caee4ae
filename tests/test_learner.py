"""Updates, schedules, checkpoints and the fit loop, on a model of one matrix."""

import json
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from coderl_jax.cli import Preempted
from coderl_jax.config import Optimizer
from coderl_jax.data.batches import BatchStream, Example
from coderl_jax.files import UserError, read_jsonl
from coderl_jax.learner.checkpoint import Checkpoints
from coderl_jax.learner.fit import Fit, fit, mean_of
from coderl_jax.learner.state import init_state, learning_rate, make_apply, make_optimizer, make_update
from coderl_jax.model.mesh import make_mesh

CONFIG = Optimizer(
    steps=40, batch_size=4, learning_rate=0.1, end_learning_rate=0.01, warmup_steps=5, decay_power=1.0, weight_decay=0.0, clip_norm=1e9
)


def squares(params, batch, key):
    """A noisy quadratic, so that order, data and dropout key all show in the result."""
    noise = jax.random.normal(key, params["w"].shape)
    residual = params["w"] - jnp.mean(batch.astype(jnp.float32)) - 0.1 * noise
    return jnp.sum(residual**2), {}


def start(config=CONFIG):
    return init_state({"w": jnp.arange(3.0)}, make_optimizer(config))


def stream():
    return BatchStream([Example([i], [i]) for i in range(13)], 4, seed=0)


def test_the_step_size_rises_from_zero_and_falls_to_its_end():
    schedule = learning_rate(CONFIG)
    values = [float(schedule(i)) for i in (0, 1, 5, 22.5, 40)]
    np.testing.assert_allclose(values, [0.0, 0.02, 0.1, 0.055, 0.01], rtol=1e-6)


def test_the_papers_schedule_falls_with_a_square_root():
    schedule = learning_rate(Optimizer(steps=1500, warmup_steps=500))
    assert float(schedule(500)) == pytest.approx(2e-5)
    assert float(schedule(1000)) == pytest.approx(1e-5 + 1e-5 * 0.5**0.5)
    assert float(schedule(1500)) == pytest.approx(1e-5)


def test_a_run_shorter_than_its_warm_up_still_moves():
    schedule = learning_rate(Optimizer(steps=3, warmup_steps=500, learning_rate=1.0))
    assert float(schedule(2)) > 0


def test_one_update_is_adamw_by_hand():
    config = Optimizer(steps=10, warmup_steps=0, learning_rate=0.1, weight_decay=0.5, clip_norm=1e9)
    optimizer = make_optimizer(config)
    state = init_state({"w": jnp.array([1.0, -2.0])}, optimizer)
    state, _ = make_apply(optimizer)(state, {"w": jnp.array([3.0, 0.5])})
    expected = np.array([1.0, -2.0]) - 0.1 * (np.sign([3.0, 0.5]) + 0.5 * np.array([1.0, -2.0]))  # first step: m / sqrt(v) = sign
    np.testing.assert_allclose(state.params["w"], expected, rtol=1e-5)


def test_the_gradient_is_clipped_by_its_global_norm():
    config = Optimizer(steps=10, warmup_steps=0, learning_rate=1.0, weight_decay=0.0, clip_norm=1e-12)
    optimizer = make_optimizer(config)
    state, logged = make_apply(optimizer)(init_state({"w": jnp.zeros(2)}, optimizer), {"w": jnp.array([3.0, 4.0])})
    assert float(logged["grad_norm"]) == pytest.approx(5.0)
    assert np.abs(state.params["w"]).max() < 1e-3, "Adam's epsilon swallows a gradient clipped to nothing"


def test_a_state_stays_where_it_was_placed_so_an_update_compiles_once():
    mesh = make_mesh()
    placed = jax.device_put(jnp.ones((4, 2)), NamedSharding(mesh, PartitionSpec("fsdp", "tensor")))
    optimizer = make_optimizer(CONFIG)
    update = make_update(squares, optimizer)
    state = init_state({"w": placed}, optimizer)
    before = jax.tree.map(lambda leaf: leaf.sharding, state)
    for _ in range(2):
        state, _ = update(state, jnp.ones(3), jax.random.key(0))
        assert jax.tree.map(lambda leaf: leaf.sharding, state) == before
    moments = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim == 2]
    assert len(moments) == 2
    assert all(leaf.sharding == placed.sharding for leaf in moments)


def test_an_update_that_is_not_finite_changes_nothing_but_the_step():
    optimizer = make_optimizer(CONFIG)
    state = start()
    before = np.asarray(state.params["w"]).copy()
    state, logged = make_apply(optimizer)(state, {"w": jnp.array([1.0, jnp.nan, 1.0])})
    np.testing.assert_array_equal(state.params["w"], before)
    assert (int(state.step), float(logged["skipped"])) == (1, 1.0)


def test_the_step_scale_shrinks_the_update():
    optimizer = make_optimizer(Optimizer(steps=10, warmup_steps=0, learning_rate=0.1, weight_decay=0.0))
    moved = []
    for scale in (1.0, 0.25):
        state = init_state({"w": jnp.ones(1)}, optimizer)._replace(step_scale=jnp.float32(scale))
        state, _ = make_apply(optimizer)(state, {"w": jnp.ones(1)})
        moved.append(1.0 - float(state.params["w"][0]))
    assert moved[1] == pytest.approx(moved[0] / 4, rel=1e-4)


def test_a_checkpoint_is_not_touched_by_updates_that_follow(tmp_path):
    update = make_update(squares, make_optimizer(CONFIG))
    checkpoints = Checkpoints(tmp_path / "c")
    state = start()
    saved = np.asarray(state.params["w"]).copy()
    checkpoints.save(0, state, {"note": [1]})
    for batch in range(20):  # they donate the buffers that the checkpoint is being written from
        state, _ = update(state, jnp.full((4, 1), batch), jax.random.key(0))
    restored, extra = checkpoints.restore(state)
    np.testing.assert_array_equal(restored.params["w"], saved)
    assert (int(restored.step), extra) == (0, {"note": [1]})
    checkpoints.close()


def test_only_the_last_checkpoints_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c", keep=2)
    for step in range(4):
        checkpoints.save(step, start(), {})
    checkpoints.close()
    assert sorted(path.name for path in (tmp_path / "c").iterdir() if path.name.isdigit()) == ["2", "3"]


def test_a_checkpoint_of_another_shape_is_one_line(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.save(0, start(), {})
    other = init_state({"w": jnp.arange(4.0), "b": jnp.zeros(2)}, make_optimizer(CONFIG))
    with pytest.raises(UserError, match="checkpoint: expected this model's shapes"):
        checkpoints.restore(other)
    checkpoints.close()


def run_fit(folder, stop_at=None, by=signal.SIGTERM, evaluate=None, choose=None, kept=None, patience=0):
    update = make_update(squares, make_optimizer(CONFIG))
    count = 0

    def to_device(batch):
        nonlocal count
        count += 1
        if count == stop_at:
            os.kill(os.getpid(), by)
        return jnp.asarray(batch.source)

    plan = Fit(
        folder=folder,
        steps=40,
        save_every=10,
        evaluate_every=10,
        evaluate=evaluate,
        choose=choose,
        patience=patience,
        keep=[].append if kept is None else kept.append,
    )
    return fit(start(), update, stream(), to_device, jax.random.key(1), plan, learning_rate(CONFIG))


def rows(folder):
    """The log without what time decides."""
    return [{k: v for k, v in row.items() if k != "updates_per_second"} for _, row in read_jsonl(folder / "metrics.jsonl")]


@pytest.mark.parametrize(("stop_at", "by"), [(10, signal.SIGTERM), (17, signal.SIGTERM), (17, signal.SIGINT)])
def test_an_interrupted_fit_ends_as_an_uninterrupted_one(tmp_path, stop_at, by):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole, pieces = [], []
    run_fit(tmp_path / "a", kept=whole)
    with pytest.raises(Preempted, match=f"update {stop_at} of 40 is saved"):
        run_fit(tmp_path / "b", stop_at=stop_at, by=by)
    run_fit(tmp_path / "b", kept=pieces)
    np.testing.assert_array_equal(whole[-1]["w"], pieces[-1]["w"])
    assert rows(tmp_path / "a")[-1] == rows(tmp_path / "b")[-1]


@pytest.mark.parametrize("stop_at", [None, 27])
def test_a_fit_without_progress_ends_early_with_its_best_and_stays_ended(tmp_path, stop_at):
    scores, kept = {10: 0.5, 20: 0.4, 30: 0.5, 40: 0.9}, []
    at = iter(scores)
    settings = {"evaluate": lambda params: {"score": scores[next(at)]}, "choose": "score", "patience": 2, "kept": kept}
    if stop_at:
        with pytest.raises(Preempted):
            run_fit(tmp_path, stop_at=stop_at, **settings)
    assert run_fit(tmp_path, **settings) == {"best": 0.5, "best_step": 10}
    assert len(kept) == 1
    assert rows(tmp_path)[-1]["step"] == 30
    assert run_fit(tmp_path, **settings) == {"best": 0.5, "best_step": 10}, "the same command again does no more"
    assert next(at) == 40


def test_a_fit_that_diverges_says_so_in_one_line(tmp_path):
    def broken(params, batch, key):
        return jnp.sum(params["w"]) * jnp.nan, {}

    plan = Fit(folder=tmp_path, steps=40, save_every=10, evaluate_every=10, evaluate=None, choose=None, keep=lambda params: None)
    update = make_update(broken, make_optimizer(CONFIG))
    settings = (stream(), lambda batch: jnp.asarray(batch.source), jax.random.key(1), plan, learning_rate(CONFIG))
    with pytest.raises(UserError, match="expected a finite number at step 20, got nan; lower --learning-rate, with another --out"):
        fit(start(), update, *settings)


def test_an_update_that_was_skipped_leaves_the_logged_mean_to_the_others():
    rows_ = [{"loss": jnp.float32(1)}, {"loss": jnp.float32(jnp.nan)}, {"loss": jnp.float32(3), "rl_loss": jnp.float32(5)}]
    assert mean_of(rows_) == {"loss": 2.0, "rl_loss": 5.0}


def test_the_parameters_that_validate_best_are_kept(tmp_path):
    scores = iter([0.2, 0.5, 0.5, 0.1])
    kept = []
    progress = run_fit(tmp_path, evaluate=lambda params: {"score": next(scores)}, choose="score", kept=kept)
    assert progress == {"best": 0.5, "best_step": 20}
    assert len(kept) == 2
    assert [row["score"] for row in rows(tmp_path) if "score" in row] == [0.2, 0.5, 0.5, 0.1]
    json.dumps(progress)
