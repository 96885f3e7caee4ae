"""Workers as seen from our process: start one, have it run a job, hear the reports, replace it when it dies."""

import contextlib
import functools
import json
import math
import os
import pathlib
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

from coderl_jax.files import UserError
from coderl_jax.sandbox import confine

START_LIMIT = 30.0  # seconds a worker may take to start, or to answer
REPORT_LIMIT = 8 << 20  # bytes a process may report at a time
ROOT = str(pathlib.Path(__file__).resolve().parents[2])
# The package's own __init__ would load all that our side needs; a worker is to be light.
_BOOT = """
import sys, types
sys.path.insert(0, sys.argv[1])
package = sys.modules["coderl_jax.sandbox"] = types.ModuleType("coderl_jax.sandbox")
package.__path__ = [sys.argv[1] + "/coderl_jax/sandbox"]
from coderl_jax.sandbox.zygote import main
main(int(sys.argv[2]))
"""

Report = list[Any]


class WorkerDied(Exception):
    """The worker is gone; what it was running has to be run again."""


class Process:
    """A program's process: reports that came, and the wait status once it has ended.

    Attributes:
      number: process id within the worker's namespace.
      reports: what it reported and nobody has taken yet; `["malformed"]` where it was no report, `["flood"]` where too much.
      received: bytes that it reported since the judge set this to 0.
      status: as `os.waitpid` gives it, None while the process lives.
    """

    def __init__(self, number: int, pidfd: int, channel: int):
        self.number = number
        self.reports: list[Report] = []
        self.received = 0
        self.status: int | None = None
        self._pidfd = pidfd
        self.channel = channel
        self.channel_open = True
        self._parts: list[bytes] = []  # of a line whose end has not come

    def read(self) -> bool:
        """Take in some of what is on the channel; False where there is nothing now or ever."""
        try:
            data = os.read(self.channel, 1 << 18)
        except BlockingIOError:
            return False
        self.received += len(data)
        if self.received > REPORT_LIMIT:
            self.reports.append(["flood"])
        if not data or self.received > REPORT_LIMIT:
            self.channel_open = False
            return False
        first, *others = data.split(b"\n")
        self._parts.append(first)
        for line in others:
            self.reports.append(_parse(b"".join(self._parts)))
            self._parts = [line]
        return True

    def kill(self) -> None:
        """End it, whatever it is doing."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def waited(self) -> float:
        """Seconds that its busiest thread has spent in the kernel's run queue, ready but without a processor.

        Less what other threads of its own ran: they may be what it waited for. Infinite once the process is gone: how long it waited is
        lost then, and news of its end is on the way.
        """
        times, outside, all_ran = [(0, 0)], self._number_outside(), 0.0  # on a processor, and in the queue, nanoseconds
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{outside}/task"):
                with contextlib.suppress(OSError), open(f"/proc/{outside}/task/{thread}/schedstat") as file:  # a thread may have ended
                    ran, waited, _ = map(int, file.read().split())
                    times.append((ran, waited))
        with contextlib.suppress(OSError), open(f"/proc/{outside}/stat") as file:  # of threads that have ended, too
            user, system = file.read().rpartition(")")[2].split()[11:13]
            all_ran = (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
        ran, waited = max(times)
        by_itself = max(0.0, all_ran - ran * 1e-9)
        return math.inf if self._number_outside() == -1 else max(0.0, waited * 1e-9 - by_itself)

    def _number_outside(self) -> int:
        """The process id in our own namespace, -1 once the process is gone."""
        with open(f"/proc/self/fdinfo/{self._pidfd}") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("Pid:"))

    def close(self) -> None:
        """Give back the descriptors."""
        os.close(self._pidfd)
        os.close(self.channel)


def _parse(line: bytes) -> Report:
    try:
        report = json.loads(line)
    except (ValueError, RecursionError):
        return ["malformed"]
    return report if isinstance(report, list) and report and isinstance(report[0], str) else ["malformed"]


@functools.cache
def _filters() -> confine.Filters | str:
    return confine.build_filters()


class Worker:
    """A fork server in a process of its own (zygote.py). Used by one thread at a time.

    Attributes:
      layers: names of the layers of confinement that hold.
      missing: the others, and why.
      full: whether heavy modules are loaded.
    """

    def __init__(self, unconfined: bool = False, full: bool = False):
        """Start it.

        Args:
          unconfined: go on where a layer of the required core is missing.
          full: load heavy modules as well (preload.py).

        Raises:
          UserError: a layer of the core is missing, or the platform has none.
        """
        if not sys.platform.startswith("linux") or not hasattr(os, "pidfd_open"):
            raise UserError(f"sandbox: expected Linux 5.10 or later, got {sys.platform}; judge on such a machine")
        self._folder = tempfile.TemporaryDirectory(prefix="judge-", ignore_cleanup_errors=True)
        os.chmod(self._folder.name, 0o555)
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._popen = subprocess.Popen(
                [sys.executable, "-s", "-P", "-B", "-X", "utf8", "-c", _BOOT, ROOT, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env=_environment(),
            )
        filters = _filters()
        self.full = full
        orders = {"root": ROOT, "full": full, "folder": self._folder.name, "filters": filters}
        if not isinstance(filters, str):
            orders["filters"] = [filters.worker.hex(), filters.child.hex()]
        self._ended: dict[int, int] = {}  # process id -> wait status
        self._control.settimeout(START_LIMIT)
        try:
            self._control.send(json.dumps(orders).encode())
            data = self._control.recv(1 << 16)
            if not data:
                raise WorkerDied("while starting")
            hello = json.loads(data)
            if "failed" in hello:
                raise UserError(f"sandbox: expected a worker to start, got {hello['failed']}; see python -m coderl_jax.sandbox")
            self.layers: list[str] = hello["layers"]
            self.missing: dict[str, str] = hello["missing"]
            absent = [layer for layer in confine.CORE if layer not in self.layers]
            if absent and not unconfined:
                reasons = "; ".join(f"no {layer}: {self.missing[layer]}" for layer in absent)
                raise UserError(f"sandbox: expected seccomp, landlock and rlimits, got {reasons}; mend that, or say --unconfined")
        except OSError as error:
            self.close()
            raise WorkerDied(f"while starting: {error}") from None
        except BaseException:
            self.close()
            raise

    def start(self, job: int, *others: int) -> Process:
        """Have the worker fork a process for a job.

        Args:
          job: descriptor of a file that holds the job; others: further descriptors for the child. They stay the caller's.
        """
        channel, theirs = os.pipe()
        os.set_blocking(channel, False)
        try:
            socket.send_fds(self._control, [b"run"], [job, theirs, *others])
            number, pidfd = self._hear(b"S")
        except (OSError, WorkerDied):
            os.close(channel)
            raise WorkerDied("when asked to fork") from None
        finally:
            os.close(theirs)
        return Process(number, pidfd, channel)

    def _hear(self, awaited: bytes) -> tuple[int, int]:
        """The worker's next packet of a kind: process id, and its pidfd (S) or wait status (X). Ends heard meanwhile are kept."""
        while True:
            try:
                packet, descriptors, _, _ = socket.recv_fds(self._control, 64, 1)
            except OSError:
                packet = b""
            if not packet:
                raise WorkerDied("while running")
            kind, number = struct.unpack_from("<ci", packet)
            if kind == b"X":
                (status,) = struct.unpack_from("<i", packet, 5)
                self._ended[number] = status
            if kind == awaited:
                return number, descriptors[0] if descriptors else self._ended[number]

    def listen(self, processes: list[Process], seconds: float) -> None:
        """Wait until one of the processes reports or ends, `seconds` at most."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        by_channel = {process.channel: process for process in processes if process.status is None and process.channel_open}
        for channel in by_channel:
            poll.register(channel, select.POLLIN)
        self._note_ends(processes)
        if any(process.reports for process in processes):
            return
        for descriptor, _ in poll.poll(max(0.0, seconds) * 1000 + 1):
            if descriptor == self._control.fileno():
                self._hear(b"X")
            else:
                by_channel[descriptor].read()
        self._note_ends(processes)

    def _note_ends(self, processes: list[Process]) -> None:
        for process in processes:
            if process.number in self._ended:
                while process.read():  # what it reported before it ended is on the channel
                    pass
                process.status = self._ended.pop(process.number)

    def finish(self, processes: list[Process]) -> None:
        """Kill what still runs and wait for its end."""
        try:
            self._note_ends(processes)
            for process in processes:
                if process.status is None:
                    process.kill()
            while any(process.status is None for process in processes):
                self._hear(b"X")
                self._note_ends(processes)
        finally:
            for process in processes:
                process.close()

    def interrupt(self) -> None:
        """From another thread: end the worker and all it runs; the thread that uses it meets WorkerDied."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the worker and all it runs."""
        self.interrupt()
        self._control.close()
        try:
            self._popen.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._folder.cleanup()


def _environment() -> dict[str, str]:
    """A program's environment: nothing of ours, and the same hashes and one thread for numpy everywhere."""
    fixed = {
        "PYTHONHASHSEED": "0",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "1",
        "LC_ALL": "C.UTF-8",
        "PATH": "/usr/bin:/bin",
        "HOME": "/",
        "TZ": "UTC",
    }
    return fixed | {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}


def in_memory(data: bytes = b"") -> int:
    """A descriptor of a file that exists in memory only, at its start. The caller closes it."""
    descriptor = os.memfd_create("judge", os.MFD_CLOEXEC)
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


class Pool:
    """Workers that wait for the next program. Safe for threads; a worker is lent to one at a time."""

    def __init__(self, unconfined: bool = False):
        self._unconfined = unconfined
        self._lock = threading.Lock()
        self._idle: dict[bool, list[Worker]] = {False: [], True: []}  # light ones, full ones
        self._lent: set[Worker] = set()
        self._closed = False

    @contextlib.contextmanager
    def worker(self, full: bool = False) -> Iterator[Worker]:
        """A worker to run programs with, light or full; one that died is not taken back."""
        with self._lock:
            worker = self._idle[full].pop() if self._idle[full] else None
        if worker is None:
            worker = Worker(self._unconfined, full)
        with self._lock:
            self._lent.add(worker)
            if self._closed:
                self._lent.discard(worker)
                worker.close()
                raise WorkerDied("the pool is closed")
        healthy = False
        try:
            yield worker
            healthy = True
        finally:
            with self._lock:
                self._lent.discard(worker)
                keep = healthy and not self._closed
                if keep:
                    self._idle[worker.full].append(worker)
            if not keep:
                worker.close()

    @property
    def closed(self) -> bool:
        """Whether `close` was called: a worker's death is then no news."""
        return self._closed

    def close(self) -> None:
        """End all workers, those at work too."""
        with self._lock:
            self._closed = True
            workers, self._idle = self._idle[False] + self._idle[True], {False: [], True: []}
            for worker in self._lent:
                worker.interrupt()
        for worker in workers:
            worker.close()
