"""Which problems a round takes, and what a likeness to a reference is worth."""

from collections import Counter

import pytest

from coderl_jax.types import Problem
from train.rounds import difficulty_levels, earlier, problems_of, problems_of_level, structure_matcher


def test_every_problem_comes_once_an_epoch_in_an_order_of_its_own():
    rounds = [problems_of(10, at, 4, seed=3) for at in range(1, 11)]
    flat = [problem for chosen in rounds for problem in chosen]
    epochs = [flat[i : i + 10] for i in range(0, 40, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert rounds == [problems_of(10, at, 4, seed=3) for at in range(1, 11)]


def test_a_problem_that_comes_again_in_a_round_is_counted():
    assert earlier([3, 1, 3, 2, 3]) == [0, 0, 1, 0, 2]


def test_levels_follow_the_difficulties_that_are_there():
    assert difficulty_levels(["interview", "introductory", None, "competition"]) == [1, 0, 2, 2]
    assert difficulty_levels(["hard", "interview"]) == [1, 0]
    assert difficulty_levels([None, None]) == [0, 0]


def test_a_curriculum_lets_harder_problems_join():
    levels = [0] * 5 + [1] * 5 + [2] * 5
    seen = [{levels[problem] for problem in problems_of_level(levels, at, 9, 12, seed=0)} for at in range(1, 10)]
    assert seen[:3] == [{0}] * 3
    assert set().union(*seen[3:6]) == {0, 1}
    assert set().union(*seen[6:]) == {0, 1, 2}
    chosen = problems_of_level(levels, 9, 9, 15, seed=0)
    assert Counter(chosen) == Counter(range(15)), "none twice while they last"


def test_a_match_is_largest_for_the_reference_itself():
    pytest.importorskip("tree_sitter_python", reason="pip install -e '.[codexglue]'")
    solution = "n = int(input())\ntotal = 0\nfor i in range(n):\n    total += i\nprint(total)\n"
    match = structure_matcher([Problem(id="a", statement="s", solutions=("print(1)\n", solution)), Problem(id="b", statement="s")], 0.5)
    renamed = solution.replace("total", "s").replace("n = int", "k = int").replace("range(n)", "range(k)")
    assert match(0, solution) == 0.5
    assert match(0, renamed) == 0.5, "names do not count"
    assert 0 < match(0, "for i in range(3):\n    print(i)\n") < 0.5
    assert match(0, "") < match(0, "n = int(input())\n") < 0.5
    assert match(1, solution) == 0.0
