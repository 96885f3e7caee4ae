"""What happens in a program's own process: limits, compilation, the run, and its report on a channel to ours.

The process is a fresh fork of a worker (zygote.py) and holds the program and the tests' inputs, never an expected output.
Reports are lines of JSON. A program can forge any of them after the first, which says whether it compiles and is sent before
it runs; that gains it nothing, for a pass needs right answers.
"""

import atexit
import builtins
import contextlib
import gc
import json
import marshal
import os
import resource
import sys
import threading
import types
from collections.abc import Callable
from typing import Any, NoReturn

from coderl_jax.sandbox import plain, wrapped

FILE = "program.py"
MESSAGE_LIMIT = 1000
_CODE_LIMIT = 8 << 20  # bytes of compiled code worth keeping
_OWN_FRAMES = 8  # between `run` and the program's own, at most; as deep as in an interpreter of its own a program may go
HEADER = 8  # bytes at the start of a job's file that give the length of the job
_encode = json.encoder.c_make_encoder(None, None, json.encoder.encode_basestring_ascii, None, ": ", ", ", False, False, True)
_COMPILED, LOADED = b'["compiled"]\n', b'["loaded"]\n'
_OUT_OF_MEMORY = b'["error", null, "MemoryError", "", null]\n'


def to_line(parts: Any) -> bytes:
    """Plain data as a line of JSON. What `json.dumps` does, by way of fewer objects: each costs a fresh process a page or two."""
    return "".join(_encode(parts, 0)).encode() + b"\n"


class Channel:
    """The process's way to report: lines of JSON on a pipe."""

    def __init__(self, descriptor: int):
        self._descriptor = descriptor
        self.inserted = sys.maxsize  # lines of a wrapped program after this one stand one line lower than in the program

    def send(self, *parts: Any) -> None:
        """Send one report."""
        try:
            data = to_line(parts)
        except MemoryError:
            data = _OUT_OF_MEMORY
        self.write(data)

    def write(self, data: bytes) -> None:
        """Send a report that is a line already."""
        while data:
            data = data[os.write(self._descriptor, data) :]

    def send_error(self, test: int | None, error: BaseException, traceback: types.TracebackType | None) -> None:
        """Report an exception, in test number `test` or (None) outside of tests."""
        name, message, line = describe(error, traceback)
        self.send("error", test, name, message, self.program_line(line))

    def send_out_of_memory(self) -> None:
        """Report a MemoryError without needing memory."""
        self.write(_OUT_OF_MEMORY)

    def program_line(self, line: int | None) -> int | None:
        """A line of what was compiled as a line of the program."""
        return line if line is None or line <= self.inserted else line - 1


def trace(job: dict[str, Any], channel: Channel) -> None:
    """Where the job asks for it, report every line of the program the first time it runs. What happens afterwards costs many times more."""
    if not job["traced"]:
        return
    seen: set[int] = set()

    def on_line(frame: types.FrameType, event: str, _: Any) -> Any:
        if event == "line" and frame.f_lineno not in seen:
            seen.add(frame.f_lineno)
            channel.send("line", channel.program_line(frame.f_lineno))
        return on_line

    def on_call(frame: types.FrameType, event: str, _: Any) -> Any:
        return on_line if frame.f_code.co_filename == FILE else None

    threading.settrace(on_call)
    sys.settrace(on_call)


def describe(error: BaseException, traceback: types.TracebackType | None) -> tuple[str, str, int | None]:
    """Name, message and line in the program of an exception that may try to prevent just that."""
    message, line = "", None
    with contextlib.suppress(BaseException):
        message = str.__str__(str(error))[:MESSAGE_LIMIT]
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == FILE:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return plain.name_of(type(error)), message, line


def run(work: Callable[[], None], channel: Channel) -> NoReturn:
    """Do the work and end the process.

    Args:
      work: one of the run_* functions here and in asserts.py, with its arguments.
      channel: where reports go.
    """
    status = 1
    sys.setrecursionlimit(sys.getrecursionlimit() + _depth() + _OWN_FRAMES)
    try:
        work()
        status = 0
    except MemoryError:
        channel.send_out_of_memory()
    except BaseException as error:  # a program's own exceptions are caught where they arise; this is a broken pipe or a fault of ours
        with contextlib.suppress(BaseException):
            channel.send_error(None, error, None)
    os._exit(status)


def _depth() -> int:
    """How many frames there are up to the caller's."""
    frame, count = sys._getframe(), 0
    while frame := frame.f_back:
        count += 1
    return count


def set_limits(limits: dict[int, int]) -> None:
    """Resource limits of this process, RLIMIT_* -> value; the hard ones as well, but for the stack's.

    The hard limit of processor time is a second more: at the soft one a process gets a signal that says why.
    """
    for kind, value in limits.items():
        _, hard = resource.getrlimit(kind)
        final = hard if kind == resource.RLIMIT_STACK else value + (kind == resource.RLIMIT_CPU)
        if hard != resource.RLIM_INFINITY:
            value, final = min(value, hard), min(final, hard)
        resource.setrlimit(kind, (value, final))


def compile_program(job: dict[str, Any], channel: Channel) -> types.CodeType | None:
    """The program's code, or None where it does not compile; reported either way."""
    source = job["program"]
    if job["semantics"] == "coderl" and job["kind"] == "stdin":
        source, channel.inserted = wrapped.wrap(source)
    try:
        code = compile(source, FILE, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, MemoryError, RecursionError, OverflowError) as error:
        line = error.lineno if isinstance(error, SyntaxError) else None
        message = (error.msg if isinstance(error, SyntaxError) else str(error)) or ""
        name = "SyntaxError" if type(error) is ValueError else type(error).__name__  # null bytes, before Python 3.11.4
        channel.send("compile_error", name, message[:MESSAGE_LIMIT], channel.program_line(line))
        return None
    channel.write(_COMPILED)
    return code


def compile_script(job: dict[str, Any], channel: Channel) -> types.CodeType | None:
    """`compile_program`, once for all tests: the first test's process leaves the code in the job's file for the others.

    Nobody but them reads it, so a program that could change it would gain nothing; it cannot, for it runs after the file is closed.
    """
    if job["compiled"]:
        code, channel.inserted = marshal.loads(job["compiled"])
        channel.write(_COMPILED)
    else:
        code = compile_program(job, channel)
        if code is not None and job["again"]:
            data = marshal.dumps((code, channel.inserted))
            if len(data) < _CODE_LIMIT:
                os.pwrite(job["file"], data, os.fstat(job["file"]).st_size)
    os.close(job["file"])
    return code


def new_module(name: str, prelude: list[str]) -> types.ModuleType:
    """An empty module for the program, in the place of the worker's own main module."""
    module = types.ModuleType(name)
    module.__file__ = FILE
    module.__builtins__ = builtins
    if prelude:
        vars(module).update(wrapped.prelude(prelude))
    sys.modules["__main__"] = sys.modules[name] = module
    sys.argv = [FILE]
    return module


def run_script(job: dict[str, Any], channel: Channel, forbid: Callable[[], None]) -> None:
    """Run the program as a script on the test's standard input; an error ends the process with status 1."""
    code = compile_script(job, channel)
    if code is None:
        return
    name = "tmp_sol" if job["semantics"] == "coderl" else "__main__"
    module = new_module(name, job["prelude"] if job["semantics"] == "coderl" else [])
    output = sys.stdout
    forbid()
    trace(job, channel)
    try:
        if job["semantics"] == "coderl":
            wrapped.run(code, module, channel)
        else:
            exec(code, module.__dict__)
    except SystemExit:
        pass  # whatever its status, as the judges of APPS and of most contests have it
    except BaseException as error:
        channel.send_error(0, error, sys.exc_info()[2])
        os._exit(1)
    try:
        if threading._shutdown_locks or threading._threading_atexits:
            threading._shutdown()  # as the interpreter does: wait for the program's threads
        if atexit._ncallbacks():
            atexit._run_exitfuncs()
        _flush(sys.stdout, output)
        # The program's objects are let go of, as at the interpreter's end: some print what they hold when they are finalized.
        for known in {name, "__main__"}:
            sys.modules.pop(known, None)
        del module
        gc.collect()
        _flush(output)
    except BaseException as error:
        channel.send_error(0, error, sys.exc_info()[2])
        os._exit(1)


def _flush(*streams: Any) -> None:
    for stream in streams:
        with contextlib.suppress(ValueError, AttributeError):  # closed, or an object of the program's
            stream.flush()


def run_calls(job: dict[str, Any], channel: Channel, forbid: Callable[[], None]) -> None:
    """Load the program and call its function with each test's arguments, all in this process."""
    code = compile_program(job, channel)
    if code is None:
        return
    module = new_module("solution", job["prelude"])
    forbid()
    trace(job, channel)
    if not load(code, module, channel):
        return
    try:
        function = find_function(module, job["fn_name"])
    except BaseException as error:
        channel.send_error(None, error, sys.exc_info()[2])
        return
    channel.write(LOADED)
    for test, values in enumerate(job["arguments"]):
        try:
            answer = plain.encode(function(*values))
        except BaseException as error:
            channel.send_error(test, error, sys.exc_info()[2])
        else:
            channel.send("answer", test, answer)


def load(code: types.CodeType, module: types.ModuleType, channel: Channel) -> bool:
    """Run the program's top level; whether it ended without an exception."""
    try:
        exec(code, module.__dict__)
    except BaseException as error:
        channel.send_error(None, error, sys.exc_info()[2])
        return False
    return True


def find_function(module: types.ModuleType, name: str) -> Callable[..., Any]:
    """The function of that name: a method of `class Solution` where that has it, else the module's own."""
    solution = vars(module).get("Solution")
    if solution is not None and hasattr(solution, name):
        return getattr(solution(), name)
    if name not in vars(module):
        raise NameError(f"name {name!r} is not defined")
    return vars(module)[name]
