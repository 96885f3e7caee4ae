"""Several hosts, one program: which one we are, waiting for the others, telling them, and noticing that one has died.

The same command runs on every host, as one process a host (or a GPU). Without `start` there is one host, and everything here is done
at once. JAX is imported only where there are several.
"""

import contextlib
import ctypes
import json
import os
import pickle
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

BEAT = 1.0
"""Seconds between two signs of life."""
SILENCE = 15.0
"""Seconds without one after which a host counts as dead. A host that computes still gives signs: a thread of its own does."""
GRACE = 10.0
"""Seconds from another host's error to our end. Most errors are met by every host: each then says its own."""
PATIENCE = 24 * 3600 * 1000
"""Milliseconds that a host waits for a slower one. The watch, not this, ends a wait for a dead one."""


class _Job:
    """What this process knows of the others: `client` reaches the store that all share, None where there is one host; `parent` is a file
    descriptor, see `_guarded`."""

    client: Any = None
    index: int = 0
    count: int = 1
    names: Sequence[str] = ()
    turn: int = 0
    leaving: bool = False
    parent: int | None = None


_job = _Job()


def start() -> None:
    """Join the other hosts: those of a TPU pod, a SLURM or Open MPI job, or of JAX_COORDINATOR_ADDRESS (host:port of the first process),
    JAX_NUM_PROCESSES and JAX_PROCESS_ID. Before anything else asks JAX for devices.

    Raises:
      ValueError: the environment does not say who the others are, or what it says makes no sense.
      RuntimeError: the first host cannot listen on its port.
    """
    number, which = _told()
    print("waiting for the other hosts", file=sys.stderr, flush=True)
    _job.parent = _guarded()
    import jax

    # The library's own signs of life outlast ours, which name the dead host.
    jax.distributed.initialize(num_processes=number, process_id=which, heartbeat_timeout_seconds=60, shutdown_timeout_seconds=30)
    from jax._src import distributed  # the shared store has no public name; orbax takes the same way

    _job.client, _job.index, _job.count = distributed.global_state.client, jax.process_index(), jax.process_count()
    _job.names = _exchanged("name", socket.gethostname())
    os.write(_job.parent, f"{_job.index} {_job.names[0]}\n".encode())
    threading.Thread(target=_watch, daemon=True).start()


def _told() -> tuple[int | None, int | None]:
    """How many hosts there are and which this is, by the variables; None where a pod or a job scheduler knows."""
    names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    address, number, which = (os.environ.get(name) for name in names)
    if address is None and number is None and which is None:
        return None, None
    if not address or not re.fullmatch(r".+:\d+", address):
        raise ValueError(f"JAX_COORDINATOR_ADDRESS: expected host:port, got {address!r}")
    if not number or not number.isdecimal() or int(number) < 1:
        raise ValueError(f"JAX_NUM_PROCESSES: expected a whole number >= 1, got {number!r}")
    if not which or not which.isdecimal() or int(which) >= int(number):
        raise ValueError(f"JAX_PROCESS_ID: expected a whole number from 0 to {int(number) - 1}, got {which!r}")
    return int(number), int(which)


def unlike(ours: dict[str, Any]) -> str | None:
    """What two hosts were told differently, in words; None where all were told the same. Values must be JSON."""
    if _job.count == 1:
        return None
    first, *others = map(json.loads, _exchanged("told", json.dumps(ours)))
    for i, told in enumerate(others, 1):
        for name in first:
            if told.get(name) != first[name]:
                return f"{name}: {first[name]!r} on host 0 ({_job.names[0]}), {told.get(name)!r} on host {i} ({_job.names[i]})"
    return None


def _exchanged(what: str, ours: str) -> list[str]:
    """What every host says about this, in their order; asked once a subject, and without a computation."""
    _job.client.key_value_set(f"coderl/{what}/{_job.index}", ours)
    return [_job.client.blocking_key_value_get(f"coderl/{what}/{i}", PATIENCE) for i in range(_job.count)]


def index() -> int:
    """Which host this is, from 0."""
    return _job.index


def count() -> int:
    """How many there are."""
    return _job.count


def is_first() -> bool:
    """Whether this host writes what all of them have in common."""
    return _job.index == 0


def meet() -> None:
    """Wait until every host is here. All must call the functions of this module in the same order."""
    if _job.count > 1:
        _job.client.wait_at_barrier(f"coderl/meet/{_turn()}", PATIENCE)


def on_first(call: Callable[[], T]) -> T:
    """What `call` returns on the first host, on every host; where it raises there, it raises everywhere."""
    if _job.count == 1:
        return call()
    key = f"coderl/first/{_turn()}"
    if not is_first():
        result, error = pickle.loads(_job.client.blocking_key_value_get_bytes(key, PATIENCE))
    else:
        result, error = None, None
        try:
            result = call()
        except Exception as raised:  # noqa: BLE001  it is raised again below, here and elsewhere
            error = raised
            error.on_every_host = True
        _job.client.key_value_set_bytes(key, pickle.dumps((result, error)))
    if error is not None:
        raise error
    return result


def share(items: Sequence[T]) -> list[T]:
    """This host's part of `items`: every so-manieth."""
    return list(items[_job.index :: _job.count])


def together(own: Sequence[T], total: int) -> list[T]:
    """Put together what every host made of its `share`, in the order of all items; everybody gets everything.

    Args:
      own: one for each item of the share; the hosts trust each other, so anything that pickles.
      total: items of all hosts.
    """
    if _job.count == 1:
        return list(own)
    import numpy as np
    from jax.experimental import multihost_utils

    packed = np.frombuffer(pickle.dumps(list(own)), np.uint8)
    sizes = multihost_utils.process_allgather(np.array([len(packed)], np.int32)).reshape(-1)
    room = 1 << int(sizes.max() - 1).bit_length()  # few sizes: each is compiled once
    everything = multihost_utils.process_allgather(np.pad(packed, (0, room - len(packed))))
    parts = [pickle.loads(row[:size].tobytes()) for row, size in zip(everything, sizes, strict=True)]
    return [parts[i % _job.count][i // _job.count] for i in range(total)]


@contextlib.contextmanager
def side_by_side() -> Iterator[None]:
    """The block of a command: hosts leave it together, and where one fails the others are told instead of left waiting.

    An error that all hosts have alike (`on_every_host`) is none of that. One that JAX raises may be the death of another host in the
    middle of a computation: there the watch has time to say which one that was.
    """
    try:
        yield
        meet()
        _say("0")
    except BaseException as error:
        if _job.count > 1 and getattr(error, "on_every_host", False):
            meet()
        elif _job.count > 1:
            if type(error).__module__.startswith("jax"):
                time.sleep(2 * SILENCE)
            _job.leaving = True
            with contextlib.suppress(Exception):
                _job.client.key_value_set(f"coderl/failed/{_job.index}", f"{type(error).__name__}: {error}", allow_overwrite=True)
            error.alone = True
        raise
    finally:
        _job.leaving = True


@contextlib.contextmanager
def stopping_itself() -> Iterator[None]:
    """Within the block this process ends by itself when it is told to stop (SIGTERM); elsewhere `_guarded` ends it at once."""
    _say("saves")
    try:
        yield
    finally:
        _say("ends")


def leave(error: BaseException, status: int) -> None:
    """End the process with this status because of an error that `side_by_side` let through."""
    _say(str(status))
    if not getattr(error, "alone", False):
        sys.exit(status)
    sys.stderr.flush()
    until = time.monotonic() + GRACE + 3 * BEAT  # the others read the reason while the store lives, unless they have failed as well
    while is_first() and time.monotonic() < until and len(_job.client.key_value_dir_get("coderl/failed/")) < _job.count:
        time.sleep(BEAT / 4)
    os._exit(status)  # JAX would wait for the others


def _turn() -> int:
    _job.turn += 1
    return _job.turn


def _watch() -> None:
    """Give signs of life; the first host looks at everybody's, the others at its own and at what it says."""
    seen: dict[int, tuple[str, float]] = {}
    beat = 0
    while not _job.leaving:
        beat += 1
        try:
            _job.client.key_value_set(f"coderl/alive/{_job.index}", str(beat), allow_overwrite=True)
            for key, reason in _job.client.key_value_dir_get("coderl/dead/"):
                _end(int(key.rsplit("/", 1)[1]), reason)
            for key, reason in _job.client.key_value_dir_get("coderl/failed/"):
                time.sleep(GRACE)
                _end(int(key.rsplit("/", 1)[1]), reason)
            for key, value in _job.client.key_value_dir_get("coderl/alive/") if is_first() else ():
                host = int(key.rsplit("/", 1)[1])
                if seen.get(host, ("", 0.0))[0] != value:
                    seen[host] = value, time.monotonic()
                elif time.monotonic() - seen[host][1] > SILENCE:
                    reason = f"no sign of life for {SILENCE:.0f} s"
                    _job.client.key_value_set(f"coderl/dead/{host}", reason)
                    time.sleep(3 * BEAT)  # for the others to read it
                    _end(host, reason)
        except Exception as error:  # noqa: BLE001  the store lives on the first host
            if not _job.leaving and not is_first():
                _end(0, f"its store cannot be reached ({str(error).splitlines()[0][:80]})")
        time.sleep(BEAT)


def _end(host: int, reason: str) -> None:
    """Leave at once: the others of a computation cannot be waited for."""
    if host == _job.index or _job.leaving:
        return
    print(f"host {host} ({_job.names[host]}) failed: {reason}; run the same command again to go on", file=sys.stderr, flush=True)
    os._exit(75)


def _say(word: str) -> None:
    """Tell the parent."""
    if _job.parent is not None:
        os.write(_job.parent, f"{word}\n".encode())


def _guarded() -> int:
    """Go on in a child process, whose parent says what JAX does not: where the first host dies, JAX aborts the others without its name.

    It may also abort one that has done its work and only leaves later than the first. And it takes SIGTERM, so that a child which does not
    ask whether it came (`stopping_itself`) is ended here; what it has made so far is whole, window by window.

    Returns:
      A file descriptor to which the child writes its index and the first host's name, whether it stops by itself, in the end its status;
      a line each.
    """
    told, telling = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(told)
        death_signal = 1  # PR_SET_PDEATHSIG: whoever kills the parent means the child
        ctypes.CDLL(None).prctl(death_signal, signal.SIGKILL)
        return telling
    os.close(telling)
    os.set_blocking(told, False)
    words: list[str] = []

    def listen() -> None:
        with contextlib.suppress(BlockingIOError):
            words.extend(os.read(told, 1 << 16).decode().splitlines())

    def stop(number: int, _: Any) -> None:
        listen()
        if [word for word in words if word in ("saves", "ends")][-1:] == ["saves"]:
            os.kill(child, number)
            return
        os.kill(child, signal.SIGKILL)
        print("\nstopped; run the same command again to go on", file=sys.stderr, flush=True)  # below a progress bar
        os._exit(75)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to both
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    listen()
    meant = [int(word) for word in words if word.isdecimal()]
    if status == -signal.SIGABRT and not words:
        rule = "each to start with an index of its own and to reach the first one's address within 300 s"
        print(f"hosts: expected {rule}, got an end by JAX (why is said above); start the command on all", file=sys.stderr, flush=True)
        os._exit(2)
    if status == -signal.SIGABRT and not meant:
        index, name = words[0].split(" ", 1)
        said = "it cannot be reached" if index != "0" else "JAX ended it, as it does when another host fails"
        print(f"host 0 ({name}) failed: {said}; run the same command again to go on", file=sys.stderr, flush=True)
        os._exit(75)
    if status == -signal.SIGABRT:
        os._exit(meant[0])
    os._exit(status if status >= 0 else 128 - status)
