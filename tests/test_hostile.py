"""Attacks on the judge and on the machine: no verdict can be forged, nothing outside can be read, changed or reached."""

import gzip
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

import pytest
from hostile_programs import ATTACKS

from coderl_jax import rows as forms
from coderl_jax.config import Judging
from coderl_jax.sandbox import judge

SCRIPT = pathlib.Path(__file__).with_name("hostile_programs.py")
NOBODY = {"user": 65534, "group": 65534, "extra_groups": []}
KEPT = "kept as it is\n"


def readable_by_all(path: str) -> bool:
    """Whether a plain user can read a folder: else it cannot run Python there."""
    return all(place.stat().st_mode & 0o005 == 0o005 for place in [pathlib.Path(path), *pathlib.Path(path).parents])


@pytest.fixture
def open_to_all():
    """A folder that every user may read and write."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        os.chmod(name, 0o777)
        yield pathlib.Path(name)


@pytest.mark.parametrize("way", ["as this user", "as a plain user", "without namespaces"])
def test_attacks_get_their_verdicts_and_leave_no_trace(way, open_to_all):
    if way == "as a plain user" and (os.getuid() != 0 or not all(map(readable_by_all, (sys.prefix, sys.base_prefix, str(SCRIPT.parent))))):
        pytest.skip("needs root, to become another user who can read this environment")
    file = open_to_all / "file"
    file.write_text(KEPT)
    file.chmod(0o666)
    os.utime(file, (1e9, 1e9))
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        port = tcp.getsockname()[1]
        udp.bind(("127.0.0.1", port))
        run = subprocess.run(
            [sys.executable, str(SCRIPT), str(file), str(port), *(["no-namespaces"] if way == "without namespaces" else [])],
            capture_output=True,
            text=True,
            timeout=120,
            cwd="/",
            env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[1]), "SECRET": "none of their business", "TMPDIR": "/tmp"},
            **(NOBODY if way == "as a plain user" else {}),
        )
        for listener in (tcp, udp):
            listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            tcp.accept()
        with pytest.raises(BlockingIOError):
            udp.recv(1)
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert ("pid namespace" in report["layers"]) == (way != "without namespaces")
    assert [row for row in report["verdicts"] if row[2] not in ATTACKS[row[0]][1]] == []
    assert file.read_text() == KEPT
    assert (file.stat().st_mode & 0o777, file.stat().st_mtime) == (0o666, 1e9)
    assert [path.name for path in open_to_all.iterdir()] == ["file"]
    assert not [name for name in os.listdir("/dev/shm") if "judge-test" in name]
    assert "0x53424f58" not in pathlib.Path("/proc/sysvipc/shm").read_text()


@pytest.mark.shared
def test_reference_attacks_get_their_expected_verdicts(shared):
    with gzip.open(shared / "hostile" / "hostile.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    for row in rows:
        check = row["side_effect_check"]
        for path in (check.get(name) for name in ("file_unchanged", "mode_unchanged")):
            if path:
                pathlib.Path(path).write_text(KEPT)
    start = time.time()
    programs, tests = [row["program"] for row in rows], [forms.tests_from_json(row["name"], row["tests"]) for row in rows]
    verdicts = judge(programs, tests, Judging(time_limit=1.0, comparison="apps"))
    wrong = [
        (row["name"], row["expected"], verdict)
        for row, verdict in zip(rows, verdicts, strict=True)
        if verdict.outcome.label not in (row["expected"], *row["also_ok"]) or (row["is_timeout"] and verdict.error_type != "TimeLimit")
    ]
    assert wrong == []
    for row in rows:
        check = row["side_effect_check"]
        for path in check.get("paths_absent", []):
            there = pathlib.Path(path)
            assert not there.is_absolute() or not there.exists() or there.stat().st_mtime < start, (row["name"], path)
        for path in (check.get(name) for name in ("file_unchanged", "mode_unchanged")):
            if path:
                assert pathlib.Path(path).read_text() == KEPT, row["name"]
                assert pathlib.Path(path).stat().st_mode & 0o200, row["name"]
