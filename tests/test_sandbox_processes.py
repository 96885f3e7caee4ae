"""The judge's processes: lost workers are replaced, nothing is left behind, and waiting for a processor costs a program no time."""

import math
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from coderl_jax.config import Judging
from coderl_jax.files import UserError
from coderl_jax.sandbox import Judge, pool
from coderl_jax.sandbox.pool import Process
from coderl_jax.sandbox.trial import Clock
from coderl_jax.types import Outcome, StdinTests

DOUBLE = StdinTests(inputs=("3\n", "10\n", "0\n"), outputs=("6\n", "20\n", "0\n"))
ENDLESS = "import time\ntime.sleep(60)\n"


def descendants(parent: int) -> set[int]:
    """Process ids of all children of a process, and theirs."""
    children: dict[int, list[int]] = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[0] != "Z":
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found: set[int] = set()
    waiting = [parent]
    while waiting:
        mine = children.get(waiting.pop(), [])
        found.update(mine)
        waiting += mine
    return found


def eventually(claim, seconds: float = 20.0) -> bool:
    """Whether the claim comes true while we wait."""
    end = time.monotonic() + seconds
    while not claim() and time.monotonic() < end:
        time.sleep(0.02)
    return claim()


def workers() -> list[int]:
    """The workers that this process has started."""
    mine = pathlib.Path(f"/proc/{os.getpid()}/task").glob("*/children")
    children = [int(child) for task in mine for child in task.read_text().split()]
    return [child for child in children if b"sandbox.zygote" in pathlib.Path(f"/proc/{child}/cmdline").read_bytes()]


def test_a_worker_killed_from_outside_is_replaced_and_its_program_judged_again():
    program = "import time\ntime.sleep(0.5)\nprint(2 * int(input()))"
    with Judge(Judging(workers=1, time_limit=5.0)) as it:
        verdict = it.submit(program, DOUBLE)
        time.sleep(0.2)
        for process in workers():
            os.kill(process, signal.SIGKILL)
        assert verdict.result(timeout=30).outcome is Outcome.PASSED


def test_a_program_that_twice_loses_its_worker_is_a_runtime_error():
    with Judge(Judging(workers=1, time_limit=30.0)) as it:
        verdict = it.submit(ENDLESS, DOUBLE)
        while not verdict.done():
            for process in workers():
                os.kill(process, signal.SIGKILL)
            time.sleep(0.1)
        lost = verdict.result()
        assert (lost.outcome, lost.error_type, lost.tests_total) == (Outcome.RUNTIME_ERROR, "WorkerLost", 3)
        assert it.judge(["print(2 * int(input()))"], [DOUBLE])[0].outcome is Outcome.PASSED


def test_a_worker_that_cannot_start_is_the_users_to_know(monkeypatch):
    monkeypatch.setattr(pool, "_BOOT", "import os; os._exit(3)")
    with pytest.raises(UserError, match="expected a worker to start, got one that died while starting"), Judge():
        pass


def test_no_process_and_no_file_is_left_after_close(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = descendants(os.getpid())
    with Judge(Judging(time_limit=30.0)) as it:
        pending = [it.submit(ENDLESS, DOUBLE) for _ in range(4)]
        assert eventually(lambda: len(descendants(os.getpid()) - before) >= 4)
    assert all(future.done() for future in pending)
    assert eventually(lambda: not descendants(os.getpid()) - before)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_nothing_outlives_a_parent_that_is_killed_or_interrupted(how):
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background jobs ignore it
        "from coderl_jax.config import Judging; from coderl_jax.sandbox import judge; from coderl_jax.types import StdinTests\n"
        "judge(['while True: pass'] * 3, [StdinTests(inputs=('',), outputs=(str(n),)) for n in range(3)], Judging(time_limit=60))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    assert eventually(lambda: len(descendants(parent.pid)) >= 4)
    time.sleep(0.1)
    family = descendants(parent.pid)
    parent.send_signal(how)
    parent.wait(timeout=20)
    assert eventually(lambda: not [p for p in family if running(p)])


def running(process: int) -> bool:
    """Whether a process is there and not a zombie."""
    try:
        return pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Waiting(Process):
    """A process that has waited so long in the run queue."""

    def __init__(self, seconds: float):
        self.seconds = seconds

    def waited(self) -> float:
        return self.seconds


def test_time_spent_waiting_for_a_processor_does_not_count(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    clock = Clock([Waiting(0.0)], 4.0)
    now[0] = 103.0
    assert clock.remaining() == pytest.approx(1.0)
    clock.processes[0].seconds = 1.5
    now[0] = 105.0
    assert clock.remaining() == pytest.approx(0.5)  # 5 s on the wall, 1.5 of them waiting
    clock.restart(4.0)
    now[0] = 109.5
    assert clock.remaining() == pytest.approx(-0.5)  # the wait before the restart is not counted twice
    clock.processes[0].seconds = 1000.0
    now[0] = 105.0 + 41.0
    assert clock.remaining() < 0  # ten limits on the wall end it whatever it waited


def test_a_program_that_ends_late_but_fairly_is_not_failed_in_the_moment_of_its_end(monkeypatch):
    """Its process is gone, the news of its end not yet heard: how long it waited can no longer be read."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    clock = Clock([Waiting(math.inf)], 4.0)
    now[0] = 5.0
    assert clock.remaining() > 0
    clock.restart(4.0)  # what was lost is not taken for a wait before the next test
    clock.processes[0].seconds = 1.0
    now[0] = 9.5
    assert clock.remaining() == pytest.approx(0.5)


SPIN = "import hashlib, os, threading, time\ndef work(): hashlib.sha256(bytes(1 << 20))\n"
STEADY = SPIN + "def spin():\n    while True: work()\nfor _ in range(16): threading.Thread(target=spin, daemon=True).start()\n"
CHURNING = SPIN + (
    "def spin(until):\n    while time.monotonic() < until: work()\n"
    "    threading.Thread(target=spin, args=(time.monotonic() + (0.05 if until < 1e9 else 1e9),), daemon=True).start()\n"
    "for _ in range(12): threading.Thread(target=spin, args=(0,), daemon=True).start()\n"
    "threading.Thread(target=spin, args=(1e10,), daemon=True).start()\n"
)


@pytest.mark.parametrize("threads", [STEADY, CHURNING])
def test_threads_of_its_own_are_no_busy_machine(threads):
    """A sleeping main thread would gain time by them."""
    with Judge(Judging(time_limit=1.0)) as judge:
        program = threads + "time.sleep(4)\nprint(6, flush=True)\nos._exit(0)"
        assert judge.judge([program], [StdinTests(inputs=("",), outputs=("6",))])[0].error_type == "TimeLimit"


def test_a_process_that_is_gone_has_waited_for_ever():
    child = subprocess.Popen(["sleep", "60"])
    process = Process(child.pid, os.pidfd_open(child.pid), os.open(os.devnull, os.O_RDONLY))
    assert process.waited() < 60
    child.kill()
    child.wait()
    assert process.waited() == math.inf
    process.close()
