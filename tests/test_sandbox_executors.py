"""The judge on executors of the caller's: processes of this machine, and a Dask cluster."""

import concurrent.futures
import dataclasses
import multiprocessing
import os
import signal
import time

import pytest

from coderl_jax.config import Judging
from coderl_jax.files import UserError
from coderl_jax.sandbox import Judge
from coderl_jax.types import AssertTests, CallTests, Outcome, StdinTests

SETTINGS = Judging(time_limit=5.0)
ASSERTS = AssertTests(setup="", asserts=("assert f(2) == 4",))
CALL = CallTests(fn_name="f", inputs=([2],), outputs=(4,))
PAIRS = [
    ("print(2 * int(input()))", StdinTests(inputs=("2",), outputs=("4",))),
    ("def f(n):\n    return n * n", CALL),
    ("def f(n):\n    return n * n", ASSERTS),
    ("def f(n):\n    return n.x", CALL),
    ("def f(n) return", ASSERTS),
    ("print(1)", None),
]


def _verdicts(judge):
    verdicts = judge.judge([program for program, _ in PAIRS], [tests for _, tests in PAIRS])
    return [(v.outcome, v.error_type, v.error_line, v.tests_passed, v.tests_total) for v in verdicts]


@pytest.fixture(scope="module")
def own():
    with Judge(SETTINGS) as judge:
        return _verdicts(judge)


def test_processes_give_the_verdicts_that_threads_give(own):
    fresh = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=fresh) as executor, Judge(SETTINGS, executor=executor) as judge:
        assert _verdicts(judge) == own
        assert set(judge.layers()) >= {"seccomp", "landlock", "rlimits"}


def test_verdicts_from_an_executor_are_kept_in_the_cache(own, tmp_path):
    settings = Judging(time_limit=5.0, cache=str(tmp_path))
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        with Judge(settings, executor=executor) as judge:
            assert _verdicts(judge) == own
        executor.shutdown()
        judge = Judge(settings, executor=executor)  # nothing can run there any more
        assert _verdicts(judge) == own
        with pytest.raises(RuntimeError):
            judge.submit("print(3)", CALL)
        judge.close()


class Forgetful(concurrent.futures.ThreadPoolExecutor):
    """Loses the first `losses` jobs, as a cluster does whose machine is taken away."""

    losses = 0

    def submit(self, function, /, *arguments):
        if self.losses:
            self.losses -= 1
            return super().submit(self._lose)
        return super().submit(function, *arguments)

    @staticmethod
    def _lose():
        raise ConnectionError("the machine is gone")


def test_a_program_whose_machine_is_lost_runs_again_and_twice_lost_is_a_runtime_error():
    with Forgetful(1) as executor, Judge(SETTINGS, executor=executor) as judge:
        executor.losses = 1
        assert judge.judge(*zip(PAIRS[0], strict=True))[0].outcome is Outcome.PASSED
        executor.losses = 2
        lost = judge.judge(*zip(PAIRS[0], strict=True))[0]
        assert (lost.outcome, lost.error_type) == (Outcome.RUNTIME_ERROR, "WorkerLost")


@pytest.mark.slow
def test_a_dask_cluster_gives_the_same_verdicts_and_loses_none_when_a_worker_is_killed(own):
    distributed = pytest.importorskip("distributed", reason="needs the extra `dask`")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
        Judge(SETTINGS, executor=client.get_executor()) as judge,
    ):
        with Judge(dataclasses.replace(SETTINGS, dask=cluster.scheduler_address)) as by_address:  # as commands name it
            assert _verdicts(by_address) == own
        numbers = range(40)
        programs = [f"import time\ntime.sleep(0.1)\nprint({n})" for n in numbers]
        tests = [StdinTests(inputs=("",), outputs=(str(n),)) for n in numbers]
        jobs = [judge.submit(program, test) for program, test in zip(programs, tests, strict=True)]
        time.sleep(0.5)
        victim = next(iter(client.run(os.getpid).values()))
        os.kill(victim, signal.SIGKILL)
        assert [job.result(timeout=60).outcome for job in jobs] == [Outcome.PASSED] * len(numbers)


def test_a_scheduler_that_is_no_address_is_one_line():
    pytest.importorskip("distributed", reason="needs the extra `dask`")
    with pytest.raises(UserError, match="--dask: expected the address of a scheduler that answers, got 'nowhere'"):
        Judge(Judging(dask="nowhere"))
