"""The programs of RL's rounds: drawn, handed to the judge, picked up when it is done; one round ahead, unless `--on-policy`.

    round i     draw i + 1 (the judge is at i) -> pick up i -> score, update -> ...

So the judge's time is hidden behind the device's. The price: the policy that wrote the programs of round i + 1 has not seen the update
of round i. Its log-probabilities, where the objective corrects for that, are taken when it writes.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from coderl_jax import hosts
from coderl_jax.files import read_jsonl, replacing, write_jsonl
from coderl_jax.rollout import collect
from coderl_jax.rollout.sampler import Request
from coderl_jax.rows import program_from_json, program_to_json
from coderl_jax.stages.train import RLConfig
from coderl_jax.types import Problem
from train.rounds import earlier


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawn:
    """A round's programs, on their way through the judge.

    Attributes:
      under_way: of each of the round's problems the greedy program first; of all hosts.
      behaviour: log-probability of each token of the sampled ones under the policy that wrote them, float32 [b, t], or None.
      step: updates that this policy had seen.
    """

    under_way: collect.UnderWay
    behaviour: np.ndarray | None
    step: int


class Drawing:
    """The rounds' programs, in order."""

    def __init__(
        self,
        config: RLConfig,
        folder: pathlib.Path,
        problems: Sequence[Problem],
        requests: Sequence[Request],
        sampler: Any,
        judge: Any,
        problems_of: Callable[[int], list[int]],
        logprobs: Callable[[Any, Any], np.ndarray] | None,
    ):
        """Nothing is drawn yet.

        Args:
          config: the run's.
          folder: of the run; programs under way are kept in it.
          problems: to practise on.
          requests: one a problem, for the greedy program and the others.
          sampler: draws.
          judge: runs.
          problems_of: the problems of a round, from 1.
          logprobs: (params, texts) -> log-probability of every token, where `Drawn.behaviour` is wanted.
        """
        self._config, self._folder, self._problems, self._requests = config, folder / "drawn", problems, requests
        self._sampler, self._judge, self._problems_of, self._logprobs = sampler, judge, problems_of, logprobs
        self._ahead: Drawn | None = None

    def draw(self, at: int, params: Any, step: int) -> Drawn:
        """The programs of round `at`: those drawn ahead, or else drawn now. Those of the next round are then drawn ahead."""
        drawn = self._ahead or self._draw(at, params, step)
        self._ahead = None
        if not self._config.on_policy and at < self._config.rounds:
            self._ahead = self._draw(at + 1, params, step)
        return drawn

    def forget(self) -> None:
        """Drop what was drawn ahead, by a policy that has been given up."""
        self._ahead = None

    def save(self, at: int, whole: int) -> None:
        """Keep what is drawn ahead of round `at + 1`, so that a run resumed after round `at` goes on with it.

        Args:
          at: the round that is over.
          whole: that of the last whole checkpoint; what is older than what it goes on with is deleted.
        """
        if self._ahead is None or not hosts.is_first():
            return
        write_jsonl(self._folder / f"{at + 1}.jsonl", (program_to_json(p) for programs in self._ahead.under_way.programs for p in programs))
        extra = {} if self._ahead.behaviour is None else {"behaviour": self._ahead.behaviour}
        with replacing(self._folder / f"{at + 1}.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, step=self._ahead.step, **extra)
        for path in self._folder.iterdir():
            if path.stem.isdecimal() and int(path.stem) <= whole:
                path.unlink()

    def load(self, at: int) -> None:
        """Take up what `save(at)` kept; the judge begins anew."""
        path = self._folder / f"{at + 1}.npz"
        if not path.exists():
            return
        chosen = self._problems_of(at + 1)
        rows = [program_from_json(place, row) for place, row in read_jsonl(path.with_suffix(".jsonl"))]
        each = len(rows) // len(chosen)
        programs = [rows[i : i + each] for i in range(0, len(rows), each)]
        with np.load(path) as arrays:
            behaviour, step = arrays.get("behaviour"), int(arrays["step"])
        under_way = collect.UnderWay(programs, {}, together=True)
        for position, (problem, own) in enumerate(zip(hosts.share(chosen), hosts.share(programs), strict=True)):
            under_way.submit(self._judge, position, own, self._problems[problem].hidden_tests)
        self._ahead = Drawn(under_way=under_way, behaviour=behaviour, step=step)

    def _draw(self, at: int, params: Any, step: int) -> Drawn:
        config, chosen = self._config, self._problems_of(at)
        each = 1 + config.sampling.num_samples
        # A problem that comes again is drawn for again: its programs have other indices, and so other random numbers.
        requests = [dataclasses.replace(self._requests[i], first_index=n * each) for i, n in zip(chosen, earlier(chosen), strict=True)]
        tests = [self._problems[i].hidden_tests for i in chosen]
        temperatures = [0.0] + [config.sampling.temperature] * config.sampling.num_samples
        seed = collect.seed_of(config.seed, at)
        under_way = collect.draw(self._sampler, params, self._judge, requests, tests, seed, temperatures, together=True)
        behaviour = None
        if self._logprobs:
            behaviour = self._logprobs(params, collect.texts(requests, [rows[1:] for rows in under_way.programs]))
        return Drawn(under_way=under_way, behaviour=behaviour, step=step)
