"""Public data sets: what their files hold, dirt included, becomes problems; what cannot is left out with a reason."""

import gzip
import json

import pytest

from coderl_jax.config import Judging, Lengths
from coderl_jax.data.apps import unwrapped
from coderl_jax.data.describe import description
from coderl_jax.data.problems import load_problems, read_source
from coderl_jax.files import UserError
from coderl_jax.rows import read_programs
from coderl_jax.sandbox import judge
from coderl_jax.types import AssertTests, CallTests, Outcome, StdinTests
from sample import describe

QUESTION = "Double it.\n\n-----Examples-----\nInput\n2\n\nOutput\n4\n"


def apps_folder(root, **problems):
    """Upstream's layout: `train/NAME/FILE`. None leaves a file out."""
    for name, files in problems.items():
        folder = root / "train" / name.removeprefix("p")
        folder.mkdir(parents=True)
        for file, text in files.items():
            if text is not None:
                (folder / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    return f"apps:{root}#train"


def row_file(path, *rows):
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def test_upstreams_folders_are_problems_whatever_is_missing(tmp_path):
    tests = json.dumps({"inputs": ["2\n", "3\n"], "outputs": ["4\n", "6\n"]})
    source = apps_folder(
        tmp_path,
        p0001={
            "question.txt": QUESTION,
            "input_output.json": tests,
            "solutions.json": '["print(2*int(input()))"]',
            "metadata.json": '{"difficulty": "interview"}',
        },
        p0005={"question.txt": QUESTION},  # a gap in the numbers; no tests, no solutions, no metadata
        p0006={"question.txt": QUESTION, "input_output.json": "", "solutions.json": "", "starter_code.py": "\n"},
        p0007={"question.txt": "", "input_output.json": tests},
        p0008={"question.txt": QUESTION, "input_output.json": "{not json"},
        p0009={"question.txt": QUESTION, "input_output.json": json.dumps({"inputs": ["1"], "outputs": []})},
        pnotes={"README": "no problem"},
    )
    found = read_source(source)
    assert [problem.id for problem in found.problems] == ["0001", "0005", "0006"]
    first, second, third = found.problems
    assert first.hidden_tests == StdinTests(inputs=("2\n", "3\n"), outputs=("4\n", "6\n"))
    assert first.example_tests == StdinTests(inputs=("2\n",), outputs=("4\n",))
    assert (first.solutions, first.difficulty) == (("print(2*int(input()))",), "interview")
    assert (second.hidden_tests, second.solutions, second.difficulty, third.starter_code) == (None, (), None, None)
    assert found.left_out == [("0007", "no question"), ("0008", "input_output is no JSON"), ("0009", "1 inputs and 0 outputs")]


def test_lists_for_texts_and_carriage_returns_are_met(tmp_path):
    tests = {"inputs": [["1 2", "3"], "4\r\n5\r\n", 6], "outputs": [["x", "y"], "z\r\n", 7]}
    path = row_file(
        tmp_path / "train.jsonl", {"id": 3, "question": "A\r\nB", "input_output": json.dumps(tests), "solutions": '["a\\r\\nb"]'}
    )
    for source in (f"apps:{path}#train", f"apps:{tmp_path}#train"):
        (problem,) = load_problems(source)
        assert (problem.id, problem.statement, problem.solutions) == ("0003", "A\nB", ("a\nb",))
        assert problem.hidden_tests == StdinTests(inputs=("1 2\n3", "4\n5\n", "6"), outputs=("x\ny", "z\n", "7"))


def test_parquet_is_read_as_the_hub_keeps_it(tmp_path):
    import pyarrow
    import pyarrow.parquet

    tests = json.dumps({"fn_name": "f", "inputs": [[1], [2]], "outputs": [2, 4]})
    table = pyarrow.Table.from_pylist(
        [
            {
                "problem_id": 12,
                "question": "Q",
                "input_output": tests,
                "solutions": "",
                "starter_code": "def f(n):",
                "difficulty": "introductory",
            }
        ]
    )
    pyarrow.parquet.write_table(table, tmp_path / "test-00000-of-00001.parquet")
    (problem,) = load_problems(f"apps:{tmp_path}#test")
    assert problem.id == "0012"
    assert problem.hidden_tests == CallTests(fn_name="f", inputs=([1], [2]), outputs=(2, 4))
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match="broken.parquet: file: expected Parquet, got"):
        load_problems(f"apps:{tmp_path}/broken.parquet#test")


def calls(*outputs):
    return CallTests(fn_name="f", inputs=tuple([i] for i in range(len(outputs))), outputs=outputs)


@pytest.mark.parametrize(
    ("tests", "statement", "starter", "bare"),
    [
        (calls([1], [2]), "", "def f(n: int) -> int:", True),
        (calls([1], [2]), "", "class Solution:\n    def f(self, n: int) -> List[int]:", False),
        (calls([1], [2]), "f(0) => 1", "def f(n):\n\t", True),
        (calls([1], [2]), "f(0) => [1]", "def f(n):\n\t", False),
        (calls([1], [2]), "", "def f(n):\n\t", False),  # nothing says which
        (calls([True], [False], [True]), "", "def f(n):\n\t", True),
        (calls([1], [2, 3], [4]), "", "def f(n):\n\t", False),
        (calls(1, 2, 3), "", "def f(n):\n\t", False),
    ],
)
def test_answers_are_unwrapped_where_something_says_so(tests, statement, starter, bare):
    expected = tuple(output[0] for output in tests.outputs) if bare else tests.outputs
    assert unwrapped(tests, statement, starter).outputs == expected


MBPP = {
    "task_id": 11,
    "text": "Add one.\r",
    "code": "def f(n):\r\n  return n+1",
    "test_setup_code": "",
    "test_list": ["assert f(1) == 2", "assert f(2) == 3"],
}


def test_mbpp_shows_its_tests_and_keeps_its_splits(tmp_path):
    sanitized = {"task_id": 602, "prompt": "Add two.", "code": "x", "test_imports": ["import math"], "test_list": ["assert f(1) == 3"]}
    path = row_file(tmp_path / "mbpp.jsonl.gz", MBPP, sanitized, {"text": "x"}, {"task_id": 12, "test_list": []})
    (problem,) = load_problems(f"mbpp:{path}#test")
    assert problem.statement == "Add one.\r\nYour code should satisfy these tests:\nassert f(1) == 2\nassert f(2) == 3"
    assert problem.hidden_tests == problem.example_tests == AssertTests(setup="", asserts=("assert f(1) == 2", "assert f(2) == 3"))
    assert problem.solutions == ("def f(n):\n  return n+1",)
    (other,) = load_problems(f"mbpp:{path}#train")
    assert other.hidden_tests.setup == "import math"
    assert [left.why for left in read_source(f"mbpp:{path}#test").left_out] == ["no task_id", "no text"]
    with pytest.raises(UserError, match="expected one problem or more, got none"):
        load_problems(f"mbpp:{path}#prompt")


HUMANEVAL = {
    "task_id": "HumanEval/1",
    "prompt": (
        'import math\n\n\ndef half(n):\n    """ Half of it. """\n    return n / 2\n\n\n'
        'def quarter(n):\n    """ A quarter.\n    >>> quarter(4)\n    1.0\n    """\n'
    ),
    "entry_point": "quarter",
    "canonical_solution": "    return half(half(n))\n",
    "test": "\ndef check(candidate):\n    assert candidate(8) == half(4)\n",
}


def test_humaneval_takes_bodies_and_whole_programs(tmp_path):
    source = f"humaneval:{row_file(tmp_path / 'h.jsonl', HUMANEVAL, {'task_id': 'HumanEval/2', 'prompt': 'def f(:'})}"
    found = read_source(source)
    assert [left.id for left in found.left_out] == ["HumanEval/2"]
    (problem,) = found.problems
    assert problem.statement == "A quarter.\n>>> quarter(4)\n1.0"
    assert problem.starter_code.endswith("    return n / 2\n\n\ndef quarter(n):\n")
    assert problem.example_tests == CallTests(fn_name="quarter", inputs=([4],), outputs=(1.0,))
    samples = row_file(
        tmp_path / "samples.jsonl",
        {"task_id": "HumanEval/1", "completion": "    return n / 4\n"},
        {"task_id": "HumanEval/1", "completion": "    return n\n"},
        {"task_id": "HumanEval/1", "completion": HUMANEVAL["prompt"] + "    return n / 4\n"},
    )
    programs = [program.program for _, _, program in read_programs(samples, found.problems)]
    whole = "def quarter(n):\n    return n / 4\n"  # without the helper that check calls
    verdicts = judge([*programs, *problem.solutions, whole], [problem.hidden_tests] * 5, Judging())
    assert [verdict.outcome is Outcome.PASSED for verdict in verdicts] == [True, False, True, True, True]


def test_a_file_of_apps_gives_the_split_that_its_rows_name(tmp_path):
    rows = [{"problem_id": i, "question": f"Print {i}.", "split": split} for i, split in enumerate(("train", "test", "train"))]
    source = row_file(tmp_path / "apps.jsonl", *rows, {"problem_id": 7, "question": "Print 7."})
    assert [problem.id for problem in load_problems(f"apps:{source}#test")] == ["0001", "0007"]
    assert [problem.id for problem in load_problems(f"apps:{source}#train")] == ["0000", "0002", "0007"]
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match="expected the folder of #test, got that of train"):
        load_problems(f"apps:{tmp_path}/train#test")


def test_mbpps_tests_are_a_list(tmp_path):
    good = {"task_id": 11, "text": "Print.", "code": "print()", "test_list": ["assert 1"]}
    found = read_source(f"mbpp:{row_file(tmp_path / 'm.jsonl', good, {**good, 'task_id': 12, 'test_list': 'assert 1'})}#test")
    assert [problem.id for problem in found.problems] == ["11"]
    assert [(left.id, left.why) for left in found.left_out] == [("12", "test_list is no list")]


def test_codexglues_pairs_are_read_from_every_form(tmp_path):
    (tmp_path / "valid.java-cs.txt.java").write_text("int a ( ) ;\nint b ( ) ;\n")
    (tmp_path / "valid.java-cs.txt.cs").write_text("int A ( ) ;\nint B ( ) ;\n")
    problems = load_problems(f"codexglue:{tmp_path}#java-cs.validation")
    assert [(p.id, p.statement, p.solutions, p.task) for p in problems] == [
        ("0", "int a ( ) ;", ("int A ( ) ;",), "code_to_code_c_sharp"),
        ("1", "int b ( ) ;", ("int B ( ) ;",), "code_to_code_c_sharp"),
    ]
    row_file(
        tmp_path / "test.jsonl", {"code_tokens": ["def", "f", "(", ")"], "docstring_tokens": ["Does", "f", "."]}, {"code_tokens": ["x"]}
    )
    found = read_source(f"codexglue:{tmp_path}/test.jsonl#summarize-python")
    assert [(p.statement, p.solutions, p.task) for p in found.problems] == [("def f ( )", ("Does f .",), "code_to_text")]
    assert found.left_out == [("1", "no docstring_tokens")]
    (tmp_path / "valid.java-cs.txt.cs").write_text("int A ( ) ;\n")
    with pytest.raises(UserError, match="expected two files of as many lines, got 2 and 1"):
        load_problems(f"codexglue:{tmp_path}#java-cs.validation")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("apps:dir", r"expected apps\[:PATH\]#train or #test"),
        ("apps:/nowhere#train", "expected an existing path, got '/nowhere'"),
        ("mbpp#dev", r"expected mbpp\[:FILE\]# and one of prompt, test, validation, train"),
        ("humaneval#train", "which has one split, test"),
        ("codexglue#java-cs", "TASK among concode, java-cs"),
        ("codexglue#ada-cs.test", "TASK among concode, java-cs"),
        ("mbpp:{tmp}/notes.txt#test", "expected a .jsonl, .jsonl.gz or .parquet file, got a file that ends in .txt"),
        ("mbpp:{tmp}#test", "got a folder"),
        ("apps:{tmp}#train", r"expected problem folders or train\*.jsonl or .parquet, got neither"),
        ("mbpp:{tmp}/cut.jsonl.gz#test", r"cut.jsonl.gz:\d+: file: expected a readable file"),
    ],
)
def test_bad_sources_are_one_line(tmp_path, source, words):
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(json.dumps(MBPP).encode() * 50)[:-9])
    with pytest.raises(UserError, match=words) as fault:
        load_problems(source.format(tmp=tmp_path))
    assert "\n" not in str(fault.value)


def test_what_is_left_out_is_told(tmp_path, capsys):
    path = row_file(tmp_path / "mbpp.jsonl", MBPP, {"text": "x"})
    load_problems(f"mbpp:{path}#test")
    assert "1 left out: no task_id (1); python -m sample.describe says which" in capsys.readouterr().err
    describe.main([f"mbpp:{path}#test"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split(maxsplit=1) == ["problems", "1, 1 left out"]
    assert lines[-1] == f"left out {path}:2: no task_id"


def test_a_description_counts_what_will_be_cut_and_what_can_be_judged(tmp_path):
    from coderl_jax.data.tokenizer import train_tokenizer

    rows = [MBPP, {**MBPP, "task_id": 13, "test_list": [], "code": ""}, {**MBPP, "task_id": 14, "text": "word " * 50}]
    source = read_source(f"mbpp:{row_file(tmp_path / 'm.jsonl', *rows)}#test")
    tokenizer = train_tokenizer(["a"], 261)
    told = dict(description(source, tokenizer, Lengths(max_prompt_tokens=200, max_new_tokens=20)))
    assert told["prompts"].endswith("; 1 longer than 200")
    assert told["solutions"] == "2; 2 of 3 problems (66.7%) have one or more"
    assert told["hidden tests"] == "2 of 3 problems (66.7%): assert 2; a problem median 2, 95% 2, most 2"
    assert "longer" not in dict(description(source, None, Lengths()))["prompts"]
