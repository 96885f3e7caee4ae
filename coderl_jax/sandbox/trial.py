"""One program against its tests: run it, hear its answers, compare them here, and come to a verdict.

stdin   a process for each test; what it printed is compared
call    one process for all tests; it sends each answer, and each is compared as it comes
assert  one process for the program and one for the tests, which call the program's functions over plain data
"""

import contextlib
import dataclasses
import marshal
import math
import os
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

from coderl_jax.config import Judging
from coderl_jax.sandbox import child, compare, plain, testcode, wrapped
from coderl_jax.sandbox.pool import Process, Report, Worker, in_memory
from coderl_jax.types import AssertTests, CallTests, Outcome, StdinTests, Tests, Verdict

COMPILE_LIMIT = 10.0  # seconds
OUTPUT_LIMIT = 16 << 20  # bytes a program may print, at least
WALL_FACTOR = 10.0  # wall time, run queue included, that ends a test: so many time limits
_PARTS = 8  # times as many as the expected value has: an answer of more is wrong, however its lists, tuples and dicts are written
_SAMPLE = 0.05  # seconds; a test that took longer has its run-queue time read


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of one test."""

    outcome: Outcome
    error_type: str | None = None
    error_message: str | None = None
    error_line: int | None = None


_PASSED = Result(Outcome.PASSED)
_WRONG = Result(Outcome.FAILED_TEST)


def failure(error_type: str, message: str, line: int | None = None, outcome: Outcome = Outcome.RUNTIME_ERROR) -> Result:
    """The result of a test that ended in an error. Only so much of it is kept: a program may say anything."""
    return Result(outcome, error_type[: plain.NAME_LIMIT], message[: child.MESSAGE_LIMIT], line)


class Clock:
    """Fair time: what passes on the wall, less what the process spent ready to run while others had the processor.

    A program is not to fail because the machine is busy; a sleeping one gains nothing by it.
    """

    def __init__(self, processes: list[Process], limit: float):
        self.processes = processes
        self._sampled = self._start = time.monotonic()
        self._waited_before = 0.0
        self.limit = limit

    def restart(self, limit: float) -> None:
        """Begin the next test."""
        now = time.monotonic()
        if now - self._sampled > _SAMPLE and (waited := self._waited()) < math.inf:
            self._waited_before, self._sampled = waited, now
        self._start, self.limit = now, limit

    def _waited(self) -> float:
        return sum(process.waited() for process in self.processes)

    def remaining(self) -> float:
        """Seconds until the limit, as far as can be foreseen; none or fewer when it is over."""
        elapsed = time.monotonic() - self._start
        if elapsed < self.limit:
            return self.limit - elapsed
        waited = max(0.0, self._waited() - self._waited_before)
        return min(self.limit - (elapsed - min(waited, elapsed)), WALL_FACTOR * self.limit - elapsed)


class Trial:
    """A program being judged by a worker.

    Args:
      worker: lent for the time.
      program: its text.
      tests: what it has to do.
      settings: limits, comparison and semantics.
      traced: the program tells which of its lines run, and is slowed down by it; no verdict comes of such a trial.
    """

    def __init__(self, worker: Worker, program: str, tests: Tests, settings: Judging, traced: bool = False):
        self._worker = worker
        self._program = program
        self._tests = tests
        self._settings = settings
        self._results: list[Result] = []
        self._seconds = 0.0
        self._traced = traced
        self._lines: set[int] = set()

    def verdict(self) -> Verdict:
        """Run the tests and sum up. Raises WorkerDied."""
        self._run()
        results = self._results
        worst = min(results, key=lambda result: result.outcome)
        return Verdict(
            outcome=worst.outcome,
            error_type=worst.error_type,
            error_message=worst.error_message,
            error_line=worst.error_line,
            tests_passed=sum(result.outcome is Outcome.PASSED for result in results),
            tests_total=len(self._tests),
            seconds=self._seconds,
            executed_lines=self._executed_lines() if self._settings.coverage and worst.outcome is not Outcome.COMPILE_ERROR else None,
        )

    def _run(self) -> None:
        match self._tests:
            case StdinTests():
                self._run_stdin(self._tests)
            case CallTests():
                self._run_calls(self._tests)
            case AssertTests():
                self._run_asserts(self._tests)

    def _executed_lines(self) -> tuple[int, ...]:
        """The lines that run under any test, by a second, traced run: one too slow to be judged by. The program's own word."""
        again = Trial(self._worker, self._program, self._tests, self._settings, traced=True)
        again._run()
        return tuple(sorted(again._lines))

    def _job(self, kind: str, count: int, output: int = OUTPUT_LIMIT, **fields: Any) -> int:
        """A job in memory, for child.py. Returns its descriptor."""
        seconds = math.ceil(COMPILE_LIMIT + 2 * self._settings.time_limit * count)
        job = {
            "kind": kind,
            "program": self._program,
            "semantics": self._settings.semantics,
            "prelude": wrapped.prelude_names(self._program),
            "traced": self._traced,
            "limits": (self._settings.memory_limit << 20, seconds, output),
            **fields,
        }
        data = marshal.dumps(job)
        return in_memory(len(data).to_bytes(child.HEADER, "little") + data)

    def _add(self, result: Result) -> bool:
        """Note a test's result; whether to go on with the next."""
        self._results.append(result)
        return result.outcome is Outcome.PASSED or not self._settings.stop_at_first_failure

    def _reports(self, process: Process, clock: Clock) -> Iterator[Report]:
        """What a process reports until it ends or its time is over; then `["timeout"]`."""
        while True:
            self._take_lines(clock.processes)
            while process.reports:
                yield process.reports.pop(0)
            if process.status is not None:
                return
            if any(other.reports for other in clock.processes):  # of its own there are none left
                yield ["gone", None]
                return
            remaining = clock.remaining()
            if remaining <= 0:
                yield ["timeout"]
                return
            self._worker.listen(clock.processes, remaining)

    def _take_lines(self, processes: list[Process]) -> None:
        if self._traced:
            for process in processes:
                self._lines |= {line for report in process.reports if report[0] == "line" and (line := self._line(report[-1]))}
                process.reports[:] = [report for report in process.reports if report[0] != "line"]

    def _compiled(self, reports: Iterator[Report], process: Process) -> Result | None:
        """None where the program compiles."""
        report = next(reports, ["died"])
        match report:
            case ["compiled"]:
                return None
            case ["compile_error", str(name), str(message), line]:
                return failure(name, message, self._line(line), Outcome.COMPILE_ERROR)
            case ["timeout"]:
                return failure("TimeLimit", f"no end of compilation within {COMPILE_LIMIT:g} s", None, Outcome.COMPILE_ERROR)
        name, message = _how_it_ended(process.status)
        return failure(name, f"the compiler ended: {message}", None, Outcome.COMPILE_ERROR)

    def _run_stdin(self, tests: StdinTests) -> None:
        output = max(OUTPUT_LIMIT, 2 * max(map(len, tests.outputs)))
        job = self._job("stdin", 1, output, again=len(tests) > 1)
        try:
            for text, expected in zip(tests.inputs, tests.outputs, strict=True):
                result = self._run_script(job, text, expected, output)
                if not self._add(result) or result.outcome is Outcome.COMPILE_ERROR or result.error_type == "TimeLimit":
                    return
        finally:
            os.close(job)

    def _run_script(self, job: int, text: str, expected: str, output_limit: int) -> Result:
        stdin, stdout = in_memory(text.encode("utf-8", "surrogatepass")), in_memory()
        try:
            process = self._worker.start(job, stdin, stdout)
            try:
                result = self._follow_script(process)
            finally:
                self._worker.finish([process])
            size = os.fstat(stdout).st_size
            if size >= output_limit:
                return failure("OutputLimit", f"printed {output_limit >> 20} MiB or more")
            if result is not None:
                return result
            printed = os.pread(stdout, size, 0).decode("utf-8", "surrogateescape")
            return _PASSED if compare.printed_right(printed, expected, self._settings.comparison) else _WRONG
        finally:
            os.close(stdin)
            os.close(stdout)

    def _follow_script(self, process: Process) -> Result | None:
        """Wait for a script's end; None where it is a normal one and the output decides."""
        clock = Clock([process], COMPILE_LIMIT)
        reports = self._reports(process, clock)
        broken = self._compiled(reports, process)
        if broken is not None:
            return broken
        start = time.monotonic()
        clock.restart(self._settings.time_limit)
        loading, result = self._settings.semantics == "coderl", None
        for report in reports:
            if report != ["loaded"] or not loading:
                result = self._error(report, Outcome.COMPILE_ERROR if loading else Outcome.RUNTIME_ERROR)
                break
            loading = False
        self._seconds += time.monotonic() - start
        if result is None and process.status:
            return failure(*_how_it_ended(process.status))
        return result

    def _run_calls(self, tests: CallTests) -> None:
        comparison = self._settings.comparison
        arguments = [compare.call_arguments(values, comparison) for values in tests.inputs]
        job = self._job("call", len(tests), fn_name=tests.fn_name, arguments=arguments)
        try:
            process = self._worker.start(job)
        finally:
            os.close(job)
        try:
            self._follow_calls(process, tests)
        finally:
            self._worker.finish([process])

    def _follow_calls(self, process: Process, tests: CallTests) -> None:
        clock = Clock([process], COMPILE_LIMIT)
        reports = self._reports(process, clock)
        broken = self._compiled(reports, process)
        if broken is not None:
            self._add(broken)
            return
        start = time.monotonic()
        clock.restart(self._settings.time_limit)
        loading = True
        for report in reports:
            match report:
                case ["loaded"] if loading:
                    loading = False
                    clock.restart(self._settings.time_limit)
                    continue
                case ["answer", int(test), answer] if not loading and test == len(self._results) < len(tests):
                    result = self._compare(answer, tests.outputs[test])
                case ["error", int(test), *_] if not loading and test == len(self._results) < len(tests):
                    result = self._error(report)
                case _:  # an error while loading, the end of its time, or no report of ours
                    self._add(self._error(report, Outcome.COMPILE_ERROR if loading and self._settings.semantics == "coderl" else None))
                    break
            if not self._add(result) or len(self._results) == len(tests):
                break
            process.received = 0
            clock.restart(self._settings.time_limit)
        else:
            if len(self._results) < len(tests):
                self._add(failure(*_how_it_ended(process.status)))
        self._seconds = time.monotonic() - start

    def _compare(self, answer: Any, expected: Any) -> Result:
        most = _PARTS * plain.parts(expected)
        if plain.parts(answer, most) > most:
            return _WRONG
        try:
            value = plain.decode(answer, keys=compare.largest_dict(expected))
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError, AttributeError):
            return self._error(["malformed"])
        return _PASSED if compare.returned_right(value, expected, self._settings.comparison) else _WRONG

    def _error(self, report: Report, outcome: Outcome | None = None) -> Result:
        """The result that a report of trouble means."""
        outcome = Outcome.RUNTIME_ERROR if outcome is None else outcome
        match report:
            case ["error", _, "MemoryError", str(), line]:
                return failure("MemoryLimit", f"needs more than {self._settings.memory_limit} MiB", self._line(line), outcome)
            case ["error", _, str(name), str(message), line]:
                return failure(name, message, self._line(line), outcome)
            case ["timeout"]:
                return failure("TimeLimit", f"no end within {self._settings.time_limit:g} s", None, outcome)
            case ["flood"]:
                return failure("OutputLimit", "answers too long", None, outcome)
        return failure("BadReport", "wrote on the judge's channel", None, outcome)

    def _line(self, line: Any) -> int | None:
        return line if type(line) is int and 1 <= line <= self._program.count("\n") + 1 else None

    def _run_asserts(self, tests: AssertTests) -> None:
        try:
            prepared = testcode.prepare(tests.setup, tests.asserts)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            self._add(failure(type(error).__name__, f"in the tests: {error}"))
            return
        job, test_job = self._job("serve", len(tests)), self._job("tests", len(tests), **prepared)
        processes: list[Process] = []
        theirs, ours = socket.socketpair()
        with contextlib.closing(theirs), contextlib.closing(ours):
            try:
                processes.append(self._worker.start(job, theirs.fileno()))
                theirs.close()
                clock = Clock(processes, COMPILE_LIMIT)
                if self._load(processes[0], clock):
                    processes.append(self._worker.start(test_job, ours.fileno()))
                    ours.close()
                    self._follow_tests(processes, clock, len(tests))
            finally:
                os.close(job)
                os.close(test_job)
                self._worker.finish(processes)
                self._take_lines(processes)

    def _load(self, process: Process, clock: Clock) -> bool:
        """Whether the program compiles and loads; notes the result where not."""
        reports = self._reports(process, clock)
        broken = self._compiled(reports, process)
        if broken is None:
            clock.restart(self._settings.time_limit)
            report = next(reports, ["died"])
            if report == ["loaded"]:
                return True
            broken = failure(*_how_it_ended(process.status)) if report == ["died"] else self._error(report)
        self._add(broken)
        return False

    def _follow_tests(self, processes: list[Process], clock: Clock, total: int) -> None:
        program, tests = processes
        start = time.monotonic()
        clock.restart(self._settings.time_limit)
        for report in self._reports(tests, clock):
            match report:
                case ["ready"]:
                    clock.restart(self._settings.time_limit)
                    continue
                case ["passed", int()]:
                    result = _PASSED
                case ["failed", int()]:
                    result = Result(Outcome.FAILED_TEST, "AssertionError")
                case ["gone", _]:
                    self._add(self._why_gone(program))
                    break
                case _:
                    result = self._error(report)
            if not self._add(result) or report[0] == "timeout" or report[1:2] == [None]:
                break
            clock.restart(self._settings.time_limit)
        else:
            if len(self._results) < total:
                self._add(failure(*_how_it_ended(tests.status)))
        self._seconds = time.monotonic() - start

    def _why_gone(self, program: Process) -> Result:
        """What became of a program that stopped answering its tests."""
        self._worker.listen([program], 1.0)
        if program.reports:  # out of memory, or nothing that we asked for
            return self._error(program.reports[0])
        if program.status is None:
            return self._error(["malformed"])
        return failure(*_how_it_ended(program.status))


def _how_it_ended(status: int | None) -> tuple[str, str]:
    """Error type and message for a process that ended by itself without saying why."""
    code = 0 if status is None else os.waitstatus_to_exitcode(status)
    if code >= 0:
        return "ExitStatus", f"ended with status {code} before its work was done"
    if -code in (signal.SIGXCPU,):
        return "TimeLimit", "used more processor time than all its tests together have"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return name, f"ended by {name}"
