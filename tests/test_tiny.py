"""The built-in problems: right, told apart by their tests, and split so that no split knows another's problems."""

import ast
import collections
import contextlib
import copy
import hashlib
import io
import itertools
import json
import random
import statistics

import pytest

from coderl_jax.data import tiny
from coderl_jax.data.examples import extract_examples
from coderl_jax.data.tiny_operations import Step, Task
from coderl_jax.data.tiny_tests import battery
from coderl_jax.data.tiny_text import Names, line, solutions, statement
from coderl_jax.data.tokenizer import train_tokenizer
from coderl_jax.files import UserError
from coderl_jax.rows import problem_to_json
from coderl_jax.types import CallTests

SPLITS = ("train", "practice", "validation", "test")
OPERATIONS = {operation.name: operation for operation in tiny.OPERATIONS}

# Models are trained on these words. Whoever changes them on purpose updates the digests and trains the models again.
FROZEN = {
    "train": "514cb61dea78bb0f",
    "practice": "e1f066acfb107589",
    "validation": "a352a5139670df9a",
    "test": "5c1d46e902ed7cce",
}


def _all_solutions(split):
    return [solution for _, problem in tiny.generate(split) for solution in problem.solutions]


def _outputs(program, tests):
    """What a trusted program gives on the tests' inputs."""
    if isinstance(tests, CallTests):
        names = {}
        exec(program, names)
        return tuple(names[tests.fn_name](*copy.deepcopy(arguments)) for arguments in tests.inputs)
    code = compile(program, "program", "exec")
    outputs = []
    for text in tests.inputs:
        lines, printed = iter(text.splitlines()), io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, {"input": lambda lines=lines: next(lines)})
        outputs.append(printed.getvalue())
    return tuple(outputs)


@pytest.mark.parametrize("split", SPLITS)
def test_wording_is_frozen(split):
    rows = "\n".join(json.dumps(problem_to_json(problem)) for problem in tiny.load_tiny(split))
    assert hashlib.sha256(rows.encode()).hexdigest()[:16] == FROZEN[split]


def test_splits_have_their_sizes_and_ids_count_up():
    sizes = {"train": 1500, "practice": 3000, "validation": 300, "test": 500}
    for split, size in sizes.items():
        assert [problem.id for problem in tiny.load_tiny(split)] == [f"tiny/{split}/{i:04d}" for i in range(size)]


def test_unknown_split_is_a_user_error():
    with pytest.raises(UserError, match="split: expected one of train, practice, validation, test or primer, got 'dev'"):
        tiny.load_tiny("dev")


@pytest.fixture(scope="module")
def primer():
    """Made once: it takes long."""
    return tiny.load_tiny("primer")


def test_the_primer_shares_nothing_with_any_split(primer):
    statements = {problem.statement for problem in primer}
    programs = {solution for problem in primer for solution in problem.solutions}
    assert len(statements) == len(primer) > 10_000
    for split in SPLITS:
        assert not statements & {problem.statement for problem in tiny.load_tiny(split)}
        assert not programs & set(_all_solutions(split))


def test_the_primer_knows_what_training_knows():
    primed = set().union(*map(_pairs, tiny.primer_tasks()))
    new_pairs = set().union(*(_pairs(task) for split in SPLITS[1:] for task, _ in tiny.generate(split))) - primed
    assert len(new_pairs) > 800
    assert statistics.mean(itertools.starmap(tiny._is_held_out_pair, new_pairs)) > 0.9
    assert not any(tiny._is_held_out_pair(*pair) for pair in primed)
    for task in tiny.primer_tasks():
        assert all(step.value not in step.operation.held_out for step in task.steps)


def test_half_of_the_primer_comes_without_examples(primer):
    shown = [extract_examples(problem.statement, problem.starter_code) is not None for problem in primer[::4]]
    assert 0.45 < statistics.mean(shown) < 0.55
    for problem in primer[:500]:
        assert extract_examples(problem.statement, problem.starter_code) in (None, problem.example_tests)


def test_only_practice_hides_its_solutions():
    for split in ("train", "validation", "test"):
        assert all(len(set(problem.solutions)) >= 2 for problem in tiny.load_tiny(split))
    practice = tiny.load_tiny("practice")
    assert all(problem.solutions == () for problem in practice)
    whole = [problem for _, problem in tiny.generate("practice")]
    assert [problem.id for problem in whole] == [problem.id for problem in practice]
    assert all(len(set(problem.solutions)) >= 2 for problem in whole)


def test_a_task_chains_its_operations():
    task = Task((Step(OPERATIONS["keep even"]), Step(OPERATIONS["sum"])))
    assert task.trace([[[1, 2, 4]], [[1, 3]]]) == [[[2, 4], []], [6, 0]]
    task = Task((Step(OPERATIONS["keep even"]), Step(OPERATIONS["largest"])))
    assert task.trace([[[1, 2, 4]], [[1, 3]]]) == [[[2, 4], []], [4, None]]  # of nothing, none is the largest
    task = Task((Step(OPERATIONS["keep greater"], given=True), Step(OPERATIONS["occurrences"], 7)))
    assert task.trace([[[7, 2, 7, 9], 3], [[7, 2, 7, 9], 8]]) == [[[7, 7, 9], [9]], [2, 0]]
    task = Task((Step(OPERATIONS["no vowels"]), Step(OPERATIONS["wrapped"], "a")))
    assert task.trace([["tree"]]) == [["tr"], ["atra"]]


def test_statements_and_solutions_read_as_one_would_write_them():
    task = Task((Step(OPERATIONS["keep even"]), Step(OPERATIONS["sum"])))
    names = Names("f", "nums", "", ("b", "t"))
    examples = [([[1, 2, 4]], 6), ([[8, 3]], 8)]
    texts = [statement(task, names, True, examples, random.Random(seed)).partition("\n\n") for seed in range(3000)]
    questions, shown = {question for question, _, _ in texts}, {examples for _, _, examples in texts}
    assert "Given a list of integers nums, let b be the numbers in nums that are even. Return the sum of b." in questions
    assert "You are given a list nums of numbers. First find all values of nums that are even. Then return the sum of that list." in (
        questions
    )
    assert len(questions) > 200
    assert shown == {
        "f([1, 2, 4]) == 6\nf([8, 3]) == 8",
        ">>> f([1, 2, 4])\n6\n>>> f([8, 3])\n8",
        "Example 1:\nInput: nums = [1, 2, 4]\nOutput: 6\nExample 2:\nInput: nums = [8, 3]\nOutput: 8",
    }
    programs = {program for seed in range(200) for program in solutions(task, names, True, random.Random(seed))}
    assert "def f(nums):\n    b = list(filter(lambda v: v % 2 == 0, nums))\n    return sum(b)\n" in programs
    assert "def f(nums):\n    b = [v for v in nums if v % 2 == 0]\n    return sum(b)\n" in programs


def test_every_idiom_computes_what_its_operation_says():
    for operation in tiny.OPERATIONS:
        values = [None] if not operation.has_parameter else operation.values[::4]
        inputs = [x for x in battery(operation.takes) if operation.defined(x)][:40]
        for idiom, value in itertools.product(operation.codes, values):
            code = idiom.replace("{x}", "data").replace("{k}", json.dumps(value)).replace("{y}", "made")
            code = compile(code if "{y}" in idiom else f"made = {code}", operation.name, "exec")
            outputs = Step(operation, value).apply(copy.deepcopy(inputs), [None] * len(inputs))
            for x, expected in zip(inputs, outputs, strict=True):
                space = {"data": copy.deepcopy(x)}
                exec(code, space)
                assert (space["made"], type(space["made"])) == (expected, type(expected)), (operation.name, idiom, value, x)
                assert space["data"] == x, (operation.name, idiom)  # the input is left as it was


def test_idioms_use_no_name_of_an_input_or_a_result():
    taken = {"n", "num", "x", "nums", "arr", "a", "s", "text", "name", "names", "items", "parts", "k", "m", "ch"}
    taken |= {"b", "g", "t", "u", "r", "q", "out", "res", "ans", "result", "solve", "f", "compute", "transform", "process"}
    for operation in tiny.OPERATIONS:
        for idiom in operation.codes:
            tree = ast.parse(idiom.replace("{x}", "INPUT").replace("{k}", "PARAMETER").replace("{y}", "RESULT"))
            used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
            used |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
            assert not used & taken, (operation.name, idiom)


@pytest.mark.parametrize("split", SPLITS)
def test_every_solution_passes_every_test(split):
    for task, problem in tiny.generate(split):
        for program, tests in itertools.product(problem.solutions, (problem.example_tests, problem.hidden_tests)):
            outputs = _outputs(program, tests)
            assert outputs == tests.outputs, (problem.id, task.name, program)
            assert list(map(type, outputs)) == list(map(type, tests.outputs)), (problem.id, program)


@pytest.mark.parametrize("split", SPLITS)
def test_example_tests_are_what_the_statement_shows(split):
    for problem in tiny.load_tiny(split):
        assert extract_examples(problem.statement, problem.starter_code) == problem.example_tests, problem.statement


def test_tests_are_enough_varied_and_apart_from_the_examples():
    for _, problem in itertools.chain.from_iterable(map(tiny.generate, SPLITS)):
        shown, hidden = problem.example_tests, problem.hidden_tests
        assert 2 <= len(shown) <= 3
        assert 6 <= len(hidden) <= 10
        inputs = [json.dumps(value) for value in (*shown.inputs, *hidden.inputs)]
        assert len(set(inputs)) == len(inputs), problem.id
        counts = collections.Counter(map(repr, hidden.outputs))
        assert max(counts.values()) <= len(hidden) - 2, problem.id  # a constant fails at least twice


def _cases(task, problem):
    """Arguments of the hidden tests as values, and outputs as the tests have them."""
    tests = problem.hidden_tests
    if isinstance(tests, CallTests):
        return list(zip(tests.inputs, tests.outputs, strict=True))
    read = {"int": int, "ints": lambda text: [int(v) for v in text.split()], "words": str.split}
    read_given = str if task.given_is_letter else int
    cases = []
    for text, output in zip(tests.inputs, tests.outputs, strict=True):
        first, *rest = text.splitlines()
        if task.takes == "grid":
            value, rest = [read["ints"](row) for row in rest[: int(first)]], rest[int(first) :]
        else:
            value = read.get(task.takes, str)(first)
        cases.append(([value, *map(read_given, rest)], output))
    return cases


def _passes(task, cases):
    outputs = task.trace([arguments for arguments, _ in cases])[-1]
    return all(output == wanted or line(output) == wanted for output, (_, wanted) in zip(outputs, cases, strict=True))


def test_hidden_tests_reject_a_skipped_step():
    skipped = 0
    for task, problem in itertools.chain.from_iterable(map(tiny.generate, SPLITS)):
        cases = _cases(task, problem)
        assert _passes(task, cases)
        for index, step in enumerate(task.steps):
            if len(task.steps) > 1 and step.operation.takes == step.operation.gives:
                assert not _passes(Task(task.steps[:index] + task.steps[index + 1 :]), cases), (problem.id, task.name)
                skipped += 1
    assert skipped > 2000


def test_hidden_tests_reject_another_parameter():
    tried, passed = 0, 0
    for task, problem in itertools.chain.from_iterable(map(tiny.generate, SPLITS)):
        cases = _cases(task, problem)
        for index, step in enumerate(task.steps):
            if step.value is None:
                continue
            values = [value for value in step.operation.values if value != step.value]
            if isinstance(step.value, int):
                values = sorted(values, key=lambda value, own=step.value: abs(value - own))[:2]
            others = [Task((*task.steps[:index], Step(step.operation, value), *task.steps[index + 1 :])) for value in values]
            found = sum(_passes(other, cases) for other in others)
            assert found == 0 or isinstance(step.value, str), (problem.id, task.name)
            tried, passed = tried + len(others), passed + found
    assert tried > 10_000
    assert passed < 0.03 * tried


def _pairs(task):
    """Neighbouring operations."""
    return set(itertools.pairwise(task.operations))


def _steps(split):
    return [(step.operation.name, step.value) for task, _ in tiny.generate(split) for step in task.steps]


def test_nothing_is_said_twice_and_no_split_shares_a_statement_or_a_solution():
    statements = [problem.statement for split in SPLITS for problem in tiny.load_tiny(split)]
    assert len(set(statements)) == len(statements) == 5300
    programs = {split: set(_all_solutions(split)) for split in SPLITS}
    for one, other in itertools.combinations(SPLITS, 2):
        assert not programs[one] & programs[other]


def test_no_split_shares_a_computation():
    def computation(task):
        """Outputs on fixed inputs, whatever the wording."""
        values = [None] if task.given is None else task.given
        arguments = [[x] if value is None else [x, value] for x, value in zip(battery(task.takes), itertools.cycle(values))]
        return task.takes, values[0], repr(task.trace(arguments)[-1])

    computed = {split: {computation(task) for task, _ in tiny.generate(split)} for split in SPLITS}
    for one, other in itertools.combinations(SPLITS, 2):
        assert not computed[one] & computed[other]


def test_training_teaches_every_operation_alone_and_in_company():
    train = tiny.generate("train")
    alone = {task.operations[0] for task, _ in train if len(task.steps) == 1}
    assert alone == set(OPERATIONS)
    pairs = set().union(*(_pairs(task) for task, _ in train))
    company = collections.Counter(name for pair in pairs for name in set(pair))
    seldom = {name for name in OPERATIONS if company[name] < 3}
    assert len(seldom) < 10
    assert all(OPERATIONS[name].gives == "bool" for name in seldom if not company[name])  # what ends a chain and begins it too
    values = collections.defaultdict(set)
    for name, value in _steps("train"):
        values[name].add(value)
    for operation in tiny.OPERATIONS:
        literal = values[operation.name] - {None}
        assert not literal & operation.held_out
        assert not operation.has_parameter or len(literal) >= 2


def test_most_held_out_problems_hold_what_training_lacks():
    values = set(_steps("train"))
    for split in ("practice", "validation", "test"):
        tasks = [task for task, _ in tiny.generate(split)]
        new_pair = [any(itertools.starmap(tiny._is_held_out_pair, _pairs(task))) for task in tasks]
        new_value = [any((step.operation.name, step.value) not in values for step in task.steps) for task in tasks]
        assert all(map(max, new_pair, new_value))
        assert 0.5 < statistics.mean(new_pair) < 0.7
        assert 0.5 < statistics.mean(new_value) < 0.7


def test_practice_validation_and_test_are_drawn_alike():
    def mix(split):
        tasks = [task for task, _ in tiny.generate(split)]
        shares = {
            **{f"{steps} steps": lambda task, steps=steps: len(task.steps) == steps for steps in (1, 2, 3)},
            "given": lambda task: task.given is not None,
            **{
                f"takes {kind}": lambda task, kind=kind: task.takes == kind
                for kind in ("int", "ints", "word", "words", "grid", "sum", "moves")
            },
            **{f"gives {kind}": lambda task, kind=kind: task.gives == kind for kind in ("int", "ints", "word", "words", "grid", "bool")},
        }
        return {name: statistics.mean(map(holds, tasks)) for name, holds in shares.items()}

    practice = mix("practice")
    for split in ("validation", "test"):
        assert mix(split) == pytest.approx(practice, abs=0.07)
    known = set().union(*(_pairs(task) for task, _ in tiny.generate("practice")))
    assert statistics.mean(pair in known for task, _ in tiny.generate("test") for pair in _pairs(task)) > 0.8


def test_form_follows_kind_and_difficulty_follows_steps():
    for split in SPLITS:
        by_kind = collections.Counter()
        for task, problem in tiny.generate(split):
            assert problem.difficulty == {1: "introductory", 2: "interview", 3: "competition"}[len(task.steps)]
            assert problem.call_based == (problem.starter_code is not None)
            if problem.call_based:
                assert problem.starter_code.startswith(f"def {problem.hidden_tests.fn_name}(")
                assert all(program.startswith(problem.starter_code) for program in problem.solutions)
            by_kind[problem.call_based] += 1
        assert 0.4 < by_kind[True] / len(tiny.load_tiny(split)) < 0.6


def test_statements_and_programs_are_short_for_a_small_tokenizer():
    train = tiny.load_tiny("train")
    tokenizer = train_tokenizer([text for problem in train for text in (problem.statement, *problem.solutions)], 800)
    for split in ("train", "test"):
        statements = [len(tokenizer.encode(problem.statement)) for problem in tiny.load_tiny(split)]
        programs = [len(tokenizer.encode(program)) for program in _all_solutions(split)]
        assert statistics.median(statements) <= 100
        assert max(statements) <= 200
        assert statistics.median(programs) <= 55
        assert max(programs) < 128
