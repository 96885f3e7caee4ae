"""The page and the table: right numbers, hostile text stays text, what is missing is left out, what is broken is named."""

import base64
import hashlib
import html.parser
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coderl_jax.files import UserError
from coderl_jax.metrics.evaluation import ProblemResult, against, evaluation
from coderl_jax.report import page, result_table
from coderl_jax.report.axes import duration, number, percent, thinned, ticks
from coderl_jax.report.charts import Steps, interval_chart, line_chart, stacked_chart
from coderl_jax.report.markup import tag
from coderl_jax.types import Outcome
from sample import report as command

HOSTILE = "x = 1 # </script></pre><img src=x onerror=alert(1)>&amp;\"'><svg onload=alert(2)>"
F, P = Outcome.FAILED_TEST, Outcome.PASSED


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = value if isinstance(value, list) and path.suffix == ".jsonl" else [value]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def result(name, outcomes, difficulty="easy"):
    passed = tuple(outcome == P for outcome in outcomes)
    fractions = tuple(map(float, passed))
    return ProblemResult(id=name, difficulty=difficulty, outcomes=tuple(outcomes), tests_passed=fractions, passes_example=passed)


def verdict(problem, index, outcome, program="print(1)\n", **more):
    row = {"problem_id": problem, "index": index, "program": program, "outcome": outcome, "tests_passed": 0, "tests_total": 2}
    return row | {"error_type": None, "error_message": None, "error_line": None, "seconds": 0.1} | more


def small_report(**pass_at):
    """A report by hand: pass_at is k -> (value, low, high)."""
    values = {k.removeprefix("k"): v for k, v in pass_at.items()}
    return {
        "pass@k": {k: value for k, (value, *_) in values.items()},
        "interval_95": {"pass@k": {k: [low, high] for k, (_, low, high) in values.items()}},
        "per_problem": [{"id": "a", "n": 4}, {"id": "b", "n": 4}, {"id": "c", "n": 0}],
    }


@pytest.fixture
def folder(tmp_path):
    """A little of everything, laid out as the demo lays it out."""
    root = tmp_path / "runs"
    warm = evaluation([result("a", [P, F, F, F]), result("b", [F] * 4, "hard")], [1, 4], [1], 0, 0)
    trained = evaluation([result("a", [P, P, F, F]), result("b", [P, F, F, F], "hard")], [1, 4], [1], 0, 0)
    trained["against"] = {"report": "elsewhere/warm.report.json", **against(trained, warm, "warm", 0)}
    write(root / "test/warm.report.json", warm)
    write(root / "test/rl.report.json", trained)
    write(root / "rows.json", [{"name": "warm", "title": "Warm start"}, {"name": "rl", "title": "After RL", "note": "two updates"}])
    write(root / "rl/config.json", {"rounds": 3, "seed": 7})
    write(root / "rl/manifest.json", {"command": ["rl.py", "--rounds", "3"], "commit": "abc", "started": "2026-01-02T10:00:00+00:00"})
    rows = [
        {"step": at, "rl_loss": at / 10, "skipped": 0.0, "new_number": at, "outcomes": {"passed": 0.25, "failed_test": 0.75}}
        for at in (1, 2, 3)
    ]
    rows[1] |= {"event": "rolled back", "seconds": {"update": 30.0}}
    rows[2] |= {"seconds": {"update": 60.0, "drift": 10}}
    write(root / "rl/metrics.jsonl", rows)
    write(root / "test/rl.programs.funnel.json", {"problems": 2, "stages": {"drawn": {"programs": 8, "pass_example": 2, "new_count": 5}}})
    write(root / "test/rl.verdicts.jsonl", [verdict("a", i, "passed") for i in range(5)] + [verdict("b", 0, "runtime_error", error_line=1)])
    write(root / "test/rl.example_verdicts.jsonl", [verdict("only-in-examples", 0, "passed")])
    write(root / "problems.jsonl", [{"id": "a", "statement": "The statement of a."}, {"id": "b", "statement": "Of b."}])
    write(root / "timing.json", {"RL": 90.0, "page": 10})
    return root


class Reader(html.parser.HTMLParser):
    """The elements, attributes and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.attributes, self.texts = [], [], []
        self.feed(text)
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, name, attributes):
        self.elements.append(name)
        self.attributes += attributes

    def handle_data(self, data):
        self.texts.append(data)


def sections(text):
    return re.findall(r"<h2>(.*?)</h2>", text)


def test_the_table_says_each_metric_with_its_interval_in_percent(tmp_path):
    write(tmp_path / "warm.report.json", small_report(k1=(0.25, 0.125, 0.3333), k10=(0.5, 0.4, 0.6)))
    expected = """\
   percent [95% interval]  pass@1             pass@10            programs
---------------------------------------------------------------------------------
1  warm                    25.0 [12.5, 33.3]  50.0 [40.0, 60.0]  3 x 4, 1 without
"""
    assert result_table(tmp_path) == expected


def test_paired_differences_name_the_rows_by_their_numbers(folder):
    # a: 1 and 2 of 4 pass; b: 0 and 1 of 4. pass@1 is 1/8 and 3/8; each problem gains 1/4, so the interval is a point.
    lines = result_table(folder).splitlines()
    assert lines[2].split()[:6] == ["1", "Warm", "start", "12.5", "[0.0,", "25.0]"]
    assert lines[3].split()[:6] == ["2", "After", "RL", "37.5", "[25.0,", "50.0]"]
    assert lines[7].split()[:6] == ["2", "minus", "1", "+25.0", "[+25.0,", "+25.0]"]
    assert lines[-1] == "2: two updates"
    (folder / "test/warm.report.json").unlink()
    assert "1 minus warm" in result_table(folder)


def test_the_order_is_that_of_rows_json_and_then_of_names(tmp_path):
    for name in ("a", "b", "c"):
        write(tmp_path / f"{name}.report.json", small_report(k1=(0.1, 0, 1)))
    write(tmp_path / "rows.json", [{"name": "c", "title": "See"}, {"name": "missing", "title": "Nowhere"}])
    assert [line.split()[1] for line in result_table(tmp_path).splitlines()[2:]] == ["See", "a", "b"]


def test_a_metric_that_is_another_by_definition_is_not_shown_twice(folder):
    head = result_table(folder).splitlines()[0].split()
    assert head[-4:] == ["pass@1", "pass@4", "1@4", "programs"]  # no 1@1


def test_a_difference_that_rounds_to_zero_has_no_minus_sign(tmp_path):
    report = small_report(k1=(0.1, 0, 1))
    report["against"] = {"report": "x.json", "pass@k": {"1": {"difference": -0.0001, "interval_95": [-0.01, 0.01]}}}
    write(tmp_path / "a.report.json", report)
    assert result_table(tmp_path).splitlines()[-1].split(maxsplit=3)[3] == "+0.0 [-1.0, +1.0]"


def test_the_page_shows_the_tables_numbers_and_marks_differences_that_exclude_zero(folder):
    text = page([folder])
    assert '<td data-v="0.375"><b>37.5</b><span class="interval">25.0 to 50.0</span></td>' in text
    assert '<td class="up" data-v="0.25"><b>+25.0</b><span class="interval">+25.0 to +25.0</span></td>' in text
    assert "minus Warm start" in Reader(text).text
    easy, hard = re.findall(r"<h4>(.*?)</h4>.*?<b>([\d.]+)</b>", text)  # the first cell of each: warm start, pass@1
    assert easy == ("easy", "25.0")
    assert hard == ("hard", "0.0")


def test_hostile_text_stays_text_wherever_it_comes_from(folder):
    hostile = {"name": "warm", "title": HOSTILE, "note": HOSTILE}
    write(folder / "rows.json", [hostile, {"name": "rl", "title": "]]>--><!--"}])
    more = {"error_type": HOSTILE, "error_message": HOSTILE, "error_line": 1}
    write(folder / "test/rl.verdicts.jsonl", [verdict("<b onclick=x>", 0, "runtime_error", HOSTILE, **more)])
    write(folder / "problems.jsonl", [{"id": "<b onclick=x>", "statement": HOSTILE}])
    write(folder / "rl/manifest.json", {"command": [HOSTILE], "commit": HOSTILE, "platform": HOSTILE})
    write(folder / "rl/config.json", {"seed": HOSTILE})
    write(folder / "rl/metrics.jsonl", [{"step": at, HOSTILE: at, "event": HOSTILE, "seconds": {HOSTILE: 1}} for at in (1, 2)])
    write(folder / "test/rl.programs.funnel.json", {"stages": {HOSTILE: {HOSTILE: 1, "programs": 2}}, HOSTILE: 3})
    write(folder / "timing.json", {HOSTILE: 1})
    read = Reader(page([folder]))
    assert not {"img", "b onclick", "iframe", "link", "object"} & set(read.elements)
    assert read.elements.count("script") == 1
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    assert read.text.count("<img src=x onerror=alert(1)>") >= 12


def test_the_page_loads_nothing(folder):
    text = page([folder])
    read = Reader(text)
    assert {value[0] for name, value in read.attributes if name in ("href", "src", "xlink:href")} == {"#"}
    assert "://" not in text
    assert "url(" not in text
    assert "@import" not in text


def test_the_one_script_is_the_one_that_the_policy_allows_whatever_the_data(folder):
    def script_and_policy():
        text = page([folder])
        (policy,) = [value for name, value in Reader(text).attributes if name == "content" and "default-src" in value]
        (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
        return script, policy

    script, policy = script_and_policy()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}';" in policy
    write(folder / "test/rl.verdicts.jsonl", [verdict("a", 0, "passed", "another = '</script>'")])
    assert script_and_policy() == (script, policy)


def test_what_cannot_be_seen_is_spelled_out():
    read = Reader(tag("p", "a\u202eb\x00c\ud800\u200b\td"))
    assert read.texts == ["a<U+202E>b<U+0000>c<U+D800><U+200B>\td"]


@pytest.mark.parametrize(
    ("kept", "shown"),
    [
        ("test/warm.report.json", ["Results"]),
        ("rl/metrics.jsonl", ["Learning curves", "Where the time went"]),
        ("test/rl.programs.funnel.json", ["Critical sampling"]),
        ("test/rl.verdicts.jsonl", ["Programs"]),
        ("timing.json", ["Where the time went"]),
    ],
)
def test_what_is_missing_is_left_out(folder, kept, shown):
    for path in folder.rglob("*"):
        if path.is_file() and path != folder / kept:
            path.unlink()
    assert sections(page([folder])) == shown


def test_the_sections_stand_in_their_order(folder):
    names = ["Results", "Learning curves", "Critical sampling", "Where the time went", "How it was made", "Programs"]
    assert sections(page([folder])) == names
    assert page([folder]) == page([folder])


def test_a_folder_with_nothing_to_show_is_an_error(tmp_path):
    write(tmp_path / "other.json", {})
    with pytest.raises(UserError, match=r"expected metrics.jsonl.*got none"):
        page([tmp_path])
    with pytest.raises(UserError, match=r"expected \*.report.json, got none"):
        result_table(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rows.json", {"name": "warm"}),
        ("rows.json", ["warm"]),
        ("rows.json", [{"title": "no name"}]),
        ("rows.json", [{"name": "warm", "title": 3}]),
        ("test/warm.report.json", []),
        ("test/warm.report.json", {"pass@k": {"1": 0.5}}),
        ("test/warm.report.json", small_report(k1=("half", 0, 1))),
        ("test/warm.report.json", small_report(k1=(float("nan"), 0, 1))),
        ("test/warm.report.json", small_report(k1=(0.5, 0, 1)) | {"interval_95": {"pass@k": {"1": [0]}}}),
        ("test/warm.report.json", small_report(k1=(0.5, 0, 1)) | {"per_problem": [{"id": "a"}]}),
        ("test/warm.report.json", small_report(k1=(0.5, 0, 1)) | {"against": {"pass@k": {}}}),
        ("test/warm.report.json", small_report(k1=(0.5, 0, 1)) | {"outcomes": ["passed"]}),
        ("test/rl.programs.funnel.json", [1]),
        ("rl/config.json", "text"),
        ("rl/manifest.json", None),
        ("timing.json", {"RL": "long"}),
        ("test/rl.verdicts.jsonl", [verdict("a", 0, "excellent")]),
        ("test/rl.verdicts.jsonl", [{"problem_id": "a"}]),
    ],
)
def test_a_broken_file_is_one_line_that_names_it(folder, capsys, name, value):
    write(folder / name, value)
    with pytest.raises(SystemExit) as stop:
        command.main([str(folder), "--out", str(folder / "page.html")])
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert error.count("\n") == 1
    assert f"{folder / name}" in error
    assert "expected" in error
    assert not (folder / "page.html").exists()


def test_text_that_is_no_json_is_one_line_too(folder, capsys):
    (folder / "rows.json").write_text("{")
    with pytest.raises(SystemExit):
        command.main([str(folder), "--out", str(folder / "page.html")])
    assert capsys.readouterr().err.startswith(f"{folder / 'rows.json'}: file: expected JSON")


def test_the_command_overwrites_a_page_and_nothing_else(folder, capsys):
    out = folder / "page.html"
    for _ in range(2):
        command.main([str(folder), "--out", str(out)])
    assert out.read_text() == page([folder])
    for taken in (folder / "timing.json", folder):
        with pytest.raises(SystemExit) as stop:
            command.main([str(folder), "--out", str(taken)])
        assert stop.value.code == 2
    assert "expected a new name or an earlier page" in capsys.readouterr().err


def test_programs_are_those_judged_by_the_hidden_tests(folder):
    read = Reader(page([folder]))
    assert read.elements.count("article") == 6
    assert "After RL : 5 passed, 1 runtime error" in read.text
    assert "The statement of a." in read.text
    assert "only-in-examples" not in read.text


def test_the_line_of_an_error_is_marked_and_a_long_program_is_cut(folder):
    long = "".join(f"line_{i} = {i}\n" for i in range(1, 1001))
    write(folder / "test/rl.verdicts.jsonl", [verdict("a", 0, "runtime_error", long, error_line=3)])
    text = page([folder])
    assert re.findall(r'class="code marked">(.*?)<', text) == ["line_3 = 3"]
    assert "line_120 = 120" in text
    assert "line_121" not in text
    left = len(long) - len("\n".join(long.split("\n")[:120]))
    assert f"{left:,} more characters" in text


def test_every_changing_number_of_a_run_is_drawn_and_a_constant_one_told(folder):
    read = Reader(page([folder]))
    curves = read.text[read.text.index("Learning curves rl") :]
    assert "3 rounds, seed 7, skipped updates 0 throughout" in curves
    assert "RL loss last 0.3" in curves
    assert "new number last 3" in curves
    assert "failed test 75.0% passed 25.0%" in curves
    assert "round 2: rolled back" in curves


def test_a_run_under_way_says_so(folder):
    assert "under way" not in page([folder])
    (folder / "rl").rename(folder / "rl.partial")
    assert "under way" in page([folder])


def test_the_funnel_counts_programs_and_shares(folder):
    assert "8 programs, 2 pass the example tests (25.0%), new count 5" in Reader(page([folder])).text


def test_time_is_summed_by_phase(folder):
    text = Reader(page([folder])).text
    assert "rl, by phase 1 min 40 s update 1 min 30 s 90.0% drift 10 s 10.0%" in text
    assert "runs, by stage 1 min 40 s RL 1 min 30 s 90.0% page 10 s 10.0%" in text


def test_scores_of_text_tasks_have_a_table_and_stand_in_nobodys_way(folder):
    scores = {"BLEU": 71.99, "Acc": 57.9, "CodeBLEU": 0.7862}
    report = {"task": "code_to_code_java", "scores": scores, "counts": {"problems": 1000, "problems_without_answer": 0}}
    (folder / "cs-java.report.json").write_text(json.dumps(report))
    text = page([folder])
    assert "Text tasks" in text
    assert all(f"<td>{cell}</td>" in text for cell in ("71.99", "57.90", "0.7862", "1000"))
    assert "pass@1" in text
    (folder / "cs-java.report.json").write_text(json.dumps({"task": "x", "scores": 3}))
    with pytest.raises(UserError, match="cs-java.report.json: file: expected scores and counts of a text task"):
        page([folder])


def test_two_folders_are_told_apart_by_where_their_paths_part(folder, tmp_path):
    other = tmp_path / "other"
    write(other / "test/warm.report.json", small_report(k1=(0.9, 0.8, 1.0)))
    text = Reader(page([folder, other])).text
    assert "runs: Warm start" in text
    assert "other: test/warm" in text
    assert str(tmp_path) not in text


@pytest.mark.parametrize("again", [".", "rl", "test", "../runs/rl"])
def test_a_folder_within_another_lists_nothing_twice(folder, again):
    assert page([folder, folder / again]) == page([folder])
    assert page([folder / again, folder]) == page([folder])


def test_a_link_to_a_folder_lists_nothing_twice(folder):
    (folder.parent / "link").symlink_to(folder)
    assert page([folder, folder.parent / "link"]) == page([folder])


def test_a_run_folder_of_its_own_goes_by_its_name(folder):
    read = Reader(page([folder / "rl", folder / "test"]))
    assert "rl 3 rounds, seed 7" in read.text
    assert "rl: rl" not in read.text


def test_a_line_runs_through_its_points():
    # The drawing is 344 wide from x = 46 and 182 high from y = 10; fractions are drawn from 0, down to the bottom.
    drawn = line_chart("pass", [("pass", "s0", [(0, 0.0), (5, 0.5), (10, 1.0)])], Steps("round", 10), share=True)
    assert 'points="46.0,192.0 218.0,101.0 390.0,10.0"' in drawn


def test_stacked_shares_fill_the_chart_to_the_top():
    layers = [("passed", "passed", [(0, 0.25), (10, 0.5)]), ("failed", "failed_test", [(0, 0.75), (10, 0.5)])]
    bands = re.findall(r'<path d="(.*?)"', stacked_chart("outcomes", layers, Steps("round", 10)))
    assert bands == ["M46.0,146.5 L390.0,101.0 L390.0,192.0 L46.0,192.0Z", "M46.0,10.0 L390.0,10.0 L390.0,101.0 L46.0,146.5Z"]


def test_an_interval_encloses_its_dot():
    drawn = interval_chart("pass@1", [("warm", 0.5, 0.0, 1.0)])
    assert 'x1="16.0" x2="384.0" y1="26" y2="26" class="whisker"' in drawn
    assert 'cx="200.0" cy="26"' in drawn


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e6))
def test_ticks_enclose_the_values_at_round_even_steps(low, width):
    high = low + width
    found = ticks(low, high)
    step = (found[-1] - found[0]) / (len(found) - 1)
    assert found[0] <= low + 1e-6 * step
    assert found[-1] >= high - 1e-6 * step
    assert 2 <= len(found) <= 7
    assert f"{step:.3e}"[:5] in ("1.000", "2.000", "5.000")
    assert found == pytest.approx([found[0] + i * step for i in range(len(found))], abs=1e-6 * step)


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=500), st.integers(1, 50))
def test_thinning_keeps_the_mean_of_whole_blocks_and_the_last_step(values, most):
    points, width = thinned(list(enumerate(values)), most)
    assert len(points) <= most
    assert points[-1][0] == len(values) - 1
    whole = len(values) // width
    expected = sum(values[: whole * width]) / (whole * width)
    assert sum(y for _, y in points[:whole]) / whole == pytest.approx(expected, abs=1e-9)


def test_numbers_read_well():
    assert [number(v) for v in (0, 12300.4, 0.0125, 0.00015, -2e-5, 1.5)] == ["0", "12,300", "0.0125", "1.5e-4", "-2e-5", "1.5"]
    assert [percent(v) for v in (0.12345, -0.00001, 1)] == ["12.3%", "0.0%", "100.0%"]
    assert [duration(s) for s in (12.34, 245, 7620)] == ["12.3 s", "4 min 05 s", "2 h 07 min"]
