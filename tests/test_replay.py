"""Programs of earlier rounds: what they weigh, and that a resumed run has the same ones."""

import dataclasses

import numpy as np

from coderl_jax.types import Rollout
from train.replay import Replay, corrected, together


def rollout(seed: int, t: int = 4, b: int = 2) -> Rollout:
    rng = np.random.default_rng(seed)
    return Rollout(
        source=rng.integers(1, 9, (b, 3)).astype(np.int32),
        source_mask=np.ones((b, 3), bool),
        target=rng.integers(1, 9, (b, t)).astype(np.int32),
        target_mask=np.arange(t) < rng.integers(1, t + 1, (b, 1)),
        outcome=rng.integers(0, 4, b).astype(np.int32),
        advantage=rng.normal(size=b).astype(np.float32),
        behaviour=rng.normal(size=(b, t)).astype(np.float32),
    )


def test_a_round_is_joined_by_those_before(tmp_path):
    replay = Replay(tmp_path / "replay", 2)
    first = rollout(1)
    np.testing.assert_array_equal(replay.joined(1, first).target, first.target)
    both = replay.joined(2, rollout(2, t=6))
    assert both.target.shape == (4, 6)
    np.testing.assert_array_equal(both.advantage[2:], first.advantage)
    np.testing.assert_array_equal(both.target_mask[2:], np.pad(first.target_mask, ((0, 0), (0, 2))))


def test_tokens_weigh_what_they_are_still_worth():
    stale = rollout(1)
    moved = np.array([[0.0, np.log(0.5), np.log(3.0), 99.0]] * 2, np.float32)
    expected = np.where(stale.target_mask, [[1.0, 0.5, 1.2, 1.2]], 1.0)
    np.testing.assert_allclose(corrected(stale, stale.behaviour + moved, 1.2).weight, expected, rtol=1e-5)
    np.testing.assert_array_equal(corrected(stale, stale.behaviour, 1.2).weight, np.ones((2, 4)))


def test_only_the_last_rounds_are_kept_and_a_resumed_run_has_them(tmp_path):
    replay = Replay(tmp_path / "replay", 2)
    for at in range(1, 6):
        size = len(replay.joined(at, rollout(at)).outcome)
        assert size == 2 * min(at, 3)
    resumed = Replay(tmp_path / "replay", 2)
    resumed.load(3)
    again, straight = (r.joined(4, rollout(4)) for r in (resumed, _after(tmp_path / "other", 3)))
    for field in dataclasses.fields(again):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(straight, field.name))
    replay.forget(4)
    assert sorted(path.name for path in (tmp_path / "replay").iterdir()) == ["3.npz", "4.npz", "5.npz"]


def _after(folder, rounds: int) -> Replay:
    replay = Replay(folder, 2)
    for at in range(1, rounds + 1):
        folder.parent.mkdir(exist_ok=True)
        replay.joined(at, rollout(at))
    return replay


def test_parts_that_nobody_has_stay_away():
    assert together([rollout(1), rollout(2)]).error is None
