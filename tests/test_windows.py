"""Outputs made window by window."""

import dataclasses

import pytest

from coderl_jax.files import UserError, open_output, read_json, read_jsonl
from coderl_jax.windows import Windows


@dataclasses.dataclass
class Settings:
    out: str
    steps: int = 3


def rows(start, end):
    return [{"item": i} for i in range(start, end)]


def test_windows_are_joined_in_order_whatever_the_order_they_were_made_in(tmp_path):
    out = str(tmp_path / "rows.jsonl")
    windows = Windows(open_output(out, Settings(out), {}, folder=False), size=4, total=10)
    assert windows.left == [(0, 0, 4), (1, 4, 8), (2, 8, 10)]
    for number, start, end in reversed(windows.left):
        windows.write(number, rows(start, end), note={"from": start})
    assert [note["from"] for note in windows.notes()] == [0, 4, 8]
    windows.finish({"rows": 10})
    assert [row["item"] for _, row in read_jsonl(out)] == list(range(10))
    assert read_json(out + ".manifest.json")["rows"] == 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.jsonl", "rows.jsonl.manifest.json"]


def test_a_name_that_says_gzip_is_gzip(tmp_path):
    packed = []
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        out = str(tmp_path / name)
        windows = Windows(open_output(out, Settings(out), {}, folder=False), size=4, total=6)
        for number, start, end in windows.left:
            windows.write(number, rows(start, end))
        windows.finish({})
        packed.append((tmp_path / name).read_bytes())
    assert [row["item"] for _, row in read_jsonl(out)] == list(range(6))
    assert packed[0] == packed[1]


def test_an_interrupted_output_lacks_only_the_windows_that_were_not_finished(tmp_path):
    out = str(tmp_path / "rows.jsonl")
    first = Windows(open_output(out, Settings(out), {}, folder=False), size=2, total=6)
    first.write(1, rows(2, 4))
    begun = open_output(out, Settings(out), {}, folder=False)
    again = Windows(begun, size=2, total=6)
    assert again.done == 2
    assert [number for number, _, _ in again.left] == [0, 2]
    with pytest.raises(UserError, match="--steps: expected 3 as when it was made, got 4"):
        open_output(out, Settings(out, steps=4), {}, folder=False)
    begun.partial.unlink()  # thrown away by hand: its windows go too
    assert Windows(open_output(out, Settings(out, steps=4), {}, folder=False), size=2, total=6).done == 0
