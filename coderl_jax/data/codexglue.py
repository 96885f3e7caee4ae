"""CodeXGLUE's generation tasks: pairs of texts without tests. The statement alone is the prompt, the solution is the reference."""

import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from coderl_jax.data.tables import LeftOut, Row, hub_rows, read_rows
from coderl_jax.files import UserError, existing, shown
from coderl_jax.types import Problem, TextTask

SPLITS = {"train": ("train",), "validation": ("validation", "valid", "dev"), "test": ("test",)}


class Task(NamedTuple):
    """Where a task's pairs are.

    Attributes:
      kind: decides the metrics.
      repository: on the hub.
      name: of its configuration there.
      source: the field that is read, and the suffix of its file where the two sides are files of lines.
      target: the same of what is written.
    """

    kind: TextTask
    repository: str
    name: str | None
    source: str
    target: str


_TRANSLATION, _REFINEMENT = "google/code_x_glue_cc_code_to_code_trans", "google/code_x_glue_cc_code_refinement"
_TO_TEXT = "google/code_x_glue_ct_code_to_text"
TASKS = {
    "concode": Task("text_to_code", "google/code_x_glue_tc_text_to_code", None, "nl", "code"),
    "java-cs": Task("code_to_code_c_sharp", _TRANSLATION, None, "java", "cs"),
    "cs-java": Task("code_to_code_java", _TRANSLATION, None, "cs", "java"),
    "refine-small": Task("refinement", _REFINEMENT, "small", "buggy", "fixed"),
    "refine-medium": Task("refinement", _REFINEMENT, "medium", "buggy", "fixed"),
    **{
        f"summarize-{language}": Task("code_to_text", _TO_TEXT, language, "code_tokens", "docstring_tokens")
        for language in ("go", "java", "javascript", "php", "python", "ruby")
    },
}


def load_codexglue(source: str, path: str, split: str) -> Iterator[Problem | LeftOut]:
    """The pairs of `codexglue#TASK.SPLIT` from the hub, of a folder `codexglue:FOLDER#TASK.SPLIT`, or of a file `codexglue:FILE#TASK`.

    A folder holds, for a split, one file of JSON lines or Parquet, or two files of lines as CodeXGLUE publishes them, which end in
    the names of the two sides (`.java` and `.cs`, `.buggy` and `.fixed`).

    Raises:
      UserError: an unknown task or split, no such file, two files of unlike length.
    """
    name, _, part = split.partition(".")
    is_file = bool(path) and not pathlib.Path(path).is_dir()
    if name not in TASKS or (is_file and part) or (not is_file and part not in SPLITS):
        expected = "codexglue[:FOLDER]#TASK.SPLIT or codexglue:FILE#TASK"
        raise UserError(
            f"problem source: expected {expected} with TASK among {', '.join(TASKS)} and SPLIT among {', '.join(SPLITS)}, "
            f"got {shown(source)}; name both"
        )
    task = TASKS[name]
    if not path:
        rows = hub_rows(source, task.repository, split=part, name=task.name)
    elif is_file:
        rows = read_rows(path)
    else:
        rows = _folder_rows(existing(path, "problem source"), task, part)
    for number, (_, row) in enumerate(rows):
        identity = str(row.get("id", number))
        texts = [_text(row.get(side)) for side in (task.source, task.target)]
        if texts[0] is None or texts[1] is None:
            yield LeftOut(identity, f"no {task.source if texts[0] is None else task.target}")
        else:
            yield Problem(id=identity, statement=texts[0], solutions=(texts[1],), task=task.kind)


def _text(value: Any) -> str | None:
    """A text, or tokens joined by spaces, on one line; None where there is none."""
    text = " ".join(map(str, value)) if isinstance(value, list) else value
    return one_line(text) or None if isinstance(text, str) else None


def one_line(text: str) -> str:
    """A text as CodeXGLUE's files hold it and its evaluators read it."""
    return " ".join(text.split("\n")).strip()


def _folder_rows(folder: pathlib.Path, task: Task, part: str) -> Iterator[Row]:
    names = [file for file in sorted(folder.iterdir()) if file.name.startswith(SPLITS[part])]
    sides = [[file for file in names if file.name.endswith(f".{side}")] for side in (task.source, task.target)]
    tables = [file for file in names if file.name.endswith((".jsonl", ".json", ".jsonl.gz", ".parquet"))]
    if all(len(files) == 1 for files in sides):
        lines = [files[0].read_text(encoding="utf-8").split("\n") for files in sides]
        counts = [len(side) - (side[-1] == "") for side in lines]
        if counts[0] != counts[1]:
            raise UserError(f"{folder}: problem source: expected two files of as many lines, got {counts[0]} and {counts[1]}; check them")
        for number in range(counts[0]):
            yield f"{sides[0][0]}:{number + 1}", {task.source: lines[0][number], task.target: lines[1][number]}
    elif tables:
        for file in tables:
            yield from read_rows(str(file))
    else:
        raise UserError(f"{folder}: problem source: expected files of the split {part}, got none; check the folder")
