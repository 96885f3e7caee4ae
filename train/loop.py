"""The rounds of an RL run: collect, credit, update, guard."""

import dataclasses
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from coderl_jax import cli
from coderl_jax.files import UserError
from coderl_jax.stages.train import RLConfig


def rl_optimizer(config: RLConfig) -> Any:
    """The optimizer's settings, with the number of updates that the rounds make."""
    return dataclasses.replace(config.optimizer, steps=config.rounds * config.updates_per_round * config.passes)


def alternates(config: RLConfig, objective: Any) -> bool:
    """Whether the cross-entropy term takes turns with the objective, as in the released code: half of each update is one's."""
    return config.lengths.parity == "upstream" or getattr(objective, "ALTERNATES", False)


@dataclasses.dataclass
class Progress:
    """Where a run stands, as its checkpoint says: `best` is the best validation pass@1, `best_round` its round."""

    round: int = 0
    best: float | None = None
    best_round: int = 0
    rollbacks: int = 0
    stopped: bool = False


class Loop:
    """The rounds of one run."""

    def __init__(self, config: RLConfig, folder: Any, problems: list, actor: Any, critic: Any, judge: Any, saved: Any = None):
        import jax

        from coderl_jax.data.batches import BatchStream
        from coderl_jax.data.problems import load_problems
        from coderl_jax.learner import state, steps
        from coderl_jax.learner.checkpoint import Checkpoints
        from coderl_jax.model.mesh import own_rows
        from coderl_jax.objectives.table import baseline_of, objective_named
        from coderl_jax.rollout.collect import Best
        from coderl_jax.rollout.sampler import Sampler, requests_for
        from train.drawing import Drawing
        from train.examples import solution_examples, validator
        from train.replay import Replay
        from train.rounds import difficulty_levels, structure_matcher
        from train.values import Values

        self.config, self.folder, self.actor, self.saved = config, folder, actor, saved
        self.objective = objective_named(config.objective)
        self.baseline = baseline_of(self.objective, config.baseline)
        sampler = Sampler(actor.graphdef, actor.shape, actor.tokenizer, config.lengths, config.sampling)
        self.requests, cut = requests_for([p.public() for p in problems], actor.tokenizer, config.lengths, 1 + config.sampling.num_samples)
        self.difficulties = [p.difficulty for p in problems]
        print(f"{len(problems)} problems to practise on" + (f", {cut} prompts cut" if cut else ""), file=sys.stderr)
        self.supervised = None
        if config.supervised and config.terms.ce_weight:
            examples = solution_examples(load_problems(config.supervised), actor.tokenizer, config.lengths)
            self.supervised = BatchStream(examples, config.optimizer.batch_size, config.seed)
            self.supervised.rows = own_rows(config.optimizer.batch_size)
        self.evaluate = validator(config.validation, sampler, judge, config.seed)[0] if config.validation.validation else None
        if self.evaluate is None:
            print("no --validation: a fall goes unseen, and the last parameters are kept, not the best", file=sys.stderr)

        optimizer = state.make_optimizer(rl_optimizer(config))
        self.schedule = state.learning_rate(rl_optimizer(config))
        parts = config.optimizer.accumulate
        loss = steps.rl_loss(actor.graphdef, critic.graphdef if critic else None, self.objective, config.terms)
        self.rl_gradient = state.make_gradient(loss, parts)
        self.critic_params = [critic.params] if critic else []
        self.ce_gradient = state.make_gradient(steps.supervised_loss(actor.graphdef, config.optimizer.dropout), parts)
        self.weights = (0.5, 0.5) if alternates(config, self.objective) else (1.0, config.terms.ce_weight)
        self.apply = state.make_apply(optimizer)
        self.drift = steps.make_drift(actor.graphdef)
        self.logprobs = steps.make_logprobs(actor.graphdef)
        self.key = jax.random.key(config.seed)
        self.state = state.init_state(actor.params, optimizer)
        has_values = "value" in self.objective.NEEDS
        self.values = Values(config, actor, optimizer, jax.random.fold_in(self.key, 1 << 20)) if has_values else None
        self.checkpoints = Checkpoints(folder / "checkpoints")
        self.best = Checkpoints(folder / "best")  # the last two: the checkpoint that knows of the last may not be whole
        self.best_programs = Best(len(problems))
        self.match = structure_matcher(problems, config.terms.match_weight) if config.terms.match_weight else None
        self.levels = difficulty_levels(self.difficulties) if config.curriculum else None
        self.replay = Replay(folder / "replay", config.replay) if config.replay else None
        self.staleness_clip = config.staleness_clip or (1.0 if config.replay else None)
        self.progress = Progress()
        self.lost: int | None = None  # the round whose parameters are the best and could not be kept
        wanted = "behaviour" in self.objective.NEEDS or self.staleness_clip
        logprobs = (lambda params, texts: self._over(self.logprobs, params, texts)) if wanted else None
        self.drawing = Drawing(config, folder, problems, self.requests, sampler, judge, self._problems_of, logprobs)

    def run(self) -> Progress:
        """All rounds, or what is left of them after an interruption."""
        from tqdm import tqdm

        from coderl_jax import hosts
        from coderl_jax.learner.checkpoint import stop_on_signal
        from coderl_jax.learner.fit import MOST_SKIPPED, not_kept
        from coderl_jax.learner.trackers import RunLog

        self._resume()
        rounds, done = self.config.rounds, self.progress.round
        with (
            RunLog(self.folder, self.config.tracking, resume_at=done + 1 if done else 0) as log,
            stop_on_signal() as stop,
            tqdm(disable=not hosts.is_first(), total=rounds, initial=done, unit="round", desc="rl") as bar,
        ):
            if self.progress.round == 0 and self.evaluate:
                log.write(0, **self._guard(0))
            while self.progress.round < rounds and not self.progress.stopped:
                at = self.progress.round + 1
                row = self._round(at)
                if row["skipped"] > MOST_SKIPPED:
                    row = self._skipped(at, row)
                if self.evaluate and (at % self.config.validation.validate_every == 0 or at == rounds):
                    row |= self._guard(at)
                log.write(at, **row)
                self.progress.round = at
                bar.update()
                best = {} if self.progress.best is None else {"best": f"{self.progress.best:.3f}"}
                bar.set_postfix(passed=f"{row['outcomes']['passed']:.3f}", **best)
                stopping = stop.due(at)
                # With every new best too: a resumed run's best is then one that it knows of.
                due = stopping or at % self.config.save_every == 0 or at in (rounds, self.progress.best_round)
                if due and self.lost is None:  # else a resumed run would not come by the lost parameters again
                    self._save()
                if stopping and at < rounds:
                    self.close()
                    raise cli.Preempted(f"round {self.checkpoints.latest} of {rounds} is saved")
            if not self.evaluate:
                self.actor.save(self.folder / "model", self.state.params)
            self.close()
        if self.lost is not None:
            raise not_kept(self.folder, f"round {self.lost}")
        return self.progress

    def close(self) -> None:
        """Wait for checkpoints under way."""
        self.checkpoints.close()
        self.best.close()

    def _round(self, at: int) -> dict[str, Any]:
        """Sample, judge, update; the numbers of the round."""
        import numpy as np

        from coderl_jax.rollout import collect
        from train.replay import corrected
        from train.rounds import earlier

        config, seconds, began = self.config, {}, time.perf_counter()
        chosen, seed, drawn = self._problems_of(at), collect.seed_of(config.seed, at), None
        if self.saved:
            count = config.sampling.num_samples
            again = zip(chosen, earlier(chosen), strict=True)
            judged = [self.saved.drawn(self.requests[i].problem_id, count, collect.seed_of(seed, i), n * count) for i, n in again]
        else:
            step = int(self.state.step)
            with _timed(seconds, "sampling"):
                drawn = self.drawing.draw(at, self.state.params, step)
            with _timed(seconds, "judging"):
                judged = drawn.under_way.judged()
        with _timed(seconds, "scoring"):
            rollout = self._rollout([self.requests[i] for i in chosen], judged, chosen, drawn)
            learnt = self.replay.joined(at, rollout) if self.replay else rollout
            if self.staleness_clip:
                learnt = corrected(learnt, self._over(self.logprobs, self.state.params, learnt), self.staleness_clip)
        with _timed(seconds, "updating"):
            logged = self._update(learnt, seed)
        with _timed(seconds, "drift"):
            logged |= self._drift(rollout)
        if self.values:
            self.values.adapt(logged["kl"])
            logged["reward_kl"] = self.values.beta
        sampled = [rows[1:] for rows in judged]
        if drawn is not None:
            logged["staleness"] = step - drawn.step
        seconds["idle"] = round(time.perf_counter() - began - sum(seconds.values()), 3)
        return {
            **logged,
            "mean_return": float(rollout.advantage.mean()),
            "informative": float(np.mean(collect.informative(rollout))),
            "sampled_pass": collect.passing_share(sampled),
            "greedy_pass": collect.passing_share([rows[:1] for rows in judged]),
            "outcomes": collect.outcome_mix(sampled),
            "error_types": collect.error_types(sampled),
            "by_difficulty": collect.by_difficulty(judged, [self.difficulties[i] for i in chosen]),
            "returns": collect.return_shares(rollout.advantage),
            "learning_rate": float(self.schedule(int(self.state.step) - 1)) * float(self.state.step_scale),
            "seconds": seconds,
        }

    def _rollout(self, requests: list, judged: list, chosen: list[int], drawn: Any) -> Any:
        """The round as arrays, with all that the objective and the added terms read."""
        import numpy as np

        from coderl_jax.rollout import collect

        needs, terms = self.objective.NEEDS, self.config.terms
        rewarded = collect.rewards(judged, chosen, self.match)

        def weighted(advantage: Any) -> Any:
            return np.where(advantage < 0, np.float32(terms.negative_weight) * advantage, advantage)

        advantage = weighted(collect.advantages(rewarded, self.objective, self.baseline, self.best_programs, chosen))
        rollout = collect.to_rollout(requests, judged, advantage, self.actor.tokenizer, needs)
        parts = {}
        if "ratio_advantage" in needs:
            parts["ratio_advantage"] = weighted(collect.ratio_advantages(judged, self.best_programs, chosen))
        if self.saved:
            parts["critic"] = self.saved.values(judged, rollout.target.shape[1])
        if drawn is not None and drawn.behaviour is not None:
            parts["behaviour"] = drawn.behaviour
        if "value" in needs or terms.kl_weight:
            parts["reference"] = self._over(self.logprobs, self.actor.params, rollout)
        rollout = dataclasses.replace(rollout, **parts)
        for problem, rows, row in zip(chosen, judged, rewarded, strict=True):
            self.best_programs.note(problem, rows, row)
        if self.values:
            rollout = self.values.with_advantages(rollout, self._over(self.values.estimates, self.values.state.params, rollout))
        return rollout

    def _over(self, function: Any, params: Any, rollout: Any) -> Any:
        """function(params, programs) of every program, batch by batch, float32 [b, t]."""
        import numpy as np

        from coderl_jax.data.batches import of_length
        from coderl_jax.learner.steps import TextBatch
        from coderl_jax.model.mesh import fetch, spread

        size, (count, width) = self.config.optimizer.batch_size, rollout.target.shape
        whole, found = TextBatch.of(rollout, self.config.lengths), []
        for start in range(0, count, size):
            rows = np.minimum(np.arange(start, start + size), count - 1)  # the last batch repeats its last program
            found.append(fetch(function(params, spread(TextBatch(*(array[rows] for array in whole))))))
        return of_length(np.concatenate(found)[:count], width)  # upstream's lengths may be shorter or longer than the round's

    def _update(self, rollout: Any, seed: int) -> dict[str, float]:
        """One update a batch, of the objective and the cross-entropy term."""
        import jax
        import numpy as np

        from coderl_jax.learner.fit import mean_of
        from coderl_jax.learner.state import weighted_sum
        from coderl_jax.learner.steps import RLBatch, TextBatch
        from coderl_jax.model.layers import rows_split
        from coderl_jax.model.mesh import current_mesh, spread, spread_own
        from coderl_jax.rollout.collect import deal, seed_of

        config, rows = self.config, []
        everything = bool(self.values or config.terms.kl_weight or config.terms.entropy_weight)
        dealt = [
            batch
            for number in range(config.passes)
            for batch in deal(
                rollout,
                config.updates_per_round,
                config.optimizer.batch_size,
                seed_of(seed, number) if number else seed,
                everything,
                multiple=config.optimizer.accumulate * rows_split(current_mesh()),
            )
        ]
        for part, tokens, programs in dealt:
            key = jax.random.fold_in(self.key, self.state.step)
            batch = spread(RLBatch.of(part, tokens, programs, config.lengths))
            gradient, told = self.rl_gradient(self.state.params, batch, key, *self.critic_params)
            logged = {"rl_loss": told["loss"]}
            if self.values:
                logged |= self.values.update(part)
            if self.supervised is not None:
                text = spread_own(TextBatch.of(next(self.supervised), config.lengths), config.optimizer.batch_size)
                ce_gradient, told = self.ce_gradient(self.state.params, text, key)
                gradient, logged["ce_loss"] = weighted_sum(gradient, ce_gradient, self.weights), told["loss"]
            self.state, applied = self.apply(self.state, gradient, logged.get("ce_loss", np.float32(0)))
            rows.append({**logged, **applied})
        return mean_of(rows)

    def _drift(self, rollout: Any) -> dict[str, float]:
        """KL to the start and entropy, on programs from all over the round."""
        import jax
        import numpy as np

        from coderl_jax.learner.steps import TextBatch
        from coderl_jax.model.mesh import spread

        count = len(rollout.outcome)
        rows = np.linspace(0, count - 1, min(count, self.config.optimizer.batch_size)).astype(int)
        text = spread(TextBatch(*(array[rows] for array in TextBatch.of(rollout, self.config.lengths))))
        return {name: float(value) for name, value in jax.device_get(self.drift(self.state.params, self.actor.params, text)).items()}

    def _problems_of(self, at: int) -> list[int]:
        """The problems of round `at`."""
        from train.rounds import problems_of, problems_of_level

        config = self.config
        if at <= config.curriculum:
            return problems_of_level(self.levels, at, config.curriculum, config.problems_per_round, config.seed)
        return problems_of(len(self.requests), at, config.problems_per_round, config.seed)

    def _guard(self, at: int) -> dict[str, Any]:
        """Validate; keep what is best, roll back from what fell too far."""
        from coderl_jax.learner.fit import kept

        value = self.evaluate(self.state.params)["validation_pass@1"]
        row: dict[str, Any] = {"validation_pass@1": value}
        progress = self.progress
        if progress.best is None or value > progress.best:
            self.lost = None
            if kept(lambda: self.actor.save(self.folder / "model", self.state.params)):
                self.best.save(at, self._states(), self._beta())
                progress.best, progress.best_round = value, at
            else:
                self.lost = at
        elif value < progress.best - self.config.guard.max_drop and (restored := self.best.restore(self._states(), progress.best_round)):
            fell = f"validation pass@1 fell from {progress.best:.3f} (round {progress.best_round}) to {value:.3f}"
            row["event"] = self._rolled_back(at, self._taken(*restored), fell)
        return row

    def _skipped(self, at: int, row: dict[str, Any]) -> dict[str, Any]:
        """The row of a round most of whose updates were skipped, after going back to the last checkpoint.

        Raises:
          UserError: there is none yet.
        """
        restored = self.checkpoints.restore(self._states())
        if restored is None:
            raise UserError("rl_loss: expected a finite one, got another before the first checkpoint; lower --learning-rate")
        event = self._rolled_back(at, self._taken(*restored), "most updates were skipped, their loss was not finite or exploded")
        return {name: value for name, value in row.items() if not isinstance(value, float) or math.isfinite(value)} | {"event": event}

    def _rolled_back(self, at: int, restored: Any, why: str) -> str:
        """Take the parameters of an earlier state with a smaller step size, as of the present update; what is to be said."""
        import jax.numpy as jnp

        progress, guard = self.progress, self.config.guard
        progress.rollbacks += 1
        progress.stopped = progress.rollbacks > guard.max_rollbacks
        scale = self.state.step_scale * guard.step_factor
        if self.values:
            self.values.state = self.values.state._replace(step=jnp.copy(self.state.step))
        self.state = restored._replace(step=self.state.step, step_scale=scale)
        self.drawing.forget()
        event = f"{why}: " + (
            f"rolled back, step size x {float(scale):g}" if not progress.stopped else "stopped, the best parameters are kept"
        )
        print(f"round {at}: {event}", file=sys.stderr)
        return event

    def _save(self) -> None:
        from coderl_jax.learner.fit import kept

        extra = {
            "progress": dataclasses.asdict(self.progress),
            "position": self.supervised.state() if self.supervised else None,
            "best_programs": vars(self.best_programs),
            **self._beta(),
        }
        self.checkpoints.wait()
        at, whole = self.progress.round, self.checkpoints.latest or 0
        kept(lambda: self.drawing.save(at, whole))
        self.checkpoints.save(at, self._states(), extra)
        if self.replay:
            self.replay.forget(whole)

    def _states(self) -> Any:
        return (self.state, self.values.state) if self.values else self.state

    def _beta(self) -> dict[str, float]:
        return {"beta": self.values.beta} if self.values else {}

    def _taken(self, states: Any, extra: dict[str, Any]) -> Any:
        """The actor's of states that `_states` gave, after the value model's, where there is one, has been taken with its weight."""
        if self.values:
            (states, self.values.state), self.values.beta = states, extra["beta"]
        return states

    def _resume(self) -> None:
        restored = self.checkpoints.restore(self._states())
        if restored:
            states, extra = restored
            self.progress = Progress(**extra["progress"])
            vars(self.best_programs).update(extra["best_programs"])
            if self.replay:
                self.replay.load(self.progress.round)
            self.state = self._taken(states, extra)
            if self.supervised:
                self.supervised.restore(extra["position"])
            self.drawing.load(self.progress.round)


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[name] = round(time.perf_counter() - began, 3)
