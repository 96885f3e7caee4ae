"""Prepared data: what is written is read back, by others too; windows, batches, hosts and positions."""

import json
import shutil

import numpy as np
import pytest
from plain_spans import restored

from coderl_jax.config import Lengths
from coderl_jax.data.prepared import Prepared, PreparedExamples, open_tfds, splits, write_prepared
from coderl_jax.data.pretraining import DocumentWindows, JoinedWindows, PretrainingStream
from coderl_jax.data.tokenizer import train_tokenizer
from coderl_jax.files import UserError

TOKENIZER = train_tokenizer(["for i in range(10): print(i)"], 280, sentinels=True)


def documents(seed: int = 0, count: int = 40) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(5, 261, rng.integers(1, 200)).tolist() for _ in range(count)]


def rows(texts):
    for number, tokens in enumerate(texts):
        yield "validation" if number % 10 == 9 else "train", {"name": f"d{number}", "licence": "mit", "tokens": tokens}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("prepared")
    written = write_prepared(place, "documents", rows(documents()), TOKENIZER, validated=True)
    sizes = [len(tokens) for tokens in documents()]
    assert written == {"train": (36, sum(sizes) - sum(sizes[9::10])), "validation": (4, sum(sizes[9::10]))}
    return place


def test_documents_are_read_back_whole_in_an_order_that_is_always_the_same(folder, tmp_path):
    read = Prepared(str(folder), "documents", "train")
    texts = [read.ids(i)[0].tolist() for i in range(len(read))]
    assert sorted(texts) == sorted(tokens for i, tokens in enumerate(documents()) if i % 10 != 9)
    assert texts != [tokens for i, tokens in enumerate(documents()) if i % 10 != 9], "they are shuffled"
    assert read.lengths[:, 0].tolist() == list(map(len, texts))
    assert read.tokenizer.same_as(TOKENIZER)
    write_prepared(tmp_path, "documents", rows(documents()), TOKENIZER, validated=True)
    again = Prepared(str(tmp_path), "documents", "train")
    assert [again.ids(i)[0].tolist() for i in range(len(again))] == texts
    assert splits(str(folder)) == ["train", "validation"]


def test_tensorflow_datasets_and_grain_read_it(folder):
    import grain
    import tensorflow_datasets as tfds

    source = tfds.builder_from_directory(str(folder / "documents" / "1.0.0")).as_data_source("train")
    ours = Prepared(str(folder), "documents", "train")
    assert {source[0]["name"].decode()} <= {f"d{i}" for i in range(40)}
    theirs = grain.MapDataset.source(source).map(lambda row: row["tokens"])
    for number in range(len(ours)):
        np.testing.assert_array_equal(theirs[number], ours.ids(number)[0])


def test_data_that_others_prepared_is_a_corpus(folder, tmp_path):
    import tensorflow_datasets as tfds

    from coderl_jax.data.corpus import Document, read_corpus

    class Theirs(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("3.2.1")
        pkg_dir_path = tmp_path
        url_infos = None

        def _info(self):
            features = {"content": tfds.features.Text(), "license": tfds.features.Text(), "size": tfds.features.Scalar(np.int64)}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, _):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            yield from ((i, {"content": f"x = {i}\r\n", "license": "MIT", "size": i}) for i in range(5))

    Theirs(data_dir=str(tmp_path), file_format="array_record").download_and_prepare()
    found = list(read_corpus(f"tfds:{tmp_path}/theirs#train", (".py",), 1000))
    assert sorted(document.text for document in found) == [f"x = {i}\n" for i in range(5)]
    assert {document.licences for document in found} == {("mit",)}
    assert all(isinstance(document, Document) for document in found)
    with pytest.raises(UserError, match="text: expected a field content, .*, got \\['licence', 'name', 'tokens'\\]"):
        next(iter(read_corpus(f"tfds:{folder}#train", (".py",), 1000)))


def test_pairs_stand_in_for_examples(tmp_path):
    pairs = [([1, *range(5, 5 + i), 2], [1, 9, i + 5, 2]) for i in range(30)]
    write_prepared(tmp_path, "examples", (("train", {"source": s, "target": t}) for s, t in pairs), TOKENIZER)
    examples = PreparedExamples(str(tmp_path), "train")
    assert sorted((e.source, e.target) for e in map(examples.__getitem__, range(30))) == sorted(pairs)
    assert examples.lengths.tolist() == [[len(e.source), len(e.target)] for e in map(examples.__getitem__, range(30))]


@pytest.mark.parametrize(("count", "splits_of"), [(2, {"train": 1, "validation": 1}), (5, {"train": 4, "validation": 1})])
def test_a_few_documents_still_make_both_splits(tmp_path, count, splits_of):
    few = [("train", {"name": str(i), "licence": "", "tokens": [5, 6]}) for i in range(count)]
    written = write_prepared(tmp_path, "documents", few, TOKENIZER, validated=True)
    assert {split: n for split, (n, _) in written.items()} == splits_of
    with pytest.raises(UserError, match="records: expected two records or more, got 1"):
        write_prepared(tmp_path, "documents", few[:1], TOKENIZER, validated=True)


def test_what_is_no_prepared_data_is_one_line(folder, tmp_path):
    with pytest.raises(UserError, match="prepared data: expected an existing path"):
        Prepared(str(tmp_path / "nothing"), "documents", "train")
    with pytest.raises(UserError, match="expected a folder that train.prepare has finished"):
        Prepared(str(tmp_path), "documents", "train")
    with pytest.raises(UserError, match="prepared data: expected examples, got documents; prepare them with --problems"):
        Prepared(str(folder), "examples", "train")
    with pytest.raises(UserError, match="split: expected train or validation, got 'test'"):
        Prepared(str(folder), "documents", "test")
    with pytest.raises(UserError, match="split: expected train or validation, got 'dev'; add #SPLIT"):
        open_tfds(str(folder), "dev", "tfds:x")
    with pytest.raises(UserError, match="records: expected one record or more, got 0; see what was left out"):
        write_prepared(tmp_path, "documents", iter(()), TOKENIZER)


@pytest.mark.parametrize("damage", ["truncated", "missing", "info"])
def test_damaged_files_are_one_line(folder, tmp_path, damage):
    shutil.copytree(folder, tmp_path / "copy")
    data = next((tmp_path / "copy").rglob("documents-train.array_record*"))
    if damage == "truncated":
        data.write_bytes(data.read_bytes()[:1000])
    elif damage == "missing":
        data.unlink()
    else:
        next((tmp_path / "copy").rglob("dataset_info.json")).write_text("{")
    with pytest.raises(UserError, match=f"{tmp_path}.*expected"):
        Prepared(str(tmp_path / "copy"), "documents", "train").ids(0)


# Windows


def whole(prepared: Prepared) -> list[list[int]]:
    return [[*prepared.ids(i)[0].tolist(), 2] for i in range(len(prepared))]


@pytest.mark.parametrize("length", [7, 64, 1000])
def test_joined_windows_are_the_documents_one_after_another(folder, length):
    prepared = Prepared(str(folder), "documents", "train")
    stream = [token for text in whole(prepared) for token in text]
    windows = JoinedWindows(prepared, length)
    assert len(windows) == len(stream) // length
    assert [token for i in range(len(windows)) for token in windows[i].tolist()] == stream[: len(windows) * length]


@pytest.mark.parametrize("length", [16, 50, 1000])
def test_document_windows_hold_every_document_once_and_never_two(folder, length):
    prepared = Prepared(str(folder), "documents", "train")
    windows = DocumentWindows(prepared, length)
    found, text = [], []
    for number in range(len(windows)):
        window = windows[number].tolist()
        assert len(window) <= length
        text += window
        if window[-1] == 2:
            found.append(text)
            text = []
    assert text == []
    assert found == [document for document in whole(prepared) if len(document) > 16]


# Batches


def stream(folder, objective="spans", **changes) -> PretrainingStream:
    settings = {"sequence_length": 32, "batch_size": 6, "seed": 3, "readers": 0} | changes
    return PretrainingStream(
        Prepared(str(folder), "documents", "train"), objective, Lengths(max_prompt_tokens=32, max_new_tokens=24), **settings
    )


def texts_of(batch) -> list[list[int]]:
    from coderl_jax.data.batches import Example

    sentinels = TOKENIZER.sentinels
    pairs = zip(batch.source, batch.source_mask, batch.target, batch.target_mask, strict=True)
    return [restored(Example(s[m].tolist(), t[n].tolist()), sentinels) for s, m, t, n in pairs]


@pytest.mark.parametrize("objective", ["spans", "next-tokens"])
def test_an_epoch_holds_every_window_once_and_the_next_one_in_another_order(folder, objective):
    batches = stream(folder, objective, batch_size=1)
    prepared = Prepared(str(folder), "documents", "train")
    windows = (JoinedWindows if objective == "spans" else DocumentWindows)(prepared, 32)
    plain = [windows[i].tolist() for i in range(len(windows))]
    epochs = [[texts_of(next(batches))[0] for _ in plain] for _ in range(2)]
    for epoch in epochs:
        assert sorted(epoch) == sorted(plain)
    assert epochs[0] != epochs[1]
    assert batches.examples == len(plain)
    assert batches.state()["batches"] == 2 * len(plain)


def test_next_tokens_are_not_padded_beyond_what_a_window_reaches(folder):
    prepared, lengths = Prepared(str(folder), "documents", "train"), Lengths(max_prompt_tokens=600, max_new_tokens=512)
    batches = PretrainingStream(prepared, "next-tokens", lengths, sequence_length=32, batch_size=1, seed=3, readers=0)
    assert batches.shape == (32, 32), "0.9 x 32 tokens and two marks, or one, by 16"
    assert max(next(batches).source_mask.sum() for _ in range(4 * batches.examples)) in (30, 31)


@pytest.mark.parametrize("objective", ["spans", "next-tokens"])
def test_a_window_is_corrupted_otherwise_in_every_epoch(folder, objective):
    batches = stream(folder, objective, batch_size=1)
    seen: dict[tuple, set] = {}
    for _ in range(4 * batches.examples):
        batch = next(batches)
        seen.setdefault(tuple(texts_of(batch)[0]), set()).add(batch.source.tobytes())
    assert sum(len(sources) > 1 for sources in seen.values()) > 0.9 * len(seen)


def same(a, b) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("source", "source_mask", "target", "target_mask"))


def test_readers_change_nothing_and_batches_have_one_shape(folder):
    plain, read_ahead = stream(folder), stream(folder, readers=2)
    for number in range(30):
        batch = next(plain)
        assert same(batch, next(read_ahead))
        assert same(batch, plain[number])
        assert (batch.source.shape, batch.target.shape) == ((6, plain.shape[0]), (6, plain.shape[1]))
    assert plain.shares == [(*plain.shape, 1.0)]


def test_a_stream_goes_on_from_a_saved_position(folder):
    batches = stream(folder, readers=1)
    for _ in range(17):
        next(batches)
    position = json.loads(json.dumps(batches.state()))
    expected = [next(batches) for _ in range(5)]
    other = stream(folder, readers=1)
    next(other)
    other.restore(position)
    assert all(same(a, next(other)) for a in expected)
    with pytest.raises(UserError, match="seed: expected 3 as when the run was stopped, got 4"):
        stream(folder, seed=4).restore(position)


@pytest.mark.parametrize("hosts", [2, 3])
def test_hosts_together_read_the_batches_of_one(folder, hosts):
    one = stream(folder)
    several = [stream(folder) for _ in range(hosts)]
    for host, part in enumerate(several):
        part.rows = np.arange(6).reshape(hosts, -1)[host]
    for _ in range(20):
        batch, parts = next(one), [next(part) for part in several]
        for host, part in enumerate(parts):
            np.testing.assert_array_equal(part.source, batch.source[several[host].rows])
            np.testing.assert_array_equal(part.target, batch.target[several[host].rows])
    position = several[0].state()
    assert position == one.state(), "a run that is resumed on another number of hosts goes on where it was"


def test_what_cannot_be_batched_is_one_line(folder, tmp_path):
    with pytest.raises(UserError, match="--prepared: expected a window of 100000 tokens or more"):
        stream(folder, sequence_length=100000)
    write_prepared(tmp_path, "documents", rows(documents()), train_tokenizer(["for i in x"], 270), validated=True)
    with pytest.raises(UserError, match="tokenizer: expected sentinels <extra_id_0>"):
        stream(tmp_path)
    assert len(next(stream(tmp_path, "next-tokens")).source) == 6
