"""Data tokenised once: array_record files that TensorFlow Datasets writes and reads, and grain too. Nothing here needs TensorFlow.

A prepared folder holds, beside its manifest:

    documents/1.0.0/   a TFDS data set (`tfds.builder_from_directory`) of documents: name, licence, tokens
    examples/1.0.0/    or of pairs for fine-tuning: source, target, with `<s>` and `</s>`
    lengths.npz        tokens of every record, so that nobody has to read all of them to find one
    tokenizer/         whose ids these are

TFDS has shuffled the records by their keys, so their order is random and always the same.
"""

import contextlib
import io
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int32, Int64

from coderl_jax.data.batches import Example
from coderl_jax.data.tokenizer import Tokenizer, load_tokenizer
from coderl_jax.files import UserError, existing, remove, replacing, shown

TOKENS = {"documents": ("tokens",), "examples": ("source", "target")}
"""Kind of data set -> its fields of ids, in the order of the columns of its lengths."""
TEXTS = {"documents": ("name", "licence"), "examples": ()}
"""Kind of data set -> its fields of text."""

_FLAG = {"documents": "corpus", "examples": "problems"}


def write_prepared(
    folder: pathlib.Path, kind: str, rows: Iterable[tuple[str, dict[str, Any]]], tokenizer: Tokenizer, validated: bool = False
) -> dict[str, tuple[int, int]]:
    """Write a prepared folder's data.

    Args:
      folder: there already; what an interrupted attempt left in it is replaced.
      kind: a key of `TOKENS`.
      rows: (split, record) with split train or validation; streamed, but for the validation records.
      tokenizer: whose ids the records hold.
      validated: there is to be a validation split.

    Returns:
      Split -> records and tokens written.

    Raises:
      UserError: a split would be without a record.
    """
    import tensorflow_datasets as tfds

    ids = np.uint16 if tokenizer.size <= 1 << 16 else np.int32
    later: list[dict[str, Any]] = []

    def as_arrays(row: dict[str, Any]) -> dict[str, Any]:
        return row | {name: np.array(row[name], ids) for name in TOKENS[kind]}

    def first_split() -> Iterator[tuple[int, dict[str, Any]]]:
        """Records to train on; where chance set none apart for validation, the first one is."""
        number, first = 0, None
        for split, row in rows:
            if split != "train":
                later.append(as_arrays(row))
            elif validated and first is None:
                first = as_arrays(row)
            else:
                yield number, as_arrays(row)
                number += 1
        if first is not None and (later or number == 0):
            yield number, first
            number += 1
        elif first is not None:
            later.append(first)
        if number == 0 or (validated and not later):
            least = "two records" if validated else "one record"
            raise UserError(
                f"{str(folder).removesuffix('.partial')}: records: expected {least} or more, got {number}; see what was left out"
            )

    fields = {name: tfds.features.Text() for name in TEXTS[kind]}
    fields |= {name: tfds.features.Tensor(shape=(None,), dtype=ids, encoding=tfds.features.Encoding.BYTES) for name in TOKENS[kind]}

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = kind
        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = folder
        url_infos = None  # nothing is downloaded; looking for checksums would need a package that TFDS does not install

        def _info(self) -> Any:
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(fields))

        def _split_generators(self, _: Any) -> dict[str, Iterator]:
            return {"train": first_split()} | ({"validation": enumerate(later)} if validated else {})

        def _generate_examples(self) -> Iterator:
            raise NotImplementedError

    remove(folder / kind)
    tokenizer.save(folder / "tokenizer")
    builder = Builder(data_dir=str(folder), file_format="array_record")
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):  # it speaks of downloads
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    remove(folder / "downloads")
    lengths = {split: _lengths(open_tfds(str(folder / kind), split, str(folder)), TOKENS[kind]) for split in builder.info.splits}
    with replacing(folder / "lengths.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, **lengths)
    return {split: (len(sizes), int(sizes.sum())) for split, sizes in lengths.items()}


def _lengths(rows: Any, fields: tuple[str, ...]) -> Int64[np.ndarray, "n fields"]:
    return np.array([[len(row[field]) for field in fields] for row in (rows[i] for i in range(len(rows)))], np.int64)


def open_tfds(path: str, split: str, source: str) -> Any:
    """Random access to the records of a data set that TensorFlow Datasets has written as array_record.

    Args:
      path: its folder, NAME/VERSION or above where there is only one.
      split: such as train.
      source: as the user wrote it, for messages.

    Raises:
      UserError: no such folder, no data set in it, another file format, no such split.
    """
    import tensorflow_datasets as tfds

    folder = existing(path, "data set") if path else None
    found = sorted(folder.rglob("dataset_info.json")) if folder else []
    if len(found) != 1:
        got = "none" if not found else f"{len(found)} of them"
        raise UserError(
            f"{source}: data set: expected a folder with one dataset_info.json of TensorFlow Datasets, got {got}; name its folder"
        )
    try:
        builder = tfds.builder_from_directory(str(found[0].parent))
        rows = builder.as_data_source(split=split) if split in builder.info.splits else None
    except Exception as error:  # noqa: BLE001  damaged JSON, missing files, another format: the library has an exception for each
        raise _unreadable(source, error) from None
    if rows is None:
        raise UserError(f"{source}: split: expected {' or '.join(sorted(builder.info.splits))}, got {shown(split)}; add #SPLIT")
    return rows


def _unreadable(source: str, error: Exception) -> UserError:
    why = str(error).splitlines()[0] if str(error) else type(error).__name__
    return UserError(f"{source}: data set: expected readable array_record files, got {shown(why, 120)}; prepare it again")


def splits(folder: str) -> list[str]:
    """The splits of a prepared folder that hold records.

    Raises:
      UserError: no such folder, an unfinished one.
    """
    place = existing(folder, "prepared data")
    if not (place / "lengths.npz").exists():
        raise UserError(f"{folder}: prepared data: expected a folder that train.prepare has finished, got another; prepare it")
    with np.load(place / "lengths.npz") as lengths:
        return sorted(lengths)


class Prepared:
    """Random access to one split of a prepared folder. Reading is thread-safe.

    Attributes:
      lengths: tokens of every record, a column a field of `TOKENS`.
    """

    def __init__(self, folder: str, kind: str, split: str):
        """Open it.

        Raises:
          UserError: no such folder, another kind of data, an unfinished one, no such split.
        """
        there, place = splits(folder), pathlib.Path(folder)
        if not (place / kind).is_dir():
            got = next((other for other in TOKENS if (place / other).is_dir()), "something else")
            raise UserError(f"{folder}: prepared data: expected {kind}, got {got}; prepare them with --{_FLAG[kind]}")
        if split not in there:
            raise UserError(f"{folder}: split: expected {' or '.join(there)}, got {shown(split)}; choose one")
        with np.load(place / "lengths.npz") as lengths:
            self.lengths: Int64[np.ndarray, "n fields"] = lengths[split]
        self._rows = open_tfds(str(place / kind), split, folder)
        self._folder, self._fields = folder, TOKENS[kind]
        self.tokenizer = load_tokenizer(place / "tokenizer")
        if len(self._rows) != len(self.lengths):
            raise UserError(
                f"{folder}: records: expected {len(self.lengths)}, as many as lengths, got {len(self._rows)}; prepare them again"
            )

    def __len__(self) -> int:
        return len(self.lengths)

    def ids(self, number: int) -> tuple[Int32[np.ndarray, " n"], ...]:
        """The ids of a record, field by field."""
        try:
            row = self._rows[int(number)]
        except RuntimeError as error:
            raise _unreadable(self._folder, error) from None
        return tuple(row[field].astype(np.int32) for field in self._fields)


class PreparedExamples(Prepared, Sequence[Example]):
    """Pairs for fine-tuning, in place of a list of `Example`."""

    def __init__(self, folder: str, split: str):
        """See `Prepared`."""
        super().__init__(folder, "examples", split)

    def __getitem__(self, number: int) -> Example:
        source, target = self.ids(number)
        return Example(source.tolist(), target.tolist())
