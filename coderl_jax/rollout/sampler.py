"""Jitted batch sampling: prompts in, programs out.

The life of a batch: p prompts of similar length are padded to one of few lengths; the encoder runs once a prompt; its n
programs share the prompt's cross-attention keys and values; `decode` writes tokens until every row has ended.
"""

import dataclasses
import functools
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from coderl_jax.config import Lengths, ModelShape, Sampling
from coderl_jax.data.prompts import generation_prompt, prompt_tokens
from coderl_jax.data.tokenizer import Tokenizer
from coderl_jax.model.mesh import current_mesh, rows_split, spread
from coderl_jax.model.t5 import empty_cache
from coderl_jax.rollout.decode import DecodeState, decode, row_keys
from coderl_jax.types import Program, PublicProblem

WINDOW = 8
"""Batches a window."""


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
    return WINDOW * max(1, sampling.rows_per_batch // sampling.num_samples)


def padded_length(length: int) -> int:
    """The compiled length that holds `length` tokens: multiples of 64, of 128 from 512 on. Every length compiled costs seconds."""
    step = 64 if length <= 512 else 128
    return -(-length // step) * step


class Sampler:
    """Draws programs from an actor.

    At fixed compiled shapes (rows a batch, padded prompt length) a program depends on parameters, prompt, prefix, seed,
    problem id and index only: it does not change with who shares the batch.
    """

    def __init__(self, graphdef: Any, shape: ModelShape, tokenizer: Tokenizer, lengths: Lengths, sampling: Sampling):
        self.tokenizer = tokenizer
        self.lengths = lengths
        self.sampling = sampling
        self._run = jax.jit(functools.partial(_decode_batch, graphdef, shape, tokenizer, sampling.top_k, sampling.top_p))

    def sample(
        self, params: Any, requests: Sequence[Request], seed: int, temperatures: Sequence[float] | None = None
    ) -> Iterator[tuple[int, list[Program]]]:
        """Yield (position in `requests`, its programs) batch by batch, prompts of similar length together.

        Args:
          params: the actor's parameters.
          requests: what to draw, any number of programs each.
          seed: of the random numbers.
          temperatures: one a program of a request; None: the configured one for all.
        """
        if not requests:
            return
        widest = max(len(request.prefixes) for request in requests)
        heat = [self.sampling.temperature] * widest if temperatures is None else list(temperatures)
        height, columns = self._shape(widest)
        order = sorted(range(len(requests)), key=lambda i: (len(requests[i].prompt), i))
        # A row of a batch holds up to `columns` programs of one prompt; a request with more of them has several rows.
        rows = [(position, left) for position in order for left in range(0, len(requests[position].prefixes), columns)]
        yield from ((position, []) for position, request in enumerate(requests) if not request.prefixes)
        drawn: dict[int, list[Program]] = {}
        for start in range(0, len(rows), height):
            chosen = rows[start : start + height]
            state = self._batch(params, [(requests[position], left) for position, left in chosen], seed, heat, height, columns)
            for row, (position, left) in enumerate(chosen):
                programs = drawn.setdefault(position, [])
                programs += self._programs(requests[position], state, row, left)
                if len(programs) == len(requests[position].prefixes):
                    yield position, drawn.pop(position)

    def _shape(self, widest: int) -> tuple[int, int]:
        """Rows of a batch and programs of a row; the devices that split a batch get as many rows each."""
        parts = rows_split(current_mesh())
        columns = min(widest, max(1, self.sampling.rows_per_batch // parts))
        return parts * max(1, self.sampling.rows_per_batch // columns // parts), columns

    def _batch(self, params, block: list[tuple[Request, int]], seed: int, heat: list[float], height: int, columns: int) -> DecodeState:
        """Decode `columns` programs of each request from the one named on; empty places hold a row that ends at once."""
        length, end = self.lengths.max_new_tokens, self.tokenizer.eos
        width = padded_length(max(len(request.prompt) for request, _ in block))
        source = np.full((height, width), self.tokenizer.pad, np.int32)
        source_mask = np.zeros((height, width), bool)
        source_mask[:, 0] = True  # an empty row still attends somewhere
        prefix = np.full((height, columns, length), end, np.int32)
        prefix_length = np.ones((height, columns), np.int32)
        temperature = np.full((height, columns), 1.0, np.float32)
        problem = np.zeros(height, np.uint32)
        index = np.zeros((height, 1), np.uint32)
        for row, (request, left) in enumerate(block):
            source[row, : len(request.prompt)] = request.prompt
            source_mask[row, : len(request.prompt)] = True
            for column, start in enumerate(request.prefixes[left : left + columns]):
                prefix[row, column, : len(start)] = start[:length]
                prefix_length[row, column] = min(len(start), length)
            temperature[row, : len(heat[left : left + columns])] = heat[left : left + columns]
            problem[row] = zlib.crc32(request.problem_id.encode())
            index[row] = request.first_index + left
        sample = index + np.arange(columns, dtype=np.uint32)
        arrays = spread((source, source_mask, problem, sample, temperature, prefix, prefix_length))
        return jax.device_get(self._run(params, *arrays, np.uint32(seed & 0xFFFFFFFF)))

    def _programs(self, request: Request, state: DecodeState, row: int, left: int) -> list[Program]:
        programs = []
        for column in range(min(len(request.prefixes) - left, state.tokens.shape[1])):
            tokens = state.tokens[row, column]
            ends = np.flatnonzero(tokens == self.tokenizer.eos)
            written = tokens[: ends[0] + 1] if len(ends) else tokens[: int(state.position)]
            ids = tuple(int(token) for token in written)
            programs.append(
                Program(
                    problem_id=request.problem_id,
                    index=request.first_index + left + column,
                    program=self.tokenizer.decode(list(ids)),
                    tokens=ids,
                    logprob=float(np.sum(state.logprobs[row, column], dtype=np.float64)),
                )
            )
        return programs


def _decode_batch(
    graphdef, shape, tokenizer, top_k, top_p, params, source, source_mask, problem, sample, temperature, prefix, prefix_length, seed
) -> DecodeState:
    """Encode, share the cross-attention keys among a prompt's rows, decode. The cache is dropped from the answer."""
    model = nnx.merge(graphdef, params)
    height, columns, length = prefix.shape
    cross = model.cross_keys_values(model.encode(source, source_mask))

    def step(tokens, position, cache):
        hidden, cache = model.decode_step(tokens, position, cache, cross, source_mask)
        logits = model.logits(hidden)
        if tokenizer.size < shape.vocab_size:  # rows that pad the embedding to a round size stand for no text
            logits = jnp.where(jnp.arange(shape.vocab_size) < tokenizer.size, logits, -jnp.inf)
        return logits, cache

    state = decode(
        step,
        empty_cache(shape, height, columns, length, model.dtype),
        row_keys(jax.random.key(seed), problem, sample),
        temperature,
        prefix,
        prefix_length,
        top_k=top_k,
        top_p=top_p,
        start_id=tokenizer.pad,
        end_id=tokenizer.eos,
        pad_id=tokenizer.pad,
    )
    return state._replace(cache=jnp.zeros(()))
