"""Inputs and tests of the `tiny` problems: drawn to tell a right program from one that skips a step or mistakes a parameter."""

import copy
import functools
import random
from typing import Any

from coderl_jax.data.tiny_operations import LETTERS, Kind, Step, Task
from coderl_jax.data.tiny_text import is_grid

Case = tuple[list[Any], Any]
"""Arguments and output of one test."""

_POOL = 120  # inputs of one kind to choose from
_DRAWS = 30  # inputs tried for one problem; the first `_EDGES` are edge cases
_EDGES = 3
_ATTEMPTS = 3  # rounds of draws before a task is given up
_LARGEST, _LONGEST_LIST, _LONGEST_WORD = 99999, 10, 20
_LONGEST_EXAMPLE = 52  # characters of an example test as Python writes it
_WORDS = (
    "ant", "apple", "arm", "bag", "ball", "bee", "bell", "book", "box", "bread", "car", "cat", "clock", "cow", "cup", "dad", "dog", "door",
    "egg", "eye", "fish", "foot", "fox", "frog", "goat", "hat", "hill", "horse", "ice", "ink", "jam", "jug", "key", "king", "kite", "lamp",
    "leaf", "level", "milk", "moon", "noon", "nose", "nut", "oak", "oil", "onion", "pea", "pen", "pig", "queen", "radio", "river", "road",
    "rose", "sea", "seed", "sky", "spoon", "star", "sun", "tea", "tree", "tulip", "uncle", "wall", "water", "wind", "wolf", "yard", "year",
    "zebra", "zoo",
)
_LETTERS = "".join(LETTERS)
_VOWELS, _CONSONANTS = "aeiou", "bcdfghjklmnpqrstvwxyz"


def draw_tests(task: Task, rng: random.Random) -> tuple[list[Case], list[Case]] | None:
    """Two or three example tests and six to nine hidden ones, all different; None where the task has none that discriminate.

    Each step, and each parameter's exact value, matters to the output of some hidden test.
    """
    for _ in range(_ATTEMPTS):
        chosen = _choose(task, _candidates(task, rng), rng)
        if chosen is not None:
            return chosen
    return None


def _candidates(task: Task, rng: random.Random) -> list[Case]:
    """Inputs in the domain with outputs of modest size; edge cases (one element, a small number) come first."""
    kind, given = task.takes, task.given
    settled = [step.value for step in task.steps if step.operation.has_parameter and not step.given]
    drawn: dict[str, list[Any]] = {}
    for number in range(_DRAWS):
        parameter = [] if given is None else [rng.choice(given)]
        wanted = rng.choice(settled + parameter) if settled or parameter else None
        arguments = [copy.copy(rng.choice(_inputs(kind, wanted, number < _EDGES))), *parameter]
        drawn[repr(arguments)] = arguments
    outputs = zip(*task.trace(list(drawn.values())), strict=True)
    return [(arguments, made[-1]) for arguments, made in zip(drawn.values(), outputs, strict=True) if _modest(made)]


def _modest(outputs: tuple[Any, ...]) -> bool:
    """Whether all steps' outputs are defined, small and, printed on a line, can be read back."""
    for output in outputs:
        items = output if isinstance(output, list) else [output]
        if is_grid(output):
            items = [value for row in output for value in row]
        if output is None or len(items) > _LONGEST_LIST or (items is output and "" in items):
            return False
        if any(len(item) > _LONGEST_WORD if isinstance(item, str) else abs(item) > _LARGEST for item in items):
            return False
    return True


def _choose(task: Task, cases: list[Case], rng: random.Random) -> tuple[list[Case], list[Case]] | None:
    """Example and hidden tests with as many different outputs as there are."""
    edges = [case for case in cases[:_EDGES] if _size(case) == 1][:2]
    groups: dict[str, list[Case]] = {}
    for case in cases:
        if case not in edges:
            groups.setdefault(repr(case[1]), []).append(case)
    queues = list(groups.values())
    rng.shuffle(queues)
    mixed = [queue[turn] for turn in range(max(map(len, queues), default=0)) for queue in queues if turn < len(queue)]
    plain = [case for case in mixed if case[1] not in ("", []) and len(repr(case)) <= _LONGEST_EXAMPLE]
    shown = plain[: rng.choice((2, 3))] if task.takes == "int" else [case for case in plain if _size(case) > 1][:2]
    if len({repr(output) for _, output in shown}) < 2:
        return None
    rest = edges + [case for case in mixed if case not in shown]
    telling = [_telling(wrong, rest) for wrong in _wrong_tasks(task, rng)]
    if None in telling:
        return None
    hidden = [rest[i] for i in list(dict.fromkeys([*telling, *range(len(edges)), *range(len(rest))]))[: rng.randint(6, 9)]]
    outputs = [repr(output) for _, output in hidden]
    kinds = 2 if task.gives == "bool" else 3
    varied = len(hidden) >= 6 and len(set(outputs)) >= kinds and max(map(outputs.count, outputs)) <= len(outputs) - 2
    return (shown, hidden) if varied else None


def _size(case: Case) -> int:
    value = case[0][0]
    return len(str(value)) if isinstance(value, int) else len(value)


def _telling(wrong: Task, cases: list[Case]) -> int | None:
    """Index of the first case that the wrong task gets wrong."""
    return next((i for i, (arguments, output) in enumerate(cases) if wrong.trace([arguments])[-1] != [output]), None)


def _wrong_tasks(task: Task, rng: random.Random) -> list[Task]:
    """The task with one step left out, or with another value of one parameter."""
    wrong = []
    for index, step in enumerate(task.steps):
        others = [(Step(step.operation, value),) for value in _neighbours(step, rng)]
        if len(task.steps) > 1 and step.operation.takes == step.operation.gives:
            others.append(())
        wrong += [Task(task.steps[:index] + other + task.steps[index + 1 :]) for other in others]
    return wrong


def _neighbours(step: Step, rng: random.Random) -> list[int | str]:
    """Other values of a settled parameter, those nearest to it if they are numbers."""
    if step.given or not step.operation.has_parameter:
        return []
    others = [value for value in step.operation.values if value != step.value]
    return rng.sample(others, 2) if isinstance(step.value, str) else sorted(others, key=lambda value: abs(value - step.value))[:2]


@functools.cache
def _inputs(kind: Kind, wanted: int | str | None, edge: bool) -> list[Any]:
    """Inputs to choose from. `wanted` is a parameter that ought to occur in them."""
    rng = random.Random(f"tiny inputs {kind} {wanted} {edge}")
    numbers = [wanted - 1, wanted, wanted, wanted + 1] if isinstance(wanted, int) else []
    letters = [wanted] if isinstance(wanted, str) else []
    match kind:
        case "int":
            draws = [rng.randint(0, 9) if edge else _draw_int(numbers, rng) for _ in range(_POOL)]
        case "ints":
            draws = [[_draw_int(numbers, rng)] if edge else _draw_ints(numbers, rng) for _ in range(_POOL)]
        case "word":
            draws = [rng.choice(letters * 2 + list(_VOWELS)) if edge else _draw_word(letters, rng) for _ in range(_POOL)]
        case "grid":
            draws = [_draw_grid(1 if edge else rng.choice((2, 2, 3)), numbers, rng) for _ in range(_POOL)]
        case "sum" | "brackets" | "runs" | "pairs" | "moves":
            draws = [_draw_notation(kind, 1 if edge else rng.randint(2, 5), letters, rng) for _ in range(_POOL)]
        case _:
            draws = [[_draw_word(letters, rng)] if edge else _draw_words(letters, rng) for _ in range(_POOL)]
    return draws


def _draw_int(numbers: list[int], rng: random.Random) -> int:
    if numbers and rng.random() < 0.2:
        return rng.choice(numbers)
    low, high = rng.choice(((0, 9), (0, 12), (0, 20), (5, 30), (10, 150), (-9, -1)))
    return rng.randint(low, high)


def _draw_ints(numbers: list[int], rng: random.Random) -> list[int]:
    length = rng.choice((2, 3, 3, 4, 4, 5, 5, 6, 6, 7))
    low, high = rng.choice(((-6, 20), (-6, 20), (0, 20), (1, 9), (-5, 5), (-9, -1), (8, 20)))
    factor = rng.choice((1, 1, 1, 1, 2, *(number for number in numbers if 2 < number < 10)))
    values = [rng.randint(low, high) if rng.random() < 0.8 or not numbers else rng.choice(numbers) for _ in range(length)]
    if factor > 1:
        values = [value % 7 * factor for value in values]
    if rng.random() < 0.3:
        values = [rng.choice(values[:3]) for _ in values]
    if rng.random() < 0.15:
        values.sort()
    return values


def _draw_word(letters: list[str], rng: random.Random) -> str:
    if rng.random() < 0.4:
        word = rng.choice(_WORDS)
    else:
        pool = rng.sample(_CONSONANTS, 2) + rng.sample(_VOWELS, 2) + letters
        word = "".join(rng.choice(pool) for _ in range(rng.randint(3, 6)))
    if letters and rng.random() < 0.5:
        place = rng.choice((0, len(word), rng.randint(0, len(word))))
        word = word[:place] + rng.choice(letters) + word[place:]
    if rng.random() < 0.15:
        half = word[: (len(word) + 1) // 2]
        word = half + half[::-1][rng.randint(0, 1) :]
    return word


def _draw_words(letters: list[str], rng: random.Random) -> list[str]:
    words = [_draw_word(letters, rng) for _ in range(rng.choice((2, 3, 3, 4, 4, 5)))]
    if rng.random() < 0.35:
        words[rng.randrange(len(words))] = words[0]
    if letters and rng.random() < 0.3:
        words = [rng.choice(letters) + word for word in words]
    if rng.random() < 0.2:
        words.sort()
    return words


def _draw_grid(rows: int, numbers: list[int], rng: random.Random) -> list[list[int]]:
    columns = rng.choice((2, 2, 3, 3, 4)) if rows < 3 else rng.choice((2, 3))
    low, high = rng.choice(((0, 9), (0, 9), (-5, 9), (1, 15)))
    return [
        [rng.choice(numbers) if numbers and rng.random() < 0.2 else rng.randint(low, high) for _ in range(columns)] for _ in range(rows)
    ]


def _draw_notation(kind: Kind, parts: int, letters: list[str], rng: random.Random) -> str:
    """A text of so many parts: terms, pairs, runs; brackets and moves have about twice as many signs."""
    match kind:
        case "sum":
            terms = [str(rng.choice((rng.randint(0, 9), rng.randint(10, 40)))) for _ in range(parts)]
            return terms[0] + "".join(rng.choice("+-") + term for term in terms[1:])
        case "brackets":
            return _draw_brackets(2 * parts, rng)
        case "runs":
            return "".join(rng.choice(_LETTERS) + str(rng.choice((1, 1, 2, 2, 3, 4))) for _ in range(parts))
        case "pairs":
            keys = rng.sample(_LETTERS, parts)
            if letters and letters[0] not in keys and rng.random() < 0.8:
                keys[rng.randrange(parts)] = letters[0]
            return ",".join(f"{key}={rng.randint(0, 20)}" for key in keys)
        case _:
            few = "".join(rng.sample("LRUD", rng.choice((2, 3, 4)))) + rng.choice(("", "RR", "L"))
            if rng.random() < 0.3:  # a walk that comes home
                there = "".join(rng.choice(few) for _ in range(parts))
                return "".join(rng.sample(there + there.translate(str.maketrans("LRUD", "RLDU")), 2 * parts))
            return "".join(rng.choice(few) for _ in range(2 * parts - rng.choice((0, 1))))


def _draw_brackets(length: int, rng: random.Random) -> str:
    """Brackets; two in three are balanced."""
    text, depth = "", 0
    while len(text) < length:
        left = length - len(text)
        opens = depth == 0 or (depth < left and rng.random() < 0.55)
        text, depth = text + ("(" if opens else ")"), depth + (1 if opens else -1)
    if rng.random() < 0.33:
        place = rng.randrange(length)
        text = text[:place] + rng.choice("()") + text[place + rng.choice((0, 1)) :]
    return text


def battery(kind: Kind) -> list[Any]:
    """Fixed inputs on which different tasks of one input kind tell themselves apart, wide enough to meet every parameter."""
    rng = random.Random(f"tiny battery {kind}")
    match kind:
        case "int":
            return [*range(-8, 30), 60, 97, 343, 12321]
        case "ints":
            wide = [[rng.randint(-9, 20) for _ in range(length)] for length in (1, 2, 3, 5, 8, 13, 40, 60)]
            return wide + [_draw_ints([], rng) for _ in range(10)] + [[value] for value in range(13)]
        case "word":
            alphabet = "".join(letter * rng.randint(1, 4) for letter in _LETTERS)
            mixed = ["".join(rng.sample(alphabet, length)) for length in (12, 16, 16)]
            return mixed + [_draw_word([], rng) for _ in range(10)] + list(_LETTERS)
        case "grid":
            return [_draw_grid(1 + i % 4, [], rng) for i in range(30)] + [[[v] * 2] for v in range(14)]
        case "sum" | "brackets" | "runs" | "moves":
            return [_draw_notation(kind, 1 + i % 8, [], rng) for i in range(50)]
        case "pairs":
            long = [_draw_notation(kind, 6, [], rng) for _ in range(10)]
            return long + [_draw_notation(kind, 2, [letter], rng) for letter in _LETTERS * 2]
        case _:
            pairs = [[letter + word for word in rng.sample(_WORDS, 2)] for letter in _LETTERS]
            return pairs + [_draw_words([], rng) for _ in range(10)]
