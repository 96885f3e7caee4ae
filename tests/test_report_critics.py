"""The page's numbers about critics, programs and rounds, against small cases by hand and oracles."""

import html
import itertools
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coderl_jax.files import UserError
from coderl_jax.report import page, programs
from coderl_jax.report.charts import Steps
from coderl_jax.report.compare import updates_per_step
from coderl_jax.report.critics import Tally, auc, calibration
from coderl_jax.report.gather import Run
from coderl_jax.report.judged import FalsePositives, ProblemText, read_judged, score_files
from coderl_jax.report.listing import Colours, listing
from coderl_jax.report.rounds import round_panels
from coderl_jax.types import Outcome, Score

C, R, F, P = Outcome


def score(*probabilities, values=(), outcome=P):
    return Score(outcome_probabilities=probabilities, tokens=tuple(range(len(values))), token_values=values, outcome=outcome)


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in (rows if isinstance(rows, list) else [rows])))


def verdict(index, outcome, problem="a", **more):
    return {"problem_id": problem, "index": index, "program": f"print({index})\n", "outcome": outcome} | more


def score_row(index, probabilities=(0.4, 0.6), problem="a", **more):
    row = {"problem_id": problem, "index": index, "program": f"print({index})\n", "classes": len(probabilities), "tokens": [1, 2]}
    return row | {"outcome_probabilities": list(probabilities), "token_values": [0.5, 0.75]} | more


def text_of(markup):
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", markup)).split())


def test_confusion_counts_predicted_classes_by_true_outcome():
    tally = Tally(4)
    for outcome, likeliest in ((P, 3), (P, 3), (P, 2), (F, 3), (C, 0)):
        tally.add(outcome, score(*(0.7 if i == likeliest else 0.1 for i in range(4))))
    quality = tally.quality()
    assert quality.confusion == {"compile_error": (1, 0, 0, 0), "failed_test": (0, 0, 0, 1), "passed": (0, 0, 1, 2)}
    assert quality.accuracy == 3 / 5
    assert quality.constant == 3 / 5
    assert quality.classes == ("compile_error", "runtime_error", "failed_test", "passed")


def test_a_binary_critic_is_right_where_it_says_failed_of_any_failure():
    tally = Tally(2)
    for outcome, passed in ((P, 0.9), (P, 0.4), (F, 0.2), (R, 0.1), (C, 0.8)):
        tally.add(outcome, score(1 - passed, passed))
    quality = tally.quality()
    assert quality.confusion == {"compile_error": (0, 1), "runtime_error": (1, 0), "failed_test": (1, 0), "passed": (1, 1)}
    assert quality.accuracy == 3 / 5
    assert quality.constant == 3 / 5
    # Squares of 0.1, 0.6, 0.2, 0.1 and 0.8. Of the six pairs only 0.4 for a pass and 0.8 for a failure are out of order.
    assert quality.brier == pytest.approx((0.01 + 0.36 + 0.04 + 0.01 + 0.64) / 5)
    assert quality.auc == pytest.approx(5 / 6)


def test_calibration_says_count_mean_and_share_that_passed_of_each_tenth():
    bins = calibration([(0.31, True), (0.39, False), (1.0, True), (0.95, True), (0.0, False)])
    assert [(one.count, one.observed) for one in bins] == [(1, 0.0), (2, 0.5), (2, 1.0)]
    assert [one.mean for one in bins] == pytest.approx([0.0, 0.35, 0.975])


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.booleans()), max_size=30))
def test_auc_is_the_share_of_pairs_in_order(predicted):
    pairs = list(itertools.product([p for p, passed in predicted if passed], [p for p, passed in predicted if not passed]))
    expected = sum((a > b) + (a == b) / 2 for a, b in pairs) / len(pairs) if pairs else None
    assert auc(predicted) == (None if expected is None else pytest.approx(expected))


def test_token_values_are_averaged_by_place():
    tally = Tally(2)
    tally.add(P, score(0.1, 0.9, values=(0.2,) * 10 + (0.6,) * 10))
    tally.add(P, score(0.1, 0.9, values=(0.4, 0.8)))  # of two tokens one stands at the start, one at half
    tally.add(F, score(0.9, 0.1, values=(0.9,), outcome=F))  # p(failed) 0.9 is p(passed) 0.1
    values = tally.quality().values
    assert values["passed"][0] == (5.0, pytest.approx((0.2 + 0.2 + 0.4) / 3))
    assert values["passed"][5] == (55.0, pytest.approx((0.6 + 0.6 + 0.8) / 3))
    assert values["passed"][9] == (95.0, pytest.approx(0.6))
    assert values["failed"] == [(5.0, pytest.approx(0.1))]


def test_a_critic_of_four_classes_keeps_the_value_of_the_outcome_there_was():
    tally = Tally(4)
    tally.add(F, score(0.1, 0.1, 0.7, 0.1, values=(0.9,)))
    assert tally.quality().values == {"passed": [], "failed": [(5.0, 0.9)]}


@pytest.fixture
def judged_folder(tmp_path):
    """Six programs in stages, judged by both kinds of tests."""
    hidden = ["passed", "failed_test", "passed", "failed_test", "runtime_error", None]
    example = ["passed", "passed", "failed_test", "passed", "runtime_error", "passed"]
    stages = ["drawn", "drawn", "drawn", "refined", "refined", "refined"]
    write(tmp_path / "t.verdicts.jsonl", [verdict(i, outcome, stage=stages[i]) for i, outcome in enumerate(hidden)])
    write(tmp_path / "t.example_verdicts.jsonl", [verdict(i, outcome) for i, outcome in enumerate(example)])
    return tmp_path


def test_false_positives_are_those_that_pass_example_tests_and_fail_hidden_ones(judged_folder):
    found = read_judged(judged_folder / "t.verdicts.jsonl", "t", {}, 10)
    expected = {"drawn": (2, 1), "refined": (1, 1), "all": (3, 2)}
    assert found.false_positives == {stage: FalsePositives(passing=p, failing=f) for stage, (p, f) in expected.items()}
    assert found.false_positives["all"].rate == 2 / 3
    assert FalsePositives(passing=0, failing=0).rate is None
    assert {sample.program.index: sample.example for sample in found.samples}[4] == R


def test_the_page_says_the_false_positives_of_each_stage(judged_folder):
    stages = {stage: {"programs": 3, "pass_example": passing} for stage, passing in (("drawn", 2), ("refined", 2))}
    write(judged_folder / "t.programs.funnel.json", {"problems": 1, "stages": stages})
    text = text_of(page([judged_folder]))
    assert "3 programs, 2 pass the example tests (66.7%), 1 that pass them fail hidden tests (50.0%)" in text
    assert "t all 3 2 66.7% t drawn 2 1 50.0% t refined 1 1 100.0%" in text


def test_scores_belong_to_the_verdicts_with_the_longest_name_in_common(tmp_path):
    names = ["verdicts.jsonl", "rl.verdicts.jsonl", "rl.best.verdicts.jsonl", "rl.example_verdicts.jsonl"]
    names += [
        "scores.jsonl",
        "binary.scores.jsonl",
        "rl.scores.jsonl",
        "rl.binary.scores.jsonl",
        "rl.best.scores.jsonl",
        "rl_2.scores.jsonl",
    ]
    for name in names:
        (tmp_path / name).touch()

    def found(name):
        return {critic: file.name for critic, file in score_files(tmp_path / name).items()}

    assert found("rl.verdicts.jsonl") == {"critic": "rl.scores.jsonl", "binary": "rl.binary.scores.jsonl"}
    assert found("rl.best.verdicts.jsonl") == {"critic": "rl.best.scores.jsonl"}
    assert found("verdicts.jsonl") == {"critic": "scores.jsonl", "binary": "binary.scores.jsonl", "rl_2": "rl_2.scores.jsonl"}


def test_scores_are_matched_by_problem_and_index_not_by_place(judged_folder):
    write(judged_folder / "t.scores.jsonl", [score_row(4, (0.9, 0.1)), score_row(9), score_row(5), score_row(0, (0.2, 0.8))])
    found = read_judged(judged_folder / "t.verdicts.jsonl", "t", {}, 10)
    # 9 has no verdict, and 5 none that says anything.
    assert found.critics["critic"].confusion == {"runtime_error": (1, 0), "passed": (0, 1)}
    assert sorted(sample.program.index for sample in found.samples if sample.scores) == [0, 4, 5]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (score_row(0, program="print(1)\n"), "program: expected the program that the verdicts"),
        (score_row(0, (0.3, 0.3, 0.4)), "outcome_probabilities: expected 2 or 4 numbers"),
        (score_row(0, (0.3, float("nan"))), "outcome_probabilities: expected a list of finite numbers"),
        (score_row(0, token_values=[0.5, 1.5]), "token_values: expected numbers from 0 to 1"),
        (score_row(0, token_starts=[0]), "token_starts: expected a rising place"),
        (score_row(0, token_starts=[3, 2]), "token_starts: expected a rising place"),
        (score_row(0, token_starts=[0, 99]), "token_starts: expected a rising place"),
    ],
)
def test_scores_that_cannot_be_are_named(judged_folder, row, said):
    write(judged_folder / "t.scores.jsonl", [row])
    with pytest.raises(UserError, match=f"t.scores.jsonl:1: {said}"):
        page([judged_folder])


def test_scores_of_two_kinds_of_critic_in_a_file_are_named(judged_folder):
    write(judged_folder / "t.scores.jsonl", [score_row(0), score_row(1, (0.1, 0.2, 0.3, 0.4))])
    with pytest.raises(UserError, match=r"t.scores.jsonl:2: outcome_probabilities: expected 2 numbers as in the rows before"):
        page([judged_folder])


def test_samples_are_spread_over_outcomes_stages_and_difficulties(tmp_path):
    rows = [verdict(i, "passed", "easy", stage="drawn") for i in range(200)]
    rows += [
        verdict(0, "passed", "hard", stage="drawn"),
        verdict(200, "passed", "easy", stage="repaired"),
        verdict(201, "failed_test", "easy"),
    ]
    rows += [verdict(202 + i, "runtime_error", "easy", error_type=name) for i, name in enumerate(("NameError", "TypeError"))]
    write(tmp_path / "verdicts.jsonl", rows)
    problems = {name: ProblemText(difficulty=name) for name in ("easy", "hard")}
    found = read_judged(tmp_path / "verdicts.jsonl", "t", problems, 8)
    kinds = [(s.label, s.program.stage, s.problem.difficulty, s.verdict.error_type) for s in found.samples]
    assert len(kinds) == 8
    assert len(set(kinds)) == 6
    assert [kind[0] for kind in kinds] == ["passed"] * 5 + ["failed_test"] + ["runtime_error"] * 2
    assert found.counts == {"passed": 202, "failed_test": 1, "runtime_error": 2}


def test_many_files_share_the_room_for_programs(tmp_path):
    for name in range(20):
        write(tmp_path / f"{name}.verdicts.jsonl", [verdict(i, "passed") for i in range(30)])
    assert page([tmp_path]).count("<article") == 300


def test_programs_that_would_make_the_page_too_large_are_left_out_aloud(tmp_path, monkeypatch):
    write(tmp_path / "verdicts.jsonl", [verdict(i, "passed", program="x = 1\n" * 1000 + f"# {i}") for i in range(40)])
    monkeypatch.setattr(programs, "_MOST_CHARACTERS", 100_000)
    text = page([tmp_path])
    shown = text.count("<article")
    assert 1 < shown < 40
    assert f"{shown} of 40 programs" in text
    assert f"{40 - shown} more would make the page too large" in text


def pieces(markup):
    """Text, colour class and title of every token's part in a listing, line by line."""
    return [re.findall(r'<i class="(\w+)[^"]*" title="([^"]*)">(.*?)</i>', line) for line in markup.split('<span class="code')[1:]]


def plain(markup):
    """The text of a listing; an empty line is a space, which gives it its height."""
    lines = [re.sub(r"<[^>]*>", "", line.partition(">")[2]) for line in markup.split('<span class="code')[1:]]
    return html.unescape("\n".join(line or " " for line in lines))


def test_a_listing_colours_each_token_on_the_lines_that_it_spans():
    colours = Colours(starts=(0, 0, 3, 8, 9), values=(0.5, 0.05, 0.55, 0.85, 1.0), scale="v", cut=2)
    drawn = listing("if x:\n\ty\n", None, colours)
    first = [("v0", "0.05", "if "), ("v5", "0.55", "x:"), ("v5", "0.55", "")]
    assert pieces(drawn) == [first, [("v5", "0.55", "\ty"), ("v8", "0.85", ""), ("v9", "1.00", "")]]
    assert re.search(r'if </i><b class="cut"[^>]*></b><i class="v5"', drawn)


@pytest.mark.parametrize(("cut", "behind"), [(0, "if "), (1, "if "), (3, "</i>"), (4, "</i>")])
def test_the_cut_stands_before_the_first_token_that_is_not_kept(cut, behind):
    colours = Colours(starts=(0, 0, 3, 8, 9), values=(0.5,) * 5, scale="v", cut=cut)
    drawn = listing("if x:\n\ty\n", None, colours)
    assert drawn.count('class="cut"') == 1
    assert re.search(rf'class="cut"[^>]*></b><i [^>]*>{behind}', drawn)
    assert (' nl"' in drawn.partition('class="cut"')[2].partition("</i>")[0]) == (cut == 3)


@given(st.text(alphabet="ab <&\n\r\t", max_size=40), st.lists(st.integers(0, 40), max_size=12), st.integers(0, 12))
def test_colours_leave_the_text_as_it_is(text, places, cut):
    starts = sorted(min(place, len(text)) for place in places)
    colours = Colours(starts=tuple(starts), values=(0.5,) * len(starts), scale="v", cut=cut)
    assert plain(listing(text, None, colours)) == plain(listing(text, None, None))


def test_a_failing_program_shows_p_passed_of_a_binary_critic_and_its_own_outcome_of_one_of_four(judged_folder):
    token = {"token_values": [0.9, 0.9], "token_starts": [0, 9]}
    own = ("passed", "failed_test")
    four = [score_row(i, (0.1, 0.1, 0.7, 0.1), outcome=own[i], **token) for i in (0, 1)]
    write(judged_folder / "t.scores.jsonl", four)
    write(judged_folder / "t.binary.scores.jsonl", [score_row(i, outcome=own[i], **token, refine_cut=1) for i in (0, 1)])
    passed, failed = (
        re.search(rf'<article[^>]*data-outcome="{name}".*?</article>', page([judged_folder]), re.DOTALL)
        for name in ("passed", "failed_test")
    )
    assert [set(re.findall(r'class="([uv]\d)', card[0])) for card in (passed, failed)] == [{"v9"}, {"v0", "u9"}]
    assert "binary: passed, p(passed) 60.0%; tokens by p(passed); the refine cut keeps 1 of 2 tokens where example tests pass" in text_of(
        failed[0]
    )
    assert "critic: failed test, p(passed) 10.0%; tokens by p(failed test)" in text_of(failed[0])


def test_scores_without_places_of_tokens_leave_the_program_plain(judged_folder):
    write(judged_folder / "t.scores.jsonl", [score_row(i) for i in range(6)])
    text = page([judged_folder])
    assert not re.search(r'<i class="[uv]\d"', text)
    assert "critic: passed, p(passed) 60.0%" in text


def test_relative_returns_are_mean_shares_of_blocks_of_rounds_highest_on_top():
    # 16 rounds make 8 blocks of 2; 2.0 occurs in the second round only: half of 0.5 in the first block.
    rows = [{"step": at, "returns": {"-1.3": 0.25, "0.0": 0.75}} for at in range(1, 17)]
    rows[1] = {"step": 2, "returns": {"0.0": 0.5, "2.0": 0.5}}
    (drawn,) = round_panels(rows, Steps("round", 16))
    told = [hint for hint in re.findall(r"<title>(.*?)</title>", drawn) if ":" in hint]
    assert told[0] == "2.0, 1-2: 25.0%"
    assert told[8] == "0.0, 1-2: 62.5%"
    assert told[16:18] == ["-1.3, 1-2: 12.5%", "-1.3, 3-4: 25.0%"]
    assert len(told) == 24


def test_rare_types_of_error_are_added_up():
    shares = {f"E{i}": (10 - i) / 100 for i in range(9)}
    (drawn,) = round_panels([{"step": at, "error_types": shares} for at in (1, 2)], Steps("round", 2))
    assert "E0 10.0% E1 9.0% E2 8.0% E3 7.0% E4 6.0% E5 5.0% 3 others 9.0%" in text_of(drawn)


def test_difficulties_have_lines_from_easy_to_hard_and_outcomes_each():
    def part(passed):
        return {"problems": 4, "sampled_pass": passed, "greedy_pass": 1.0, "outcomes": {"passed": passed, "failed_test": 1 - passed}}

    rows = [{"step": 1, "by_difficulty": {"interview": part(0.5), "introductory": part(0.75)}}]
    rows.append({"step": 2, "by_difficulty": {"interview": part(0.25)}})  # no easy problem in this round
    panels = list(map(text_of, round_panels(rows, Steps("round", 2))))
    assert len(panels) == 4
    assert panels[0].startswith("drawn programs that pass, by difficulty introductory 75.0% interview 25.0%")
    assert panels[2].startswith("outcomes, introductory failed test 25.0% passed 75.0%")
    assert panels[3].startswith("outcomes, interview failed test 75.0% passed 25.0%")


def run(**config):
    return Run(name="a", config=config, manifest={}, rows=[], finished=True)


def test_rounds_are_compared_by_their_updates():
    assert updates_per_step(run(rounds=8, updates_per_round=4)) == 4
    assert updates_per_step(run(rounds=8)) == 1
    assert updates_per_step(run(steps=100, updates_per_round=4)) == 1


@pytest.fixture
def two_runs(tmp_path):
    """Two folders of one run and one evaluation each, deep down a common path."""
    for seed, validation in ((0, (0.5, 0.75, 0.625)), (1, (0.25, 0.5, 0.875))):
        folder = tmp_path / f"deep/down/seed{seed}"
        write(folder / "rl/config.json", {"rounds": 3, "updates_per_round": 2, "seed": seed})
        rows = [
            {"step": i, "validation_pass@1": v, "kl": i / 10, "entropy": 0.5, "seconds": {"update": 10}}
            for i, v in enumerate(validation, 1)
        ]
        write(folder / "rl/metrics.jsonl", rows)
        value = validation[-1]
        report = {
            "pass@k": {"1": value},
            "interval_95": {"pass@k": {"1": [value - 0.1, value + 0.1]}},
            "per_problem": [{"id": "a", "n": 4}],
        }
        write(folder / "test/rl.report.json", report)
    return [tmp_path / f"deep/down/seed{seed}" for seed in (0, 1)]


def test_runs_are_compared_on_one_chart_in_a_table_and_by_evaluation(two_runs):
    text = page(two_runs)
    compared = text_of(re.search(r'id="compared">.*?</section>', text, re.DOTALL)[0].partition(">")[2])
    assert "validation pass@1 seed0: rl 62.5% seed1: rl 87.5%" in compared
    assert "seed0: rl 75.0% - 62.5% - 0.3 0.5 6 30 s 0 seed1: rl 87.5% - 87.5% - 0.3 0.5 6 30 s 1" in compared
    assert "test/rl pass@1 62.5 52.5 to 72.5 87.5 77.5 to 97.5" in compared
    assert "deep" not in text


def test_a_run_that_is_named_twice_is_compared_with_no_other(two_runs):
    assert 'id="compared"' not in page([two_runs[0], two_runs[0] / "rl"])
    assert page([*two_runs, two_runs[1] / "rl"]) == page(two_runs)


def test_a_much_longer_run_has_no_line_among_the_short_ones(two_runs):
    rows = [{"step": at, "validation_pass@1": 0.5} for at in (1000, 5000)]
    write(two_runs[0] / "warm/metrics.jsonl", rows)
    compared = re.search(r'id="compared">.*?</section>', page(two_runs), re.DOTALL)[0]
    assert compared.count("<svg") == 1
    assert "warm" not in re.search(r"<figure>.*?</figure>", compared, re.DOTALL)[0]
    assert "seed0: warm" in compared
