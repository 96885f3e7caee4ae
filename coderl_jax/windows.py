"""Rows of an output, made window by window by one host or several: each finished window is a file, and all are joined in order at the end.

So an interrupted command goes on with the windows that are missing, on whatever number of hosts.
"""

import contextlib
import gzip
import json
import shutil
from collections.abc import Iterable, Iterator
from typing import Any

from coderl_jax import hosts
from coderl_jax.files import Output, remove, replacing, to_json_line, windows_folder, write_json


class Windows:
    """The windows of one output.

    Attributes:
      left: (number, first item, one past the last) of those that this host has still to make.
      done: items of those that are there already.
    """

    def __init__(self, output: Output, size: int, total: int):
        """Find out what is left.

        Args:
          output: a file under way.
          size: items (problems, programs) a window.
          total: items.
        """
        self._output, self._folder = output, windows_folder(output.partial)
        self._count = -(-total // size)
        there = hosts.on_first(self._begun)
        every = [(number, number * size, min((number + 1) * size, total)) for number in range(self._count)]
        self.left = hosts.share([window for window in every if window[0] not in there])
        self.done = sum(end - start for number, start, end in every if number in there)

    def _begun(self) -> set[int]:
        """The numbers of the finished windows."""
        self._folder.mkdir(exist_ok=True)
        return {int(path.stem) for path in self._folder.glob("*.jsonl")}

    def write(self, number: int, rows: Iterable[dict[str, Any]], note: Any = None) -> None:
        """Write a window's rows, which makes it finished, and a JSON value that belongs to it."""
        if note is not None:
            write_json(self._folder / f"{number}.json", note)
        with replacing(self._folder / f"{number}.jsonl") as temporary, temporary.open("w", encoding="utf-8") as file:
            file.writelines(to_json_line(row) for row in rows)

    def notes(self) -> Iterator[Any]:
        """The JSON values of all windows in order, when every host has made its own."""
        hosts.meet()
        for number in range(self._count):
            yield json.loads((self._folder / f"{number}.json").read_text(encoding="utf-8"))

    def finish(self, extra: dict[str, Any]) -> None:
        """Join the windows when every host has made its own, and give the output its name. `extra` goes into its manifest."""
        hosts.meet()
        hosts.on_first(self._join)
        self._output.finish(extra)
        hosts.on_first(lambda: remove(self._folder))

    def _join(self) -> None:
        with replacing(self._output.partial) as temporary, temporary.open("wb") as raw, self._packed(raw) as file:
            for number in range(self._count):
                with (self._folder / f"{number}.jsonl").open("rb") as window:
                    shutil.copyfileobj(window, file)

    def _packed(self, raw: Any) -> Any:
        """The same file, or what compresses into it where the output's name says so: readers go by the name too."""
        if self._output.path.suffix != ".gz":
            return contextlib.nullcontext(raw)
        return gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0)
