"""Prompts in, programs out.

The life of a program: its prompt is encoded, once for all programs of a row of slots, which share the prompt's keys and
values; a slot writes the program token by token (`decode`), a stretch of steps at a time; when it ends, the slot takes a
program that waits (`schedule`), and the finished one is handed out with the last of its prompt.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from coderl_jax.config import Lengths, ModelShape, Sampling
from coderl_jax.data.prompts import generation_prompt, prompt_tokens
from coderl_jax.data.tokenizer import Tokenizer
from coderl_jax.model.cost import slot_bytes
from coderl_jax.model.layers import rows_split
from coderl_jax.model.mesh import current_mesh, device_memory
from coderl_jax.rollout.engine import Compiled, Engine
from coderl_jax.rollout.schedule import FEWEST, Schedule, slots_in_rows
from coderl_jax.types import Program, PublicProblem

WINDOW = 8
"""Batches a window."""
ON_CPU = 256
"""Programs decoded together on a CPU."""
MOST = 1024
"""Programs that another device decodes together, at most: more are hardly quicker."""
STEP = 64
"""What that number is a multiple of, unless memory is very small."""
ROOM = 0.5
"""Share of its memory that their keys and values may fill: an update of RL needs some too."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """Programs wanted for one prompt.

    Attributes:
      problem_id: names the problem; with the seed and a program's index it fixes the random numbers.
      prompt: token ids.
      prefixes: how each program starts (token ids; empty: from nothing). One program each.
      first_index: `Program.index` of the first.
    """

    problem_id: str
    prompt: tuple[int, ...]
    prefixes: tuple[tuple[int, ...], ...]
    first_index: int = 0


def requests_for(
    problems: Sequence[PublicProblem], tokenizer: Tokenizer, lengths: Lengths, count: int, first_index: int = 0
) -> tuple[list[Request], int]:
    """A request of `count` programs from nothing for every problem, and how many prompts had to be cut."""
    requests, cut = [], 0
    for problem in problems:
        prompt, was_cut = prompt_tokens(tokenizer, generation_prompt(problem), lengths.max_prompt_tokens)
        cut += was_cut
        requests.append(Request(problem_id=problem.id, prompt=tuple(prompt), prefixes=((),) * count, first_index=first_index))
    return requests, cut


def window_of(sampling: Sampling) -> int:
    """Problems worked on between two writes, so many batches of them; within a window those of similar length share a batch."""
    return WINDOW * max(1, usual_batch(sampling) // sampling.num_samples)


def usual_batch(sampling: Sampling) -> int:
    """Programs handled together where no device has a say: `--rows-per-batch`, or a CPU's number."""
    return sampling.rows_per_batch or ON_CPU


def slots_for(
    sampling: Sampling,
    shape: ModelShape,
    lengths: Lengths,
    width: int,
    memory: float | int | None,
    *,
    on_cpu: bool = False,
    devices: int = 1,
) -> int:
    """Programs decoded together: `--rows-per-batch`, or what suits the device.

    Args:
      sampling: how they are drawn.
      shape: the actor's.
      lengths: of prompts and programs.
      width: bytes of a number of the cache.
      memory: of a device, bytes; None: unknown, and taken for enough.
      on_cpu: whether it is a CPU.
      devices: that share the programs.
    """
    if sampling.rows_per_batch or on_cpu:
        return usual_batch(sampling)
    width = 1 if sampling.sampling_cache == "int8" else width
    each = slot_bytes(shape, lengths.max_prompt_tokens, lengths.max_new_tokens, min(sampling.num_samples, FEWEST), width)
    fitting = MOST if memory is None else min(MOST, max(1, int(ROOM * memory / each)))
    return devices * (fitting - fitting % STEP or fitting)


class Sampler:
    """Draws programs from an actor.

    At fixed compiled shapes (rows and slots a row, padded prompt length, cache length) a program depends on parameters, prompt,
    prefix, seed, problem id and index only: it does not change with who shares the batch.

    Attributes:
      tokenizer: the actor's.
      lengths: of prompts and programs.
      sampling: how to draw.
      slot_steps: slots times steps run so far.
      tokens_written: so far: the useful ones of `slot_steps`.
    """

    def __init__(self, graphdef: Any, shape: ModelShape, tokenizer: Tokenizer, lengths: Lengths, sampling: Sampling):
        self.tokenizer = tokenizer
        self.lengths = lengths
        self.sampling = sampling
        self.slot_steps = self.tokens_written = 0
        self._compiled = Compiled.of(graphdef, shape, tokenizer.size, tokenizer.eos, sampling)
        self._together: int | None = None

    def sample(
        self, params: Any, requests: Sequence[Request], seed: int, temperatures: Sequence[float] | None = None, window: int | None = None
    ) -> Iterator[tuple[int, list[Program]]]:
        """Yield (position in `requests`, its programs) as soon as they are all there.

        Args:
          params: the actor's parameters.
          requests: what to draw, any number of programs each.
          seed: of the random numbers.
          temperatures: one a program of a request; None: the configured one for all.
          window: requests among which those with prompts of similar length are drawn together; None: all of them.
        """
        yield from ((position, []) for position, request in enumerate(requests) if not request.prefixes)
        order = by_length(requests, window or len(requests))
        if not order:
            return
        counts = [len(requests[position].prefixes) for position in order]
        heat = [self.sampling.temperature] * max(counts) if temperatures is None else temperatures
        rows, columns = slots_in_rows(counts, self._slots(params), rows_split(current_mesh()))
        schedule = Schedule(counts, rows, columns)
        engine = Engine(self._compiled, params, rows, columns, self.lengths.max_new_tokens, self.tokenizer.pad, seed)
        table = engine.table
        drawn: dict[int, dict[int, Program]] = {}
        while True:
            loads, starts = schedule.refill()
            chosen = [requests[order[place]] for _, place in loads]
            engine.load([row for row, _ in loads], [request.problem_id for request in chosen], [request.prompt for request in chosen])
            for row, column, place, index in starts:
                request = requests[order[place]]
                table.begin(row, column, request.first_index + index, heat[index], request.prefixes[index])
            if table.done.all():
                return
            steps, written = table.steps, table.written
            for row, column in engine.run(schedule.waiting()):
                place, index = schedule.ended(row, column)
                programs = drawn.setdefault(place, {})
                programs[index] = self._program(requests[order[place]], index, *table.program(row, column))
                if len(programs) == counts[place]:
                    yield order[place], [program for _, program in sorted(drawn.pop(place).items())]
            self.slot_steps += table.steps - steps
            self.tokens_written += table.written - written

    def _slots(self, params: Any) -> int:
        """See `slots_for`; found out at the first draw."""
        if self._together is None:
            width = jax.eval_shape(self._compiled.ready, params).embedding.dtype.itemsize
            here = {"on_cpu": jax.local_devices()[0].platform == "cpu", "devices": rows_split(current_mesh())}
            self._together = slots_for(self.sampling, self._compiled.shape, self.lengths, width, device_memory(), **here)
        return self._together

    def _program(self, request: Request, index: int, ids: tuple[int, ...], logprob: float) -> Program:
        return Program(
            problem_id=request.problem_id,
            index=request.first_index + index,
            program=self.tokenizer.decode(list(ids)),
            tokens=ids,
            logprob=logprob,
        )


def by_length(requests: Sequence[Request], window: int) -> list[int]:
    """Positions of the requests that want programs, window by window: from short to long prompts in one, back in the next."""
    wanted = [position for position, request in enumerate(requests) if request.prefixes]

    def place(position: int) -> tuple[int, int, int]:
        length, number = len(requests[position].prompt), position // window
        return number, -length if number % 2 else length, position

    return sorted(wanted, key=place)
