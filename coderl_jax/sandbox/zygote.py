"""A worker: a process that has loaded what programs need, confined itself, and forks once for each run.

It is started as a fresh interpreter, so that nothing of ours (weights, tests, expected outputs) is in its memory, and never
looks at a program: the descriptor from which the child reads its job only passes through. It talks with our process over a
socket of packets, and ends with all its children when that closes.

    to it:    b"run" + descriptors (job, channel, then standard input and output, or the line between two programs)
    from it:  first a JSON object (which layers hold), then b"S" + process id + its pidfd, b"X" + process id + wait status
"""

import contextlib
import functools
import gc
import json
import marshal
import os
import resource
import select
import signal
import socket
import struct
from typing import Any, NoReturn

from coderl_jax.sandbox import asserts, child, confine, preload

_WORK = {"stdin": child.run_script, "call": child.run_calls, "serve": asserts.serve, "tests": asserts.run_tests}
PACKET = 1 << 16
STACK = 64 << 20  # bytes; with the usual 8 MiB, deep recursion that is honest would crash


def main(descriptor: int) -> NoReturn:
    """Serve the process at the other end of the socket `descriptor`."""
    control = socket.socket(fileno=descriptor)
    orders = json.loads(control.recv(PACKET))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for our process, which then closes the socket
    try:
        worker = Worker(control, orders)
    except Exception as error:
        control.send(json.dumps({"failed": f"{type(error).__name__}: {error}"}).encode())
        os._exit(1)
    control.send(json.dumps({"layers": worker.layers, "missing": worker.missing}).encode())
    worker.serve()


class Worker:
    """The fork server.

    Attributes:
      layers: names of the layers that hold.
      missing: why others do not.
    """

    def __init__(self, control: socket.socket, orders: dict[str, Any]):
        self.layers = confine.enter_namespaces()
        self.missing = {} if self.layers else {"namespaces": "the kernel does not let this user make them"}
        self._control = control
        self._children: dict[int, int] = {}  # pidfd -> process id
        preload.load(orders["full"], orders["root"])
        os.chdir(orders["folder"])
        with open("/proc/self/statm") as file:
            self._memory = int(file.read().split()[0]) * os.sysconf("SC_PAGESIZE")
        confine.drop_capabilities()
        why_not = confine.restrict_files()
        self._note("landlock", why_not)
        self._child_filter = None
        if isinstance(orders["filters"], str):
            self._note("seccomp", orders["filters"])
        else:
            worker_filter, child_filter = (confine.prepare_filter(bytes.fromhex(text)) for text in orders["filters"])
            try:
                confine.no_new_privileges()
                confine.load_filter(worker_filter)
                self._child_filter = child_filter
                self._note("seccomp", None)
            except OSError as error:
                self._note("seccomp", f"the kernel refuses filters ({error.strerror})")
        child.set_limits({resource.RLIMIT_CORE: 0, resource.RLIMIT_NOFILE: 256, resource.RLIMIT_STACK: STACK})
        self._note("rlimits", None)
        gc.collect()
        gc.freeze()  # what is loaded is never collected: a child's collector does not touch, and so not copy, these pages

    def _note(self, layer: str, why_not: str | None) -> None:
        if why_not is None:
            self.layers.append(layer)
        else:
            self.missing[layer] = why_not

    def serve(self) -> NoReturn:
        """Fork when asked, tell when a child has ended, end when the socket closes."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == self._control.fileno():
                    self._take_order(poll)
                else:
                    poll.unregister(descriptor)
                    self._reap(descriptor)

    def _take_order(self, poll: Any) -> None:
        order, descriptors, _, _ = socket.recv_fds(self._control, 16, 8)
        if not order:
            for pidfd in self._children:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os._exit(0)
        process = confine.fork()
        if process == 0:
            self._become_child(descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        pidfd = os.pidfd_open(process)
        self._children[pidfd] = process
        poll.register(pidfd, select.POLLIN)
        socket.send_fds(self._control, [struct.pack("<ci", b"S", process)], [pidfd])

    def _reap(self, pidfd: int) -> None:
        process = self._children.pop(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(process, 0)
        if self._child_filter is None:  # nothing kept the program from forking
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process, signal.SIGKILL)
        self._control.send(struct.pack("<cii", b"X", process, status))

    def _become_child(self, descriptors: list[int]) -> NoReturn:
        if "pid namespace" not in self.layers:  # there, all end with this process anyway
            confine.die_with_parent()
        if self._child_filter is None:
            os.setsid()
        os.close(self._control.fileno())
        for pidfd in self._children:
            os.close(pidfd)
        order, channel, *others = descriptors
        data = memoryview(os.pread(order, os.fstat(order).st_size, 0))
        end = child.HEADER + int.from_bytes(data[: child.HEADER], "little")
        job = marshal.loads(data[child.HEADER : end])
        if job["kind"] == "stdin":
            job["file"], job["compiled"] = order, data[end:]
            for target, descriptor in enumerate(others):
                os.dup2(descriptor, target)
                os.close(descriptor)
        else:
            os.close(order)
        nothing = os.open(os.devnull, os.O_RDWR)  # flags set on the worker's would stay for the next program
        for target in range(2 if job["kind"] == "stdin" else 0, 3):
            os.dup2(nothing, target)
        os.close(nothing)
        reports = child.Channel(channel)
        work = functools.partial(_WORK[job["kind"]], job, reports, self._forbid)
        if job["kind"] in ("serve", "tests"):
            work = functools.partial(work, others[0])
        memory, seconds, output = job["limits"]
        child.set_limits({
            resource.RLIMIT_AS: self._memory + memory,
            resource.RLIMIT_CPU: seconds,
            resource.RLIMIT_FSIZE: output,
        })  # fmt: skip
        child.run(work, reports)

    def _forbid(self) -> None:
        if self._child_filter is not None:
            confine.load_filter(self._child_filter)
