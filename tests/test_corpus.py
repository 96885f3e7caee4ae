"""Which documents are pretrained on: sources, fitness, repeats, and benchmarks' answers among them."""

import gzip
import json
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coderl_jax.config import CorpusFilter
from coderl_jax.data.contamination import Benchmark, benchmark_texts, uncontaminated
from coderl_jax.data.corpus import Document, counted, licences_in, read_corpus, unfit
from coderl_jax.data.duplicates import without_duplicates
from coderl_jax.data.ngrams import ngrams, words
from coderl_jax.data.problems import load_problems
from coderl_jax.data.tables import LeftOut
from coderl_jax.files import UserError
from coderl_jax.types import AssertTests, CallTests, Problem, StdinTests
from sample import contamination

RULES = CorpusFilter()


def read(source: str, suffixes=(".py",), max_bytes=1000) -> list:
    return list(read_corpus(str(source), suffixes, max_bytes))


def _name(row):
    return row.id if isinstance(row, LeftOut) else row.name


# Sources


def test_files_are_read_by_their_ends_and_what_is_no_text_is_told(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "one.py").write_bytes(b"\xef\xbb\xbfx = 1\r\ny = 2\r\n")
    (tmp_path / "a.py").write_text("# SPDX-License-Identifier: MIT\npass\n")
    (tmp_path / "binary.py").write_bytes(b"x = 1\0\n")
    (tmp_path / "latin.py").write_bytes("# caf\xe9\n".encode("latin-1"))
    (tmp_path / "large.py").write_text("#" * 1001)
    (tmp_path / "notes.txt").write_text("not asked for")
    (tmp_path / "link.py").symlink_to(tmp_path / "a.py")
    (tmp_path / "linked").symlink_to(tmp_path / "b")
    (tmp_path / "link.txt").symlink_to(tmp_path / "notes.txt")
    found = read(f"files:{tmp_path}")
    assert sorted(found, key=_name) == [
        Document("a.py", "# SPDX-License-Identifier: MIT\npass\n", ("mit",)),
        Document("b/one.py", "x = 1\ny = 2\n"),
        LeftOut("binary.py", "binary"),
        LeftOut("large.py", "larger than 1000 bytes"),
        LeftOut("latin.py", "not UTF-8"),
        LeftOut("link.py", "a symbolic link"),
        LeftOut("linked", "a symbolic link"),
    ]
    assert found == read(f"files:{tmp_path}")
    (tmp_path / "new.py").write_text("")
    assert [row for row in read(f"files:{tmp_path}") if _name(row) != "new.py"] == found, "what comes later moves nothing"


@pytest.mark.parametrize(
    ("expression", "licences"),
    [
        ("MIT", ("mit",)),
        ("MIT OR Apache-2.0", ("apache-2.0 or mit",)),
        ("MIT AND GPL-3.0-only", ("gpl-3.0-only", "mit")),
        ("(GPL-3.0-only OR AGPL-3.0-only)", ("agpl-3.0-only or gpl-3.0-only",)),
        ("MIT OR (BSD-3-Clause AND GPL-2.0+)", ("bsd-3-clause or mit", "gpl-2.0+ or mit")),
        ("GPL-2.0 WITH Classpath-exception-2.0", ("gpl-2.0 with classpath-exception-2.0",)),
        ("Apache License 2.0", ("apache license 2.0",)),
        ("(MIT", ("(mit",)),
        ("OR", ("or",)),
    ],
)
def test_licence_expressions_are_read_whole(tmp_path, expression, licences):
    assert licences_in(expression) == licences
    (tmp_path / "a.py").write_text(f"# SPDX-License-Identifier: {expression}  \npass\n")
    assert read(f"files:{tmp_path}")[0].licences == licences


def test_rows_are_read_under_any_of_the_usual_names(tmp_path):
    rows = [
        {"content": "a\r\n", "max_stars_repo_path": "p.py", "max_stars_repo_licenses": ["MIT", "GPL-3.0"]},
        {"whole_func_string": "def f(): pass", "license": "Apache-2.0"},
        {"text": "t"},
        {"content": None, "path": "q.py"},
    ]
    with gzip.open(tmp_path / "rows.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    *found, none = read(f"text:{tmp_path}/rows.jsonl.gz")
    assert (type(none), none.why) == (LeftOut, "no text")
    assert [document.text for document in found] == ["a\n", "def f(): pass", "t"]
    assert [document.licences for document in found] == [("mit", "gpl-3.0"), ("apache-2.0",), ()]
    assert found[0].name.endswith("rows.jsonl.gz:1 p.py")
    (tmp_path / "other.jsonl").write_text('{"body": "x"}\n')
    with pytest.raises(UserError, match=r"other.jsonl:1: text: expected a field content, .*, got \['body'\]; rename one"):
        read(f"text:{tmp_path}/other.jsonl")


def test_a_problem_source_gives_its_solutions():
    texts = [document.text for document in read("tiny#validation")]
    assert texts == [solution for problem in load_problems("tiny#validation") for solution in problem.solutions]


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("files:{0}/nothing", "corpus: expected an existing path"),
        ("files:{0}", "corpus: expected files that end in .py, got none; check the name"),
        ("files:", "corpus: expected files:FOLDER, got 'files:'"),
        ("text:", "corpus: expected text:FILE"),
        ("hub:name#train", "corpus: expected hub:OWNER/NAME#SPLIT"),
        ("tfds:{0}#train", "data set: expected a folder with one dataset_info.json"),
        ("web:page", "corpus: expected files:FOLDER, text:FILE, .*, got 'web:page'; choose one"),
    ],
)
def test_a_corpus_that_is_not_there_is_one_line(tmp_path, source, line):
    with pytest.raises(UserError, match=line):
        read(source.format(tmp_path))


def test_the_hub_out_of_reach_is_one_line():
    with pytest.raises(UserError, match="hub:owner/name#train: problem source: expected owner/name on the Hugging Face hub"):
        read("hub:owner/name#train")


# Fitness


@pytest.mark.parametrize(
    ("text", "licences", "why"),
    [
        ("x = 1\n", (), None),
        (" \n\t\n", (), "empty"),
        ("x\0", (), "binary"),
        ("x = '" + "a" * 1000 + "'\n", (), "a line longer than 1000 characters"),
        ("x\n" * 600_000, (), "larger than 1000000 bytes"),
        ("\u20ac\n" * 300_000, (), "larger than 1000000 bytes"),
        ("x = 1\n", ("mit",), None),
        ("x = 1\n", ("mit", "gpl-3.0"), "licence gpl-3.0"),
        ("x = 1\n", ("gpl-3.0 or mit",), None),
        ("x = 1\n", ("agpl-3.0 or gpl-3.0", "mit"), "licence agpl-3.0 or gpl-3.0"),
    ],
)
def test_what_is_unfit_is_told(text, licences, why):
    assert unfit(Document("d", text, licences), CorpusFilter(licences=("MIT", "Apache-2.0"))) == why


def test_without_a_list_every_licence_is_fit():
    assert unfit(Document("d", "x", ("gpl-3.0",)), RULES) is None


def test_a_line_of_fifty_megabytes_is_left_out_in_any_source(tmp_path):
    (tmp_path / "huge.py").write_bytes(b"x" * 50_000_000)
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": "x" * 50_000_000}) + "\n")
    for source in (f"files:{tmp_path}", f"text:{tmp_path}/rows.jsonl"):
        reasons: Counter = Counter()
        assert list(counted(read_corpus(source, (".py",), 1_000_000), RULES, reasons)) == []
        assert reasons == {"larger than 1000000 bytes": 1}


# Repeats


def text_of(rng: random.Random, size: int) -> list[str]:
    return [rng.choice("abcdefghijklmnopqrstuvwxyz") + str(rng.randrange(1000)) for _ in range(size)]


def kept(texts: list[str], threshold: float = 0.7) -> tuple[list[int], Counter]:
    reasons: Counter = Counter()
    documents = [Document(str(i), text) for i, text in enumerate(texts)]
    return [int(document.name) for document in without_duplicates(documents, threshold, reasons)], reasons


def test_the_same_words_are_kept_once_whatever_the_spaces():
    numbers, reasons = kept(["def f(x):\n    return x", "def  f( x ):\n\treturn X\n", "def f(x): return y"], threshold=0.0)
    assert numbers == [0, 2]
    assert reasons == {"duplicate": 1}


def test_near_repeats_go_and_the_rest_stays():
    rng = random.Random(0)
    base = [text_of(rng, 300) for _ in range(20)]
    near = [[*text[:290], *text_of(rng, 10)] for text in base]  # Jaccard of 5-word runs: 286 / 306 = 0.93
    far = [[*text[:150], *text_of(rng, 150)] for text in base]  # 146 / 446 = 0.33
    numbers, reasons = kept([" ".join(text) for text in base + near + far])
    assert numbers == [*range(20), *range(40, 60)]
    assert reasons == {"near duplicate": 20}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "if", "(", ")", "_x1"]), max_size=40), st.integers(1, 6))
def test_ngrams_are_the_distinct_runs_of_words(tokens, n):
    text = " ".join(tokens)
    runs = {tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)}
    found = ngrams(words(text), n)
    assert len(found) == len(runs)
    assert (np.diff(found.astype(object)) > 0).all()
    other = ngrams(words("\n".join(tokens).upper()), n)
    np.testing.assert_array_equal(found, other)


def test_words_are_runs_of_letters_or_single_signs():
    assert len(words("f(x_1) += 'a b'")) == len("f ( x_1 ) + = ' a b '".split())


# Benchmarks' answers

SOLUTION = (
    "def remove_first(s, c):\n    for i in range(len(s)):\n        if s[i] == c:\n            return s[:i] + s[i + 1:]\n    return s\n"
)
ASSERTS = AssertTests(setup="", asserts=("assert remove_first('hello', 'l') == 'helo'", "assert remove_first('abcda', 'a') == 'bcda'"))


def benchmark(n=10, share=0.5, **parts) -> Benchmark:
    problem = Problem(
        id="p/1", statement="Remove.", hidden_tests=parts.pop("tests", ASSERTS), solutions=parts.pop("solutions", (SOLUTION,))
    )
    return Benchmark(benchmark_texts([problem]), n, share)


def padding(seed: int) -> str:
    return " ".join(text_of(random.Random(seed), 400))


def test_a_solution_and_tests_are_found_within_a_large_file_however_spaced():
    hidden = SOLUTION.replace("    ", "\t").replace(" == ", "==")
    found = benchmark().found_in(Document("file.py", padding(1) + "\n" + hidden + padding(2) + "\n" + ASSERTS.asserts[0]))
    assert [(f.document, f.text) for f in found] == [("file.py", "p/1 solution 0")]
    assert found[0].share > 0.8
    both = benchmark().found_in(Document("file.py", SOLUTION + "\n".join(ASSERTS.asserts)))
    assert {f.text: f.share for f in both} == {"p/1 solution 0": 1.0, "p/1 hidden tests": 1.0}


def test_what_shares_a_little_is_not_found():
    assert benchmark().found_in(Document("d", padding(3) + SOLUTION[:40] + padding(4))) == []
    assert benchmark().found_in(Document("d", "")) == []


def test_texts_too_short_to_tell_are_counted_and_not_looked_for():
    short = benchmark(solutions=("return x",), tests=None)
    assert (short.names, short.too_short) == ([], 1)
    assert short.found_in(Document("d", "return x")) == []


@pytest.mark.parametrize(
    "tests",
    [
        CallTests(fn_name="solve", inputs=([[1, 2, 3], "ab"], [[4], "c"]), outputs=(7, [1, 2])),
        StdinTests(inputs=("3 4\n5 6 7\n", "1 1"), outputs=("10 9 8\n", "3")),
    ],
)
def test_every_kind_of_test_is_looked_for(tests):
    (text,) = benchmark_texts([Problem(id="p", statement="", hidden_tests=tests, example_tests=tests)])
    assert text.name == "p hidden tests"
    assert Benchmark([text], 10, 0.5).found_in(Document("d", f"{padding(5)}\n{text.text}\n{padding(6)}"))


def test_contaminated_documents_are_left_out_and_told():
    reasons, found = Counter(), []
    documents = [Document("clean", padding(7)), Document("dirty", padding(8) + SOLUTION)]
    left = list(uncontaminated(documents, benchmark(), reasons, found))
    assert [document.name for document in left] == ["clean"]
    assert (sum(reasons.values()), [f.document for f in found]) == (1, ["dirty"])


@pytest.mark.shared
def test_mbpp_holds_itself_and_its_splits_hardly_each_other(shared, capsys):
    source = f"mbpp:{shared}/data/mbpp.jsonl.gz"
    contamination.main([f"{source}#test", f"{source}#test"])
    lines = capsys.readouterr().out.splitlines()
    looked_for, documents = (int(line.split()[0].replace(",", "")) for line in lines[1:3])
    assert documents > 450, "nearly every solution is long enough"
    assert looked_for > 900
    contamination.main([f"{source}#train", f"{source}#test"])
    across = int(capsys.readouterr().out.splitlines()[2].split()[0])
    assert 0 < across < 60


def test_the_command_writes_what_it_found(tmp_path, capsys):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "copied.py").write_text(padding(9) + "\n" + load_problems("tiny#test")[400].solutions[0] * 2)
    (tmp_path / "corpus" / "own.py").write_text("\n".join(padding(10).split(" ")))
    contamination.main([f"files:{tmp_path}/corpus", "tiny#test", "--max-line", "10000", "--out", str(tmp_path / "found.jsonl")])
    out = capsys.readouterr().out
    assert out.splitlines()[0].startswith("2 documents of files:")
    rows = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]
    assert {row["document"] for row in rows} == {"copied.py"}
    assert f"holds  {load_problems('tiny#test')[400].id}" in out
