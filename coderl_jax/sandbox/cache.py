"""Verdicts kept between runs: the same program under the same tests and settings is not run again.

One SQLite file in a folder; several processes can read and write it at a time. The key is a hash of everything that decides the
verdict: program, tests, the settings that matter, and the versions of Python and of this judge.
"""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
import platform
import sqlite3
import threading
from collections.abc import Iterator

import numpy as np

from coderl_jax.config import Judging
from coderl_jax.files import UserError
from coderl_jax.types import Outcome, Tests, Verdict

VERSION = 1  # raise it when the same input can get another verdict
_WAIT = 60.0  # seconds for another writer
_NO_EFFECT = ("workers", "cache", "unconfined")


class VerdictCache:
    """A folder of verdicts. Safe for threads and for several processes."""

    def __init__(self, folder: str, settings: Judging):
        """Open it, or make it.

        Raises:
          UserError: the folder cannot be written, or holds something else.
        """
        self._place = pathlib.Path(folder) / "verdicts.sqlite"
        self._lock = threading.Lock()
        decisive = {name: value for name, value in dataclasses.asdict(settings).items() if name not in _NO_EFFECT}
        versions = [VERSION, platform.python_version(), np.__version__]
        self._prefix = json.dumps([versions, decisive], sort_keys=True).encode()
        self._tests: dict[int, tuple[Tests, bytes]] = {}  # hashes; the tests are kept so that their ids stay theirs
        with self._errors():
            self._place.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self._place, timeout=_WAIT, isolation_level=None, check_same_thread=False)
            self._database.execute("pragma synchronous = off")  # a crash of the machine may cost the cache, not a result
            self._database.execute("create table if not exists verdicts (key blob primary key, verdict text) without rowid")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise UserError(f"{self._place}: --cache: expected a folder for verdicts, got {error}; choose another or delete it") from None

    def key(self, program: str, tests: Tests) -> bytes:
        """The hash that stands for a program under tests."""
        known = self._tests.get(id(tests))
        if known is None:
            text = json.dumps([tests.kind, dataclasses.asdict(tests)], sort_keys=True)
            known = self._tests[id(tests)] = (tests, hashlib.sha256(text.encode()).digest())
        return hashlib.sha256(self._prefix + known[1] + program.encode("utf-8", "surrogatepass")).digest()

    def get(self, key: bytes) -> Verdict | None:
        """The verdict kept under a key."""
        with self._errors(), self._lock:
            row = self._database.execute("select verdict from verdicts where key = ?", (key,)).fetchone()
        if row is None:
            return None
        fields = json.loads(row[0])
        lines = fields["executed_lines"]
        return Verdict(**{**fields, "outcome": Outcome(fields["outcome"]), "executed_lines": None if lines is None else tuple(lines)})

    def put(self, key: bytes, verdict: Verdict) -> None:
        """Keep a verdict."""
        text = json.dumps(dataclasses.asdict(verdict))
        with self._errors(), self._lock:
            self._database.execute("insert or replace into verdicts values (?, ?)", (key, text))

    def close(self) -> None:
        """Close the file."""
        self._database.close()
