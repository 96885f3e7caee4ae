"""Updates, schedules, checkpoints and the fit loop, on a model of one matrix."""

import contextlib
import dataclasses
import json
import os
import resource
import signal
from typing import NamedTuple

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
from coderl_jax.learner.state import init_state, learning_rate, make_apply, make_gradient, make_optimizer, make_update
from coderl_jax.learner.trackers import MetricsLog
from coderl_jax.model.mesh import make_mesh

ZERO = jnp.float32(0)
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


def test_the_step_size_is_that_of_the_update_whatever_was_skipped_before():
    config = Optimizer(steps=10, warmup_steps=0, learning_rate=0.1, end_learning_rate=0.0, decay_power=1.0, weight_decay=0.0)
    apply = make_apply(make_optimizer(config))
    state = init_state({"w": jnp.ones(3)}, make_optimizer(config))
    for _ in range(5):
        state, logged = apply(state, {"w": jnp.full(3, jnp.nan)}, jnp.float32(1.0))
        assert logged["skipped"] == 1.0
    state, _ = apply(state, {"w": jnp.ones(3)}, jnp.float32(1.0))
    np.testing.assert_allclose(state.params["w"], 1 - 0.05, rtol=1e-5)  # of update 5: half of the first


def test_what_a_checkpoint_keeps_beside_the_state_is_of_its_moment(tmp_path):
    checkpoints, best = Checkpoints(tmp_path), {"reward": [0.0]}
    state = {"w": jnp.ones((2000, 2000))}
    for step in (1, 2):
        checkpoints.save(step, state, best)
        best["reward"][0] += 1.0  # the save may be under way
    assert checkpoints.restore(state)[1] == {"reward": [1.0]}
    assert checkpoints.restore(state, 1)[1] == {"reward": [0.0]}
    assert checkpoints.restore(state, 7) is None
    checkpoints.close()


def test_a_warm_up_longer_than_the_run_is_said(capsys):
    make_optimizer(Optimizer(steps=7, warmup_steps=9))
    assert "--warmup-steps 9 of 7 updates" in capsys.readouterr().err


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
    state, _ = make_apply(optimizer)(state, {"w": jnp.array([3.0, 0.5])}, ZERO)
    expected = np.array([1.0, -2.0]) - 0.1 * (np.sign([3.0, 0.5]) + 0.5 * np.array([1.0, -2.0]))  # first step: m / sqrt(v) = sign
    np.testing.assert_allclose(state.params["w"], expected, rtol=1e-5)


def test_relative_steps_are_shares_of_a_matrix_s_size():
    config = Optimizer(steps=10, warmup_steps=0, learning_rate=0.1, weight_decay=0.5, clip_norm=1e9, relative_steps=True)
    optimizer = make_optimizer(config)
    params = {"large": jnp.array([3.0, -4.0]), "small": jnp.array([0.03, -0.04]), "zero": jnp.zeros(2)}
    slope = {"large": jnp.array([3.0, 0.5]), "small": jnp.array([-1.0, 2.0]), "zero": jnp.array([1.0, 1.0])}
    state, _ = make_apply(optimizer)(init_state(params, optimizer), slope, ZERO)
    for name, size in (("large", np.sqrt(12.5)), ("small", np.sqrt(12.5e-4)), ("zero", 1e-3)):
        expected = np.asarray(params[name]) - 0.1 * (size * np.sign(slope[name]) + 0.5 * np.asarray(params[name]))
        np.testing.assert_allclose(state.params[name], expected, rtol=1e-5)


def test_the_gradient_is_clipped_by_its_global_norm():
    config = Optimizer(steps=10, warmup_steps=0, learning_rate=1.0, weight_decay=0.0, clip_norm=1e-12)
    optimizer = make_optimizer(config)
    state, logged = make_apply(optimizer)(init_state({"w": jnp.zeros(2)}, optimizer), {"w": jnp.array([3.0, 4.0])}, ZERO)
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
    state, logged = make_apply(optimizer)(state, {"w": jnp.array([1.0, jnp.nan, 1.0])}, ZERO)
    np.testing.assert_array_equal(state.params["w"], before)
    assert (int(state.step), float(logged["skipped"])) == (1, 1.0)


def test_the_step_scale_shrinks_the_update():
    optimizer = make_optimizer(Optimizer(steps=10, warmup_steps=0, learning_rate=0.1, weight_decay=0.0))
    moved = []
    for scale in (1.0, 0.25):
        state = init_state({"w": jnp.ones(1)}, optimizer)._replace(step_scale=jnp.float32(scale))
        state, _ = make_apply(optimizer)(state, {"w": jnp.ones(1)}, ZERO)
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


def run_fit(folder, stop_at=None, by=signal.SIGTERM, evaluate=None, choose=None, kept=None, patience=0, made=None):
    made = [] if made is None else made
    step = make_update(squares, make_optimizer(CONFIG))
    count = 0

    def update(*state_and_batch):
        nonlocal count
        count += 1
        if count == stop_at:
            os.kill(os.getpid(), by)
        return step(*state_and_batch)

    def to_device(batch):
        made.append(batch.index.tolist())
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
    assert rows(tmp_path / "a") == rows(tmp_path / "b")


def test_the_next_batch_is_on_the_device_before_the_host_waits_and_each_is_used_once(tmp_path):
    made, before = [], []

    def evaluate(params):
        before.append(len(made))
        return {"score": 0.0}

    run_fit(tmp_path, evaluate=evaluate, made=made)
    assert before == [11, 21, 31, 40], "the last update makes none ahead"
    batches = stream()
    assert made == [next(batches).index.tolist() for _ in range(40)]


def test_what_goes_wrong_with_the_next_batch_ends_the_fit(tmp_path):
    class Broken(BatchStream):
        def __next__(self):
            if self._next == 3:
                raise UserError("row 3: expected tokens")
            return super().__next__()

    plan = Fit(folder=tmp_path, steps=9, save_every=9, evaluate_every=9, evaluate=None, choose=None, keep=lambda params: None)
    broken = Broken([Example([i], [i]) for i in range(13)], 4, seed=0)
    update = make_update(squares, make_optimizer(CONFIG))
    with pytest.raises(UserError, match="row 3: expected tokens"):
        fit(start(), update, broken, lambda batch: jnp.asarray(batch.source), jax.random.key(1), plan, learning_rate(CONFIG))


def test_an_update_leaves_no_second_copy_of_the_state():
    state = start()
    before = jax.tree.leaves((state.params, state.opt_state))
    make_update(squares, make_optimizer(CONFIG))(state, jnp.ones((4, 1)), jax.random.key(0))
    assert all(leaf.is_deleted() for leaf in before)


@pytest.mark.parametrize("stop_at", [None, 27])
def test_a_fit_without_progress_ends_early_with_its_best_and_stays_ended(tmp_path, stop_at, capsys):
    scores, kept = {10: 0.5, 20: 0.4, 30: 0.5, 40: 0.9}, []
    at = iter(scores)
    settings = {"evaluate": lambda params: {"score": scores[next(at)]}, "choose": "score", "patience": 2, "kept": kept}
    if stop_at:
        with pytest.raises(Preempted):
            run_fit(tmp_path, stop_at=stop_at, **settings)
    assert run_fit(tmp_path, **settings) == {"best": 0.5, "best_step": 30}
    assert len(kept) == 2
    assert rows(tmp_path)[-1]["step"] == 30
    assert [row["step"] for row in rows(tmp_path) if "loss" in row] == [20, 30], "the losses up to its end"
    assert "stopped early: score is best at update 30, which is kept" in capsys.readouterr().err
    assert run_fit(tmp_path, **settings) == {"best": 0.5, "best_step": 30}, "the same command again does no more"
    assert next(at) == 40


def test_a_fit_that_never_converges_says_so_in_one_line(tmp_path):
    def broken(params, batch, key):
        return jnp.sum(params["w"]) * jnp.nan, {}

    with pytest.raises(UserError, match="at update 20, before the first checkpoint; lower --learning-rate, with another --out"):
        fit_with(tmp_path, broken, save_every=30)


def fit_with(folder, loss, save_every, steps=100):
    plan = Fit(folder=folder, steps=steps, save_every=save_every, evaluate_every=10, evaluate=None, choose=None, keep=lambda params: None)
    config = dataclasses.replace(CONFIG, steps=steps)
    batches = iter(range(1000))
    settings = (lambda batch: jnp.float32(next(batches)), jax.random.key(1), plan, learning_rate(config))
    return fit(start(), make_update(loss, make_optimizer(config)), stream(), *settings)


def test_a_loss_that_explodes_rolls_back_to_the_last_checkpoint_with_a_smaller_step(tmp_path, capsys):
    def loss(params, batch, key):
        sick = (batch >= 40) & (batch < 55)
        return jnp.sum(jnp.square(params["w"] - 1)) + jnp.where(sick, 1e4, 1.0), {}

    fit_with(tmp_path, loss, save_every=30)
    logged = rows(tmp_path)
    event = "the loss exploded: rolled back to update 30, step size x 0.5"
    assert [row.get("event") for row in logged] == [None, None, event, None, None]
    assert [row["skipped"] for row in logged] == [0.0, 0.0, 0.75, 0.0, 0.0]
    assert f"update 60: {event}" in capsys.readouterr().err
    assert logged[-1]["loss"] < 1.1


def test_a_loss_that_stays_exploded_ends_after_three_roll_backs(tmp_path):
    def loss(params, batch, key):
        return jnp.sum(jnp.square(params["w"])) * jnp.where(batch >= 15, jnp.nan, 1.0), {}

    with pytest.raises(UserError, match="at update 100, after 3 roll-backs"):
        fit_with(tmp_path, loss, save_every=10)


@pytest.mark.parametrize("parts", [2, 4])
def test_a_batch_in_parts_gives_the_gradient_of_the_whole(parts):
    random = np.random.default_rng(0)
    batch = Masked(jnp.asarray(random.normal(size=(8, 3)), jnp.float32), jnp.asarray(random.random((8, 3)) < 0.5), jnp.float32(12.0))

    def loss(params, batch, key):
        apart = jnp.square(batch.values - params["w"])
        mean = jnp.sum(jnp.where(batch.mask, apart, 0)) / batch.mask.sum()
        return mean, {"sum": jnp.sum(batch.values) / batch.count}

    params, key = {"w": jnp.arange(3.0)}, jax.random.key(0)
    (whole, told), (summed, told_in_parts) = (make_gradient(loss, n)(params, batch, key) for n in (1, parts))
    np.testing.assert_allclose(summed["w"], whole["w"], rtol=1e-5)
    assert float(told_in_parts["loss"]) == pytest.approx(float(told["loss"]), rel=1e-5)


class Masked(NamedTuple):
    values: jax.Array
    mask: jax.Array
    count: jax.Array

    def amount(self):
        return self.mask.sum()


@contextlib.contextmanager
def full_disk():
    """No file can grow beyond 4 kB, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def large(scale):
    return init_state({"w": jnp.asarray(np.random.default_rng(0).normal(size=100_000) * scale, jnp.float32)}, make_optimizer(CONFIG))


def test_a_full_disk_keeps_the_last_good_checkpoint_and_is_said(tmp_path, capsys):
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.save(1, large(1), {"at": 1})
    checkpoints.wait()
    with full_disk():
        for step in (2, 3, 4):
            checkpoints.save(step, large(step), {"at": step})
        checkpoints.wait()
        said = capsys.readouterr().err
        assert said.count("checkpoint: expected a store to write to") == 3
        assert "training goes on, 1 is kept; make room" in said
        restored, extra = checkpoints.restore(large(0))
        assert extra == {"at": 1}
        np.testing.assert_array_equal(restored.params["w"], large(1).params["w"])
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["1"], "half a checkpoint takes no room"
    checkpoints.save(5, large(5), {"at": 5})
    checkpoints.close()
    assert Checkpoints(tmp_path / "c").restore(large(0))[1] == {"at": 5}


def test_rows_that_a_full_disk_refuses_are_written_when_there_is_room(tmp_path, capsys):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.write(1, text="a" * 3000)
    with full_disk():
        log.write(2, text="b" * 3000)
        log.write(3, text="c")
    assert capsys.readouterr().err.count("output: expected a writable place") == 1
    log.write(4, text="d")
    log.close()
    assert [row["step"] for _, row in read_jsonl(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4]
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "te')  # what a kill in the middle of a write leaves
    MetricsLog(tmp_path / "metrics.jsonl", resume_at=4).close()
    assert [row["step"] for _, row in read_jsonl(tmp_path / "metrics.jsonl")] == [1, 2, 3]


def test_an_update_that_was_skipped_leaves_the_logged_mean_to_the_others():
    rows_ = [{"loss": jnp.float32(1)}, {"loss": jnp.float32(jnp.nan)}, {"loss": jnp.float32(3), "rl_loss": jnp.float32(5)}]
    assert mean_of(rows_) == {"loss": 2.0, "rl_loss": 5.0}


def test_the_parameters_that_validate_best_are_kept_of_equals_the_last(tmp_path):
    scores = iter([0.2, 0.5, 0.5, 0.1])
    kept = []
    progress = run_fit(tmp_path, evaluate=lambda params: {"score": next(scores)}, choose="score", kept=kept)
    assert progress == {"best": 0.5, "best_step": 30}
    assert len(kept) == 3
    assert [row["score"] for row in rows(tmp_path) if "score" in row] == [0.2, 0.5, 0.5, 0.1]
    json.dumps(progress)


def test_a_fit_whose_best_parameters_were_refused_is_not_finished_and_comes_by_them_again(tmp_path):
    class Full(list):
        def append(self, params):
            if self:
                raise UserError("no space left")
            super().append(params)

    first, again = iter([0.5, 0.4, 0.9, 0.8]), iter([0.9, 0.8])
    with pytest.raises(UserError, match="expected room for the best parameters, those of update 30"):
        run_fit(tmp_path, evaluate=lambda params: {"score": next(first)}, choose="score", kept=Full())
    found = run_fit(tmp_path, evaluate=lambda params: {"score": next(again)}, choose="score")
    assert found == {"best": 0.9, "best_step": 30}


def test_better_parameters_that_the_store_refuses_are_no_wait_and_equal_ones_are(tmp_path, capsys):
    class Full(list):
        """Refuses the second and the third that it is given."""

        given = 0

        def append(self, params):
            self.given += 1
            if self.given in (2, 3):
                raise UserError("no space left")
            super().append(params)

    scores, kept = iter([0.5, 0.9, 0.5, 0.8]), Full()
    progress = run_fit(tmp_path, evaluate=lambda params: {"score": next(scores)}, choose="score", patience=2, kept=kept)
    assert progress == {"best": 0.8, "best_step": 40}, "of two evaluations without progress one was a better one that was refused"
    assert len(kept) == 2
    assert capsys.readouterr().err.count("no space left; training goes on") == 2
