"""Texts to pretrain on, out of folders, files, data sets and problem sources, and which of them are fit for it.

A corpus is NAME:PATH[#SPLIT], like a problem source. Documents stream through: nothing here holds a corpus in memory.
"""

import dataclasses
import functools
import hashlib
import itertools
import pathlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from jaxtyping import UInt64

from coderl_jax.config import CorpusFilter
from coderl_jax.data.ngrams import words
from coderl_jax.data.problems import NAMES, read_source
from coderl_jax.data.tables import LeftOut, hub_rows, read_rows, unix_lines
from coderl_jax.files import UserError, existing, shown

CORPORA = "files:FOLDER, text:FILE, hub:REPOSITORY#SPLIT, tfds:FOLDER#SPLIT or a problem source, whose solutions are read"

_TEXT_FIELDS = ("content", "text", "code", "whole_func_string", "func_code_string", "original_string")
_NAME_FIELDS = ("path", "max_stars_repo_path", "func_path_in_repository", "name", "id", "url")
_LICENCE_FIELDS = ("license", "licence", "licenses", "max_stars_repo_licenses", "repo_license", "detected_licenses")
_SPDX = re.compile(r"SPDX-License-Identifier:[ \t]*([\w.+\-() \t]*[\w.+\-)])")
_SPDX_WITHIN = 4000  # characters from the top of a file in which such a line is looked for


@dataclasses.dataclass(frozen=True)
class Document:
    """One text of a corpus.

    Attributes:
      name: where it comes from, unique in its corpus.
      text: as it is, with line ends of one character.
      licences: what its metadata say, in lower case (`mit`, or `mit or bsd-3-clause` for a choice); all of them hold. Empty where they
        say nothing.
    """

    name: str
    text: str
    licences: tuple[str, ...] = ()

    @functools.cached_property
    def words(self) -> UInt64[np.ndarray, " words"]:
        """Its words as numbers, see `ngrams.words`: what repeats and benchmarks' answers are found by."""
        return words(self.text)


def read_corpus(source: str, suffixes: tuple[str, ...], max_bytes: int) -> Iterator[Document | LeftOut]:
    """The documents of a corpus in a fixed order, and what is none: binary files, and files above `max_bytes`, which are not even read.

    - `files:FOLDER`: the files below it whose names end in one of `suffixes`, in an order without meaning, so that the first so many are
      a sample of all. Their licence is an SPDX line near the top. Symbolic links are not followed.
    - `text:FILE`: JSON lines (.gz too) or Parquet with a text field: content, text, code or CodeSearchNet's names.
    - `hub:REPOSITORY#SPLIT`, or `hub:REPOSITORY/CONFIGURATION#SPLIT`: the same from the Hugging Face hub.
    - `tfds:FOLDER#SPLIT`: a data set that TensorFlow Datasets has written (array_record), by anyone.
    - any problem source: one document a reference solution.

    Raises:
      UserError: an unknown corpus, nothing there, a row without a text field, no document at all.
    """
    place, _, split = source.partition("#")
    name, _, path = place.partition(":")
    match name:
        case "files":
            rows = _read_files(source, path, split, suffixes, max_bytes)
        case "text":
            if not path or split:
                raise UserError(f"corpus: expected text:FILE, got {shown(source)}; name a file alone")
            rows = (_from_row(place, row) for place, row in read_rows(path))
        case "hub":
            rows = (_from_row(place, row) for place, row in _hub(source, path, split))
        case "tfds":
            rows = (_from_row(place, row) for place, row in _tfds(source, path, split))
        case _ if name in NAMES:
            rows = _solutions(source)
        case _:
            raise UserError(f"corpus: expected {CORPORA}, got {shown(source)}; choose one")
    found = False
    for row in rows:
        found = True
        yield row
    if not found:
        what = f"files that end in {' or '.join(suffixes)}" if name == "files" else "one document or more"
        raise UserError(f"{source}: corpus: expected {what}, got none; check the name")


def share_of(name: str) -> float:
    """A number in [0, 1) that depends on the name alone: what is chosen by it stays so when others come and go."""
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=7).digest()) / 2**56


def unfit(document: Document, rules: CorpusFilter) -> str | None:
    """Why a document is not pretrained on, or None."""
    text = document.text
    if not text.strip():
        return "empty"
    if "\0" in text:
        return "binary"
    if len(text) > rules.max_bytes or len(text.encode("utf-8", "replace")) > rules.max_bytes:
        return f"larger than {rules.max_bytes} bytes"
    if max(map(len, text.split("\n"))) > rules.max_line:
        return f"a line longer than {rules.max_line} characters"
    allowed = {licence.lower() for licence in rules.licences}
    others = {licence for licence in document.licences if allowed.isdisjoint(licence.split(" or "))}
    if allowed and others:
        return f"licence {', '.join(sorted(others))}"
    return None


def licences_in(expression: str) -> tuple[str, ...]:
    """The licences of an SPDX expression, as `Document` has them; one that cannot be read is a licence of that name."""
    words = re.findall(r"[()]|[^()\s]+", expression.lower())

    def choice() -> set[frozenset[str]]:
        found = both()
        while words[:1] == ["or"]:
            del words[0]
            found = {one | other for one, other in itertools.product(found, both())}
        return found

    def both() -> set[frozenset[str]]:
        found = one()
        while words[:1] == ["and"]:
            del words[0]
            found |= one()
        return found

    def one() -> set[frozenset[str]]:
        word = words.pop(0)
        if word == "(":
            found = choice()
            if words.pop(0) != ")":
                raise IndexError
            return found
        if words[:1] == ["with"]:
            word = f"{word} with {words[1]}"
            del words[:2]
        return {frozenset([word])}

    try:
        found = choice()
    except IndexError:
        words = [expression]
    return (expression.lower(),) if words else tuple(sorted(" or ".join(sorted(clause)) for clause in found))


def _read_files(source: str, path: str, split: str, suffixes: tuple[str, ...], max_bytes: int) -> Iterator[Document | LeftOut]:
    folder = existing(path, "corpus") if path else None
    if folder is None or split or not folder.is_dir():
        raise UserError(f"corpus: expected files:FOLDER, got {shown(source)}; name a folder alone")
    names = {str(file.relative_to(folder)): file for file in folder.rglob("*")}
    for name in sorted(names, key=share_of):
        file = names[name]
        if file.is_symlink() and (name.endswith(suffixes) or file.is_dir()):
            yield LeftOut(name, "a symbolic link")
        elif name.endswith(suffixes) and file.is_file():
            yield _read_file(file, name, max_bytes)


def _read_file(file: pathlib.Path, name: str, max_bytes: int) -> Document | LeftOut:
    try:
        if file.stat().st_size > max_bytes:
            return LeftOut(name, f"larger than {max_bytes} bytes")
        data = file.read_bytes()
    except OSError as error:
        return LeftOut(name, f"unreadable ({error.strerror})")
    if b"\0" in data:
        return LeftOut(name, "binary")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return LeftOut(name, "not UTF-8")
    licences = (licence for found in _SPDX.findall(text[:_SPDX_WITHIN]) for licence in licences_in(found))
    return Document(name, unix_lines(text), tuple(licences))


def _from_row(place: str, row: dict[str, Any]) -> Document | LeftOut:
    field = next((field for field in _TEXT_FIELDS if isinstance(row.get(field), str | bytes)), None)
    if field is None and row.keys() & set(_TEXT_FIELDS):
        return LeftOut(place, "no text")
    if field is None:
        raise UserError(f"{place}: text: expected a field {', '.join(_TEXT_FIELDS)}, got {shown(sorted(row))}; rename one")
    name = next((_text(row[name]) for name in _NAME_FIELDS if row.get(name) not in (None, "")), "")
    licences: list[str] = []
    for key in _LICENCE_FIELDS:
        value = row.get(key)
        licences += map(_text, value if isinstance(value, list | tuple) else [value] if value else [])
    known = tuple(licence for found in licences for licence in licences_in(found))
    return Document(f"{place} {name}".strip(), unix_lines(_text(row[field])), known)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _hub(source: str, path: str, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
    parts = path.split("/")
    if len(parts) not in (2, 3) or not split:
        raise UserError(f"corpus: expected hub:OWNER/NAME#SPLIT or hub:OWNER/NAME/CONFIGURATION#SPLIT, got {shown(source)}; name all")
    return hub_rows(source, "/".join(parts[:2]), split=split, name=parts[2] if len(parts) == 3 else None)


def _tfds(source: str, path: str, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
    from coderl_jax.data.prepared import open_tfds

    rows = open_tfds(path, split, source)
    for number in range(len(rows)):
        yield f"{path}#{split}: row {number + 1}", rows[number]


def _solutions(source: str) -> Iterator[Document | LeftOut]:
    found = read_source(source)
    yield from found.left_out
    for problem in found.problems:
        for number, solution in enumerate(problem.solutions):
            yield Document(f"{problem.id} solution {number}", solution)


def counted(rows: Iterable[Document | LeftOut], rules: CorpusFilter, reasons: Counter[str]) -> Iterator[Document]:
    """The fit documents; why others were left out is counted into `reasons` as the documents go by."""
    for row in rows:
        why = row.why if isinstance(row, LeftOut) else unfit(row, rules)
        if why is None:
            yield row
        else:
            reasons[why] += 1
