"""The built-in problem source `tiny`: small programming problems, generated, for models that train in minutes.

A problem is a chain of one to three operations (tiny_operations): that is its difficulty. What training lacks decides the
splits: some values of every operation's parameter, and some pairs of operations. Problems with neither are in `train`; the
others are dealt among `practice` (tests, no solutions), `validation` and `test`, which are therefore drawn alike. The deal
goes by what a task computes, not by how it is worded, so no two splits share a computation, and with it no statement and no
solution. What neither training nor the held-out splits hold, though training could, makes up `primer`, which stands in for
pretraining.

Models are trained on these very words: a change of phrases, idioms or draws makes other problems, and a test notices.
"""

import dataclasses
import functools
import itertools
import random
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from coderl_jax.data import tiny_grids, tiny_lists, tiny_numbers, tiny_parsing, tiny_recursion, tiny_sentences, tiny_simulation, tiny_words
from coderl_jax.data.tiny_operations import Kind, Operation, Step, Task, Values
from coderl_jax.data.tiny_tests import Case, battery, draw_tests
from coderl_jax.data.tiny_text import Names, draw_names, line, lines_of, question, solutions, statement
from coderl_jax.files import UserError, shown
from coderl_jax.types import CallTests, Problem, StdinTests, Tests

SIZES = {"train": 1500, "practice": 3000, "validation": 300, "test": 500}
AREAS = {
    "numbers": tiny_numbers.OPERATIONS,
    "lists": tiny_lists.OPERATIONS,
    "words": tiny_words.OPERATIONS,
    "sentences": tiny_sentences.OPERATIONS,
    "grids": tiny_grids.OPERATIONS,
    "recursion": tiny_recursion.OPERATIONS,
    "parsing": tiny_parsing.OPERATIONS,
    "simulation": tiny_simulation.OPERATIONS,
}
"""The families of problems: operations by area."""
OPERATIONS = tuple(itertools.chain.from_iterable(AREAS.values()))

_TRAIN_SHARES = {"single": 0.25, "known pair": 0.55, "known triple": 0.2}
_HELD_OUT_SHARES = {"single": 0.05, "known pair": 0.25, "new pair": 0.45, "known triple": 0.1, "new triple": 0.15}
_HELD_OUT_PAIRS = 45  # per cent of the pairs of operations with a parameter
_PRIMER_WORDINGS = 2  # of a task
_TASKS_PER_PAIR = 16  # choices of parameters that are considered for one pair
_TASKS_PER_TRIPLE = 3  # third operations, and their parameters, that are considered for one pair
_LONGEST_STATEMENT = 520  # characters, examples included
_WITH_PARAMETER = {operation.name for operation in OPERATIONS if operation.has_parameter}
_DIFFICULTIES = {1: "introductory", 2: "interview", 3: "competition"}


def load_tiny(split: str) -> list[Problem]:
    """The problems of a split: train (1,500), practice (3,000), validation (300) or test (500); or the primer (about 13,000).

    Always the same ones. Those of practice carry no solutions; `generate` has them. The primer is to these
    problems what a corpus of programs is to a benchmark: a new model reads it once, before it is trained on `train`.

    Raises:
      UserError: an unknown split.
    """
    if split == "primer":
        return list(_primer())
    if split not in SIZES:
        raise UserError(f"tiny: split: expected one of {', '.join(SIZES)} or primer, got {shown(split)}; choose one")
    problems = [problem for _, problem in generate(split)]
    if split == "practice":
        return [dataclasses.replace(problem, solutions=()) for problem in problems]
    return problems


@functools.cache
def generate(split: str) -> tuple[tuple[Task, Problem], ...]:
    """The tasks of a split and the problems made of them, solutions included."""
    made, statements = [], set()
    for group, share in (_TRAIN_SHARES if split == "train" else _HELD_OUT_SHARES).items():
        end = len(made) + round(share * SIZES[split])
        for task, problem in _in_turn(_queues(split, group)):
            if problem.statement not in statements:
                statements.add(problem.statement)
                made.append((task, problem))
            if len(made) == end:
                break
    random.Random(f"tiny order {split}").shuffle(made)
    return tuple((task, dataclasses.replace(problem, id=f"tiny/{split}/{i:04d}")) for i, (task, problem) in enumerate(made))


@functools.cache
def _primer() -> tuple[Problem, ...]:
    """The primer: each of its tasks in several wordings.

    Half of the wordings come without their examples: among the numbers of examples a small model is slow to find the one that
    a program has to copy.
    """
    told: dict[str, Problem] = {}
    for task, problem in _problems(primer_tasks(), "primer", copies=_PRIMER_WORDINGS):
        bare = zlib.crc32(f"{task.name} {problem.statement}".encode()) % 2
        text = question(problem.statement) if bare else problem.statement
        told.setdefault(text, dataclasses.replace(problem, statement=text))
    problems = list(told.values())
    random.Random("tiny order primer").shuffle(problems)
    return tuple(dataclasses.replace(problem, id=f"tiny/primer/{i:05d}") for i, problem in enumerate(problems))


def primer_tasks() -> list[Task]:
    """What training could have asked and does not: operations and values that it may know, in other combinations."""
    known = _pools()["train", "known pair"] + _pools()["train", "known triple"]
    computations = dict(known)
    asked = {computations.get(task) for task, _ in generate("train")}
    return [task for task, computation in known if computation not in asked]


def _queues(split: str, group: str) -> list[Iterator[tuple[Task, Problem]]]:
    """Problems for a split, one queue an operation or pair of operations, all in a random order."""
    rng = random.Random(f"tiny order {split} {group}")
    by_operations: dict[tuple[str, ...], list[Task]] = {}
    for task, computation in _pools()["train" if split == "train" else "held out", group]:
        if split == "train" or _dealt_to(computation) == split:
            by_operations.setdefault(task.operations, []).append(task)
    queues = list(by_operations.values())
    for queue in queues:
        rng.shuffle(queue)
    rng.shuffle(queues)
    return [_problems(queue, split, copies=3 if group == "single" else 1) for queue in queues]


def _problems(tasks: list[Task], split: str, copies: int) -> Iterator[tuple[Task, Problem]]:
    """Problems of tasks that have good tests, each task in `copies` wordings."""
    for copy, task in itertools.product(range(copies), tasks):
        problem = _problem(task, split, copy)
        if problem is not None:
            yield task, problem


def _in_turn(queues: list[Iterator]) -> Iterator:
    """One item of every queue in turn until all are empty."""
    while queues:
        left = []
        for queue in queues:
            item = next(queue, None)
            if item is not None:
                left.append(queue)
                yield item
        queues = left


@functools.cache
def _pools() -> dict[tuple[str, str], list[tuple[Task, int]]]:
    """All tasks with their computations: `train` or `held out`, and what kind of chain (`_group`).

    Left out are chains that compute what a shorter one does, and held-out tasks that compute what a training task does.
    """
    tasks, shorter = [], set()
    for chains in (_singles(), _pairs(), _triples()):
        new = [(task, _group(task), computation) for task in chains if (computation := _computation(task)) not in shorter]
        shorter |= {computation for _, _, computation in new}
        tasks += new
    pools: dict[tuple[str, str], list[tuple[Task, int]]] = {}
    trained, held_out = set(), []
    for task, group, computation in tasks:
        if not group.startswith("new") and all(step.value not in step.operation.held_out for step in task.steps):
            pools.setdefault(("train", group), []).append((task, computation))
            trained.add(computation)
        else:
            held_out.append((task, group, computation))
    for task, group, computation in held_out:
        if computation not in trained:
            pools.setdefault(("held out", group), []).append((task, computation))
    return pools


def _group(task: Task) -> str:
    """A single operation, or a pair or triple that training knows or lacks: it lacks a triple whose first or last two it lacks."""
    if len(task.steps) == 1:
        return "single"
    new = any(itertools.starmap(_is_held_out_pair, itertools.pairwise(task.operations)))
    return f"{'new' if new else 'known'} {'pair' if len(task.steps) == 2 else 'triple'}"


def _is_held_out_pair(first: str, second: str) -> bool:
    """Whether training lacks the pair. Pairs without any parameter have one task each, too few to deal: training has them."""
    return bool({first, second} & _WITH_PARAMETER) and zlib.crc32(f"{first} > {second}".encode()) % 100 < _HELD_OUT_PAIRS


def _dealt_to(computation: int) -> str:
    """The split that a held-out computation belongs to."""
    place = computation % (SIZES["practice"] + SIZES["validation"] + SIZES["test"])
    return "test" if place < SIZES["test"] else "validation" if place < SIZES["test"] + SIZES["validation"] else "practice"


def _steps(operation: Operation) -> list[Step]:
    if not operation.has_parameter:
        return [Step(operation)]
    settled = [Step(operation, value) for value in operation.values]
    return [*settled, Step(operation, given=True)]


def _singles() -> Iterator[Task]:
    """Tasks of one step."""
    for step in itertools.chain.from_iterable(map(_steps, OPERATIONS)):
        yield Task((step,))


def _pairs() -> Iterator[Task]:
    """Tasks of two steps, up to `_TASKS_PER_PAIR` of a pair of operations."""
    steps = {operation.name: _steps(operation) for operation in OPERATIONS}
    for before, after in itertools.product(OPERATIONS, OPERATIONS):
        if before.gives != after.takes:
            continue
        chains = [(first, second) for first in steps[before.name] for second in steps[after.name] if not (first.given and second.given)]
        if len(chains) > _TASKS_PER_PAIR:
            chains = random.Random(f"tiny pair {before.name} {after.name}").sample(chains, _TASKS_PER_PAIR)
        yield from map(Task, chains)


def _triples() -> Iterator[Task]:
    """Tasks of three steps: `_TASKS_PER_TRIPLE` for each pair of operations."""
    steps = {operation.name: _steps(operation) for operation in OPERATIONS}
    takers: dict[Kind, list[Operation]] = {}
    for operation in OPERATIONS:
        takers.setdefault(operation.takes, []).append(operation)
    for before, middle in itertools.product(OPERATIONS, OPERATIONS):
        last = takers.get(middle.gives)
        if before.gives != middle.takes or not last:
            continue
        rng = random.Random(f"tiny triple {before.name} {middle.name}")
        for after in rng.sample(last, min(_TASKS_PER_TRIPLE, len(last))):
            chain = [rng.choice(steps[operation.name]) for operation in (before, middle, after)]
            if sum(step.given for step in chain) <= 1:
                yield Task(tuple(chain))


@functools.cache
def _inputs(kind: Kind, given: Values | None) -> tuple[list[Any], list[Any]]:
    """The battery of inputs, and a parameter for each where one is given."""
    inputs = battery(kind)
    values = given or (None,)
    return inputs, [values[i % len(values)] for i in range(len(inputs))]


@functools.cache
def _after(first: Step, given: Values | None) -> list[Any]:
    """What a first step makes of the battery of inputs."""
    return first.apply(*_inputs(first.operation.takes, given))


def _computation(task: Task) -> int:
    """A number that tasks share when they compute the same (from the same kinds of input)."""
    _, given = _inputs(task.takes, task.given)
    outputs = _after(task.steps[0], task.given)
    for step in task.steps[1:]:
        outputs = step.apply(outputs, given)
    return zlib.crc32(f"{task.takes} {task.given} {outputs}".encode())


def _problem(task: Task, split: str, copy: int) -> Problem | None:
    """A problem that asks for the task; None where no tests can tell it from simpler ones."""
    rng = random.Random(f"tiny {task.name} {copy}")
    tests = draw_tests(task, rng)
    if tests is None:
        return None
    names = draw_names(task, rng)
    call_based = (zlib.crc32(task.name.encode()) + copy) % 2 == 0
    examples, hidden = tests
    text = statement(task, names, call_based, examples, rng)
    programs = solutions(task, names, call_based, rng)
    if len(programs) < 2 or len(text) > _LONGEST_STATEMENT:
        return None
    return Problem(
        id=f"tiny/{split}",
        statement=text,
        starter_code=names.starter_code if call_based else None,
        example_tests=_tests(names, call_based, examples),
        hidden_tests=_tests(names, call_based, hidden),
        solutions=programs,
        difficulty=_DIFFICULTIES[len(task.steps)],
    )


def _tests(names: Names, call_based: bool, cases: Iterable[Case]) -> Tests:
    inputs, outputs = zip(*cases, strict=True)
    if call_based:
        return CallTests(fn_name=names.function, inputs=inputs, outputs=outputs)
    return StdinTests(inputs=tuple(lines_of(arguments) for arguments in inputs), outputs=tuple(map(line, outputs)))
