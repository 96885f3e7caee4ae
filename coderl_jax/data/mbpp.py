"""MBPP, full and sanitized: a sentence, three asserts that the statement shows and that decide."""

from collections.abc import Iterator, Sequence
from typing import Any

from coderl_jax.data.tables import LeftOut, hub_rows, read_rows, unix_lines
from coderl_jax.files import UserError, shown
from coderl_jax.types import AssertTests, Problem

# The data set's own splits, by task_id: first and last.
SPLITS = {"prompt": (1, 10), "test": (11, 510), "validation": (511, 600), "train": (601, 974)}
REPOSITORY = "google-research-datasets/mbpp"


def load_mbpp(source: str, path: str, split: str) -> Iterator[Problem | LeftOut]:
    """The problems of `mbpp:FILE#SPLIT`, either form; without FILE from the hub, `sanitized` in its place for that form.

    The statement shows the asserts below "Your code should satisfy these tests:", as the paper's prompt does (CodeRL section 4.4).
    So they are the example tests and the hidden tests at once, and n@k says how often what passes was drawn.

    Raises:
      UserError: another split, no such file.
    """
    if split not in SPLITS:
        raise UserError(f"problem source: expected mbpp[:FILE]# and one of {', '.join(SPLITS)}, got {shown(source)}; name the split")
    from_hub = path in ("", "full", "sanitized")
    rows = hub_rows(source, REPOSITORY, split=split, name=path or "full") if from_hub else read_rows(path)
    first, last = SPLITS[split]
    for place, row in rows:
        number = row.get("task_id")
        if type(number) is not int:
            yield LeftOut(place, "no task_id")
        elif first <= number <= last:
            try:
                yield _problem(number, row)
            except ValueError as error:
                yield LeftOut(str(number), str(error))


def _problem(number: int, row: dict[str, Any]) -> Problem:
    text, code, asserts = row.get("text", row.get("prompt")), row.get("code"), row.get("test_list")
    if not isinstance(text, str) or not text.strip():
        raise ValueError("no text")
    if not isinstance(asserts, list | None):
        raise ValueError("test_list is no list")
    asserts = tuple(unix_lines(line) for line in asserts or ())
    setup = row.get("test_setup_code") or "\n".join(row.get("test_imports") or ())
    tests = AssertTests(setup=unix_lines(setup), asserts=asserts) if asserts else None
    return Problem(
        id=str(number),
        statement=with_tests(unix_lines(text), asserts),
        example_tests=tests,
        hidden_tests=tests,
        solutions=(unix_lines(code),) if code else (),
    )


def with_tests(text: str, asserts: Sequence[str]) -> str:
    """The statement that shows the asserts, if there are any, below the text."""
    return "\n".join((text, "Your code should satisfy these tests:", *asserts)) if asserts else text
