"""N programs in, N verdicts out, in order, always."""

import atexit
import concurrent.futures
import dataclasses
import functools
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from typing import Any

from coderl_jax.config import Judging
from coderl_jax.files import UserError
from coderl_jax.sandbox.cache import VerdictCache
from coderl_jax.sandbox.pool import Pool, WorkerDied
from coderl_jax.sandbox.preload import needs_full
from coderl_jax.sandbox.trial import Trial
from coderl_jax.types import AssertTests, Outcome, Tests, Verdict

AHEAD = 1024  # programs that wait or run while the results of earlier ones are fetched
ATTEMPTS = 2  # a program that loses its worker so often is a runtime error


class Judge:
    """Runs programs against tests, several at a time. A context manager: leaving it ends all processes.

    The life of a program: its text goes to a worker (zygote.py), which forks a process that limits itself, compiles it and runs it
    (child.py); its answers come back as plain data and are compared by the process that asked for the run (trial.py, compare.py).

        with Judge(Judging(time_limit=2)) as judge:
            verdicts = judge.judge(programs, tests)

        with Judge(Judging(time_limit=2), executor=dask_client.get_executor()) as judge:    # on many machines
            ...
    """

    def __init__(self, config: Judging = Judging(), executor: Executor | None = None):
        """Prepare.

        Args:
          config: limits, comparison, semantics, cache and how many programs run at a time.
          executor: runs the jobs in place of `config.processes` threads of this process. Processes and machines of its own serve as
            well: each keeps sandbox workers for the jobs that it gets. It stays the caller's to shut down.

        Raises:
          UserError: the cache's folder cannot be used, or the Dask cluster of `config.dask` cannot be reached.
        """
        self.config = config
        self._client = _dask_client(config.dask) if config.dask is not None and executor is None else None
        executor = self._client.get_executor() if self._client is not None else executor
        self._cache = VerdictCache(config.cache, config) if config.cache is not None else None
        self._closed = False
        self._lock = threading.Lock()
        self._under_way: set[Future] = set()
        self._pool: Pool | None = None
        if executor is None:
            self._pool = Pool(config.unconfined)
            self._executor: Executor = concurrent.futures.ThreadPoolExecutor(config.processes, thread_name_prefix="judge")
            self._run: Callable[..., Any] = functools.partial(_judged, self._pool)
        else:
            self._executor, self._run = executor, _judged_here

    def __enter__(self) -> "Judge":
        """Start a first worker.

        Raises:
          UserError: the kernel lacks what confinement needs; the message says what to do.
        """
        try:
            self.layers()
        except WorkerDied as death:
            self.close()
            raise UserError(f"sandbox: expected a worker to start, got one that died {death}; try python -m coderl_jax.sandbox") from None
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop what has not run, end what runs (on an executor of the caller's it runs to its end, unheard)."""
        with self._lock:
            self._closed = True
            under_way = list(self._under_way)
        for job in under_way:
            job.cancel()
        if self._pool is not None:
            self._pool.close()
            self._executor.shutdown(wait=True)
        if self._client is not None:
            self._client.close()
        if self._cache is not None:
            self._cache.close()

    def layers(self) -> list[str]:
        """Names of the layers of confinement that hold (confine.py), on one machine of the executor's."""
        if self._pool is None:
            return self._executor.submit(_layers_here, self.config.unconfined).result()
        return _layers(self._pool)

    def submit(self, program: str, tests: Tests | None) -> Future[Verdict]:
        """Queue a program; its verdict comes as the future's result, while the caller does something else."""
        order = _Order(program, tests, self._cache.key(program, tests) if self._cache is not None and tests is not None else None)
        kept = Verdict(outcome=None) if tests is None else None if order.key is None else self._cache.get(order.key)
        if kept is not None:
            order.promise.set_result(kept)
        else:
            self._start(order, ATTEMPTS)
        return order.promise

    def _start(self, order: "_Order", attempts: int) -> None:
        """Hand a job to the executor."""
        job = self._executor.submit(self._run, order.program, order.tests, self.config)
        with self._lock:
            self._under_way.add(job)
            closed = self._closed
        job.add_done_callback(functools.partial(self._settle, order, attempts - 1))
        if closed:
            job.cancel()

    def _settle(self, order: "_Order", attempts: int, job: Future) -> None:
        """A job has ended: keep the promise, or start again where the caller's executor lost it."""
        with self._lock:
            self._under_way.discard(job)
        try:
            verdict = self._outcome_of(job)
            if verdict is None and attempts > 0:
                return self._start(order, attempts)
            if verdict is None:
                verdict = _lost(order.tests)
            if order.key is not None and verdict.error_type != _LOST:
                self._cache.put(order.key, verdict)
            order.promise.set_result(verdict)
        except BaseException as error:
            order.promise.set_exception(error)

    def _outcome_of(self, job: Future) -> Verdict | None:
        """The job's verdict; None where the executor lost it, by the death of a machine, say. Raises what is no fault of a program's."""
        if self._closed or job.cancelled():
            raise CancelledError
        error = job.exception()
        if error is None:
            verdict = job.result()
            if isinstance(verdict, Exception):
                raise verdict
            return verdict
        if self._pool is not None or isinstance(error, BrokenExecutor):
            raise error
        return None

    def judge(self, programs: Sequence[str], tests: Sequence[Tests | None]) -> list[Verdict]:
        """A verdict for each program, in order.

        Args:
          programs: texts.
          tests: of each program; None where there are none, and then the outcome is None too.
        """
        if len(programs) != len(tests):
            raise ValueError(f"expected tests for each of {len(programs)} programs, got {len(tests)}")
        verdicts: dict[int, Verdict] = dict(self.stream(zip(programs, tests, strict=True)))
        return [verdicts[index] for index in range(len(programs))]

    def stream(self, pairs: Iterable[tuple[str, Tests | None]]) -> Iterator[tuple[int, Verdict]]:
        """Verdicts as they come, each with its program's position in `pairs`.

        `pairs` is read ahead of the verdicts, so an iterator that samples programs and the judging of earlier ones overlap. A
        program that appears twice with the same tests object runs once.
        """
        futures: dict[tuple[str, int], Future[Verdict]] = {}
        positions: dict[Future[Verdict], list[int]] = {}
        kept: list[Tests | None] = []  # an object's id stands for it while it lives
        waiting: set[Future[Verdict]] = set()
        source = enumerate(pairs)
        while True:
            for position, (program, tests) in itertools.islice(source, max(0, AHEAD - len(waiting))):
                key = (program, id(tests))
                future = futures.get(key)
                if future is None:
                    future = futures[key] = self.submit(program, tests)
                    positions[future] = []
                    kept.append(tests)
                positions[future].append(position)
                waiting.add(future)
                done = {f for f in waiting if f.done()}
                if done:
                    break
            else:
                if not waiting:
                    return
                done, _ = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
            waiting -= done
            for future in done:
                verdict = future.result()
                for position in positions[future]:
                    yield position, verdict
                positions[future].clear()


@dataclasses.dataclass(frozen=True)
class _Order:
    """A program to judge, the key of its verdict where verdicts are kept, and the verdict that is promised."""

    program: str
    tests: Tests | None
    key: bytes | None
    promise: Future[Verdict] = dataclasses.field(default_factory=Future)


_LOST = "WorkerLost"


def _lost(tests: Tests) -> Verdict:
    message = "twice, the worker that ran it died"
    return Verdict(outcome=Outcome.RUNTIME_ERROR, error_type=_LOST, error_message=message, tests_total=len(tests))


def _judged(pool: Pool, program: str, tests: Tests, config: Judging) -> Verdict:
    """The verdict of a program, run by a worker of the pool; by another one where the first dies."""
    code = (program, tests.setup, *tests.asserts) if isinstance(tests, AssertTests) else (program,)
    full = config.semantics == "coderl" or any(map(needs_full, code))
    for _ in range(ATTEMPTS):
        try:
            with pool.worker(full) as worker:
                return Trial(worker, program, tests, config).verdict()
        except WorkerDied:
            if pool.closed:
                raise
    return _lost(tests)


def _layers(pool: Pool) -> list[str]:
    with pool.worker() as worker:
        return list(worker.layers)


@functools.cache
def _pool_here(unconfined: bool) -> Pool:
    """The workers of this process, for jobs that an executor brings."""
    pool = Pool(unconfined)
    atexit.register(pool.close)
    return pool


def _judged_here(program: str, tests: Tests, config: Judging) -> Verdict | Exception:
    """What an executor runs: `_judged`. An error of ours is a value, so that an exception means that the executor lost the job."""
    try:
        return _judged(_pool_here(config.unconfined), program, tests, config)
    except Exception as error:
        return error


def _layers_here(unconfined: bool) -> list[str]:
    return _layers(_pool_here(unconfined))


def judge(programs: Sequence[str], tests: Sequence[Tests | None], config: Judging = Judging()) -> list[Verdict]:
    """A verdict for each program, in order. For more than one call, keep a `Judge`: it keeps its workers."""
    with Judge(config) as it:
        return it.judge(programs, tests)


def _dask_client(address: str) -> Any:
    """A client of the Dask cluster at this address."""
    try:
        import distributed
    except ImportError:
        raise UserError("--dask: expected the package distributed, got none installed; pip install '.[dask]'") from None
    try:
        return distributed.Client(address, set_as_default=False, timeout=20)
    except (OSError, ValueError) as error:
        why = str(error).splitlines()[0]
        raise UserError(
            f"--dask: expected the address of a scheduler that answers, got {address!r} ({why}); start dask scheduler"
        ) from None
