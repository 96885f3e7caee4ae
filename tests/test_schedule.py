"""Which program stands in which slot: every program once, slots busy."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.sampling import real_lengths, slot_steps, slots
from coderl_jax.rollout.decode import NEXT, NOTHING, OWN
from coderl_jax.rollout.schedule import Schedule, slots_in_rows


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=6), st.integers(1, 4), st.integers(1, 5), st.integers(0, 1000))
def test_every_program_is_started_once_in_a_row_of_its_prompt(counts, rows, columns, seed):
    rng, schedule, started = np.random.default_rng(seed), Schedule(counts, rows, columns), []
    while True:
        loads, starts = schedule.refill()
        assert all(schedule.prompt[row] == prompt for row, prompt in loads)
        for start in starts:
            assert schedule.prompt[start.row] == start.prompt
            started.append((start.prompt, start.index))
        running = np.argwhere(~schedule.idle).tolist()
        if not running:
            break
        waiting = schedule.waiting()
        assert not any(schedule.idle[row].any() for row in range(rows) if waiting[row] == OWN), "a slot is idle though programs wait"
        assert not any(schedule.idle[row].all() for row in range(rows) if waiting[row] == NEXT), "a row is idle though prompts wait"
        for place in rng.permutation(len(running))[: rng.integers(1, len(running) + 1)]:
            schedule.ended(*running[place])
    assert sorted(started) == [(prompt, index) for prompt, count in enumerate(counts) for index in range(count)]
    assert (schedule.waiting() == NOTHING).all()


def test_few_programs_start_at_once_and_many_have_narrow_rows():
    assert slots_in_rows([16] * 4, 64, 1) == (4, 16)
    assert slots_in_rows([1000] * 64, 1024, 1) == (32, 32)
    assert slots_in_rows([20] * 100, 256, 1) == (64, 4)
    assert slots_in_rows([1], 256, 1) == (256, 1)


def test_every_device_has_as_many_rows_as_the_others():
    assert slots_in_rows([1000] * 64, 1024, 6) == (30, 32)
    assert slots_in_rows([3], 4, 8) == (8, 1)


def test_a_prompt_with_many_programs_left_gets_the_rows_that_others_leave():
    schedule = Schedule([2, 9], 2, 2)
    schedule.refill()
    for column in (0, 1):
        schedule.ended(0, column)
    loads, starts = schedule.refill()
    assert loads == [(0, 1)]
    assert [(start.prompt, start.index) for start in starts] == [(1, 2), (1, 3)]


def test_slots_stay_busy_with_programs_of_real_lengths():
    counted = slots(64, 1000, 1024)
    assert counted["useful"] >= 0.85
    assert counted["useful_in_whole_batches"] < 0.4


def test_slot_steps_of_one_batch_are_those_of_its_longest_program():
    assert slot_steps([[3, 7], [2, 5]], 4) == (4 * 7, 4)
    assert real_lengths(2, 500).max() <= 512
