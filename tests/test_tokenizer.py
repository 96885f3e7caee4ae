"""Tokenizer: round trips, CodeT5's ids, the files it reads and writes."""

import gzip
import json
import shutil
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coderl_jax.data.tokenizer import Tokenizer, load_tokenizer, train_tokenizer
from coderl_jax.files import UserError

TEXTS = ["def f(x):\n    return x + 1\n", "Print the sum of the numbers.", "for i in range(10):\n    print(i)\n"] * 5
PIECES = st.sampled_from(
    ["<s>", "</s>", "<pad>", "<mask>", "<unk>", "<extra_id_0>", " ,", " .", " n't", "\n\t", "  ", "\r\n", "\0", "\u0120"]
)
ANY_TEXT = st.lists(PIECES | st.text(max_size=8), max_size=8).map("".join)


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    return train_tokenizer(TEXTS, 300)


@pytest.fixture(scope="module")
def codet5(shared, tmp_path_factory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("codet5")
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(shared / "data" / "codet5_tokenizer" / f"codet5-{name}", folder / name)
    return load_tokenizer(folder)


@given(text=ANY_TEXT)
def test_any_text_comes_back_unchanged(trained, text):
    ids = trained.encode(text)
    assert trained.decode(ids) == text
    assert all(i > 4 for i in ids)  # no text becomes a special token


@pytest.mark.shared
@given(text=ANY_TEXT)
@settings(max_examples=200)
def test_any_text_comes_back_unchanged_from_codet5(codet5, text):
    ids = codet5.encode(text)
    assert codet5.decode(ids) == text
    assert all(4 < i < 32000 for i in ids)


def test_decoding_stops_at_the_end_token_and_leaves_special_tokens_out(trained):
    ids = trained.encode("a , b")
    assert trained.decode([trained.pad, trained.bos, *ids, trained.eos, *trained.encode("rest")]) == "a , b"
    assert trained.decode([*ids[:1], trained.size, trained.size + 99, *ids[1:]]) == "a , b"  # ids of a padded embedding
    assert trained.decode([]) == ""


def test_a_cut_character_becomes_the_replacement_character(trained):
    assert trained.decode(trained.encode("\u65e5")[:2]) == "\ufffd"


def test_starts_say_where_in_the_text_each_id_begins(trained):
    text = "def f(a):\n    return a \u65e5\ud800 + 1"
    starts, ids = trained.starts(text), trained.encode(text)
    assert len(starts) == len(ids)
    assert starts == sorted(starts)
    pieces = [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]
    assert "".join(pieces) == text
    for piece, token in zip(pieces, ids, strict=True):
        if piece and piece.isascii():
            assert trained.decode([token]) == piece


def test_lone_surrogates_count_as_question_marks(trained):
    assert trained.encode("a\ud800b") == trained.encode("a?b")


def test_training_depends_on_the_texts_alone_and_keeps_the_special_ids(trained, tmp_path):
    assert trained.size == 300
    assert trained.decode([0, 1, 3, 4, 2]) == ""
    script = "import sys; from coderl_jax.data.tokenizer import *; train_tokenizer(sys.argv[2:], 300).save(sys.argv[1])"
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "other"), *reversed(TEXTS)], check=True)
    trained.save(tmp_path / "here")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_frequent_words_take_fewer_ids_than_bytes(trained):
    assert len(trained.encode("return")) < len("return")
    assert len(trained.encode("zqxjk")) == len("zqxjk")


def test_few_texts_give_fewer_entries_than_asked_for():
    assert train_tokenizer(["ab"], 1000).size == 5 + 256 + 1  # one pair to merge


def test_a_size_without_room_for_all_bytes_is_refused():
    with pytest.raises(UserError, match="expected a whole number >= 261 .* got 100"):
        train_tokenizer(TEXTS, 100)


def test_saved_and_loaded_it_is_the_same_tokenizer(trained, tmp_path):
    trained.save(tmp_path / "run" / "tokenizer")
    loaded = load_tokenizer(tmp_path / "run" / "tokenizer")
    text = "def f(s):\n    return '<s>' , s"
    assert loaded.encode(text) == trained.encode(text)
    assert loaded.decode(loaded.encode(text)) == text
    assert loaded.size == trained.size


@pytest.mark.slow
def test_transformers_reads_what_is_saved(trained, tmp_path):
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    trained.save(tmp_path)
    text = "def f(x) :\n    return x , 1 ."
    for theirs in (AutoTokenizer.from_pretrained(tmp_path), PreTrainedTokenizerFast.from_pretrained(tmp_path)):
        assert theirs(text)["input_ids"] == [trained.bos, *trained.encode(text), trained.eos]
        assert theirs.decode(trained.encode(text)) == text
        assert (theirs.pad_token_id, theirs.bos_token_id, theirs.eos_token_id) == (0, 1, 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "expected tokenizer.json, or vocab.json and merges.txt, got neither"),
        ({"vocab.json": "{}"}, "got vocab.json; check"),
        ({"tokenizer.json": "{nonsense"}, "expected readable files"),
        ({"tokenizer.json": "{}"}, "expected readable files"),
        ({"vocab.json": "[]", "merges.txt": ""}, "expected readable files"),
        ({"vocab.json": "{}", "merges.txt": ""}, "expected a byte-level one"),
        ({"vocab.json": '{"a": 0}', "merges.txt": ""}, "as ids 0 to 4"),
    ],
)
def test_bad_folders_are_the_users_error(tmp_path, content, message):
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        load_tokenizer(tmp_path)


def test_a_missing_folder_is_the_users_error(tmp_path):
    with pytest.raises(UserError, match="expected an existing path"):
        load_tokenizer(tmp_path / "nowhere")


def test_a_tokenizer_that_changes_text_is_refused(tmp_path):
    import tokenizers

    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4, "a": 5}, "<unk>"))
    words.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match="expected a byte-level one"):
        load_tokenizer(tmp_path)


@pytest.mark.shared
def test_codet5_has_its_ids_and_sentinels(codet5):
    assert codet5.size == 32100
    backend = codet5._backend
    assert backend.token_to_id("<extra_id_99>") == 32000
    assert backend.token_to_id("<extra_id_0>") == 32099


@pytest.mark.shared
def test_codet5_saved_and_loaded_keeps_its_ids(codet5, tmp_path):
    codet5.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert loaded.size == 32100
    assert loaded.encode("def f(x):\n\treturn x") == codet5.encode("def f(x):\n\treturn x")


@pytest.mark.shared
def test_programs_get_the_ids_upstream_stored(codet5, shared):
    with gzip.open(shared / "data" / "coderl_reindent_parity.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    assert len(rows) == 90
    for row in rows:
        assert [codet5.bos, *codet5.encode(row["reindented"]), codet5.eos] == row["ids"]
        assert codet5.decode(row["ids"]) == row["reindented"]
