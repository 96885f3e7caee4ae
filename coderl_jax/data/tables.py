"""Rows of public data sets: local files of JSON lines or Parquet, or the Hugging Face hub. What they mean is the sources' affair."""

import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from coderl_jax.files import UserError, existing, read_jsonl

Row = tuple[str, dict[str, Any]]
"""Where a row stands (`file:line`, or `file: row 3`), for messages, and its fields."""


class LeftOut(NamedTuple):
    """A row that is no usable problem: which, and why."""

    id: str
    why: str


SUFFIXES = (".jsonl", ".json", ".parquet", ".gz")


def unix_lines(text: str) -> str:
    """A text with line ends of one character: files written elsewhere have two."""
    return text.replace("\r\n", "\n")


def read_rows(path: str) -> Iterator[Row]:
    """The rows of a file: JSON lines (also gzip) or Parquet.

    Raises:
      UserError: no such file, another kind of file, a damaged one.
    """
    place = existing(path, "source")
    if place.suffix == ".parquet":
        yield from _read_parquet(place)
    elif place.suffix in SUFFIXES and place.is_file():
        yield from read_jsonl(place)
    else:
        what = "a folder" if place.is_dir() else f"a file that ends in {place.suffix or 'nothing'}"
        raise UserError(f"{path}: source: expected a .jsonl, .jsonl.gz or .parquet file, got {what}; check the name")


def _read_parquet(path: pathlib.Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=256):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}: row {number}", row
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path}: file: expected Parquet, got {str(error).splitlines()[0]}; download it again") from None


def hub_rows(source: str, repository: str, *, split: str | None = None, name: str | None = None, file: str | None = None) -> Iterator[Row]:
    """The rows of a data set on the Hugging Face hub, through `datasets`, which keeps a copy.

    Args:
      source: as the user wrote it, for messages.
      repository: such as `google-research-datasets/mbpp`.
      split: of the data set.
      name: of its configuration, where it has several.
      file: a JSON lines file in the repository, where its data set cannot be loaded without running a script.

    Raises:
      UserError: the hub or the data set is out of reach.
    """
    import datasets
    import huggingface_hub

    huggingface_hub.logging.set_verbosity_error()  # its five attempts are none of the user's business
    try:
        if file is not None:
            data = datasets.load_dataset("json", data_files=f"hf://datasets/{repository}/{file}", split="train")
        else:
            data = datasets.load_dataset(repository, name, split=split)
    except Exception as error:  # noqa: BLE001  offline, unknown, gated, changed: the library has an exception for each
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{source}: problem source: expected {repository} on the Hugging Face hub, got {why}; give a file, NAME:PATH#SPLIT"
        ) from None
    for number, row in enumerate(data, start=1):
        yield f"{repository}: row {number}", row
