"""Wording and programs of the `tiny` problems: a task becomes a statement in one of many phrasings, and reference solutions."""

import dataclasses
import json
import random
import re
from typing import Any

from coderl_jax.data.tiny_operations import Kind, Task

_INPUT_NAMES: dict[Kind, tuple[str, ...]] = {
    "int": ("n", "num", "x"),
    "ints": ("nums", "arr", "a"),
    "word": ("s", "text", "name"),
    "words": ("names", "items", "parts"),
    "grid": ("grid", "cells", "table"),
    "sum": ("expr", "formula"),
    "brackets": ("brackets", "seq"),
    "runs": ("packed", "code"),
    "pairs": ("pairs", "settings"),
    "moves": ("moves", "walk"),
}
_FUNCTION_NAMES = ("solve", "f", "compute", "transform", "process")
_LINK_NAMES = ("b", "t", "r")

_NOTATIONS: dict[Kind, tuple[str, ...]] = {
    "sum": ("a sum {x} such as 7+12-3", "a string {x} such as 7+12-3"),
    "brackets": ("a string of brackets {x}", "a string {x} of the signs ( and )"),
    "runs": ("a string {x} of letters, each followed by a digit", "a packed word {x}, a digit after each letter"),
    "pairs": ("a string {x} such as a=3,b=5", "pairs {x} of letters and numbers such as a=3,b=5"),
    "moves": ("a string {x} of moves L, R, U and D", "a walk {x}, a string of L, R, U and D"),
}
_CALL_INPUTS: dict[Kind, tuple[str, ...]] = {
    "int": ("an integer {x}", "a whole number {x}"),
    "ints": ("a list of integers {x}", "a list {x} of numbers"),
    "word": ("a word {x}", "a string {x}"),
    "words": ("a list of words {x}", "a list {x} of words"),
    "grid": ("a grid of integers {x} as a list of rows", "a list {x} of rows of numbers"),
    **_NOTATIONS,
}
_STDIN_INPUTS: dict[Kind, tuple[str, ...]] = {
    "int": ("an integer {x}", "a whole number {x}"),
    "ints": ("a line of integers {x}", "integers {x} on one line"),
    "word": ("a word {x}", "a string {x}"),
    "words": ("a line of words {x}", "words {x} on one line"),
    "grid": ("a number of rows, then the rows of a grid of integers {x}", "how many rows follow, then the rows of a grid {x}"),
    **_NOTATIONS,
}
_OUTPUTS: dict[Kind, str] = {
    "int": "One integer.",
    "ints": "Integers on one line.",
    "word": "One word.",
    "words": "Words on one line.",
    "grid": "The rows, one a line.",
    "runs": "One word.",
    "moves": "One word.",
    "bool": "YES or NO.",
}
_REFERENCES: dict[Kind, tuple[str, ...]] = {
    "int": ("the result", "that number"),
    "ints": ("the result", "that list"),
    "word": ("the result", "that word"),
    "words": ("the result", "that list"),
    "grid": ("the result", "that grid"),
}
_READERS: dict[Kind, tuple[str, ...]] = {
    "int": ("int(input())",),
    "ints": ("list(map(int, input().split()))", "[int(v) for v in input().split()]"),
    "word": ("input()", "input().strip()"),
    "words": ("input().split()",),
    "grid": ("[list(map(int, input().split())) for i in range(int(input()))]",),
}
_READ_TEXT = ("input()",)
_LONGEST_PROGRAM = 270  # characters; longer combinations of idioms are left out


@dataclasses.dataclass(frozen=True)
class Names:
    """Names that a statement and its solutions share.

    Attributes:
      function: what a call-based problem defines.
      value: the input.
      given: the parameter that is an input too; empty where there is none.
      links: what the steps before the last make, in order.
    """

    function: str
    value: str
    given: str
    links: tuple[str, ...]

    @property
    def arguments(self) -> list[str]:
        """Names of the inputs, in order."""
        return [self.value, self.given] if self.given else [self.value]

    @property
    def starter_code(self) -> str:
        """First line of a call-based solution."""
        return f"def {self.function}({', '.join(self.arguments)}):\n"


def draw_names(task: Task, rng: random.Random) -> Names:
    """Names for a problem."""
    given = "" if task.given is None else "ch" if task.given_is_letter else rng.choice(("k", "m"))
    return Names(rng.choice(_FUNCTION_NAMES), rng.choice(_INPUT_NAMES[task.takes]), given, tuple(rng.sample(_LINK_NAMES, 2)))


def statement(task: Task, names: Names, call_based: bool, examples: list[tuple[list[Any], Any]], rng: random.Random) -> str:
    """A statement with its examples, `(arguments, output)` each, in one of the forms that APPS statements have."""
    forms = _CALL_INPUTS if call_based else _STDIN_INPUTS
    inputs = rng.choice(forms[task.takes]).replace("{x}", names.value)
    if task.given is not None:
        joint = " and " if call_based else ", then " if task.given_is_letter else " and below it "
        inputs += joint + ("a letter " if task.given_is_letter else "an integer ") + names.given
    verb = "return" if call_based else rng.choice(("print", "output"))
    body = _body(task, names, verb, call_based, rng) + "."
    if call_based:
        return f"{_opening(inputs, body, ('given', 'for'), rng)}\n\n{_call_examples(names, examples, rng)}"
    if rng.random() < 0.2:
        text = f"{_sentence(body)}\n\n-----Input-----\n{_sentence(inputs)}.\n\n-----Output-----\n{_OUTPUTS[task.gives]}"
    else:
        text = _opening(inputs, body, ("given", "read"), rng)
    return f"{text}\n\n{_stdin_examples(task, examples, rng)}"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _opening(inputs: str, body: str, words: tuple[str, str], rng: random.Random) -> str:
    match rng.choice((*words, "you")):
        case "given":
            return f"Given {inputs}, {body}"
        case "for":
            return f"For {inputs}, {body}"
        case "read":
            return f"Read {inputs}. {_sentence(body)}"
        case _:
            return f"You are given {inputs}. {_sentence(body)}"


def _body(task: Task, names: Names, verb: str, call_based: bool, rng: random.Random) -> str:
    """What to do, in lower case and without the full stop. Steps stand in the order in which programs carry them out."""
    style = rng.choice(("let", "then", "find"))
    parts, value = [], names.value
    for step, link in zip(task.steps, (*names.links, ""), strict=False):
        phrase = rng.choice(step.operation.phrases).replace("{x}", value).replace("{k}", step.parameter(names.given))
        parts.append(phrase)
        value = link if style == "let" else rng.choice(_REFERENCES.get(step.operation.gives, ("the result",)))
    final = _final(verb, parts.pop(), task.gives, call_based)
    if not parts:
        return final
    match style:
        case "let":
            told = ". Let ".join(f"{link} be {part}" for link, part in zip(names.links, parts, strict=False))
            return f"let {told}. {_sentence(final)}"
        case "find":
            return f"first find {', then '.join(parts)}. Then {final}"
        case _:
            return f"work out {', then '.join(parts)}, then {final}"


def _final(verb: str, phrase: str, gives: Kind, call_based: bool) -> str:
    if gives == "bool":
        if phrase.startswith("if "):
            yes, no = ("True", "False") if call_based else ("YES", "NO")
            return f"{verb} {yes} {phrase}, else {no}"
        return f"{verb} {phrase}" if call_based else f"{verb} YES or NO: {phrase}"
    on_one_line = gives in ("ints", "words") and not call_based
    return f"{verb} on one line {phrase}" if on_one_line else f"{verb} {phrase}"


def is_grid(value: Any) -> bool:
    """Whether a value is a list of lists."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], list)


def literal(value: Any) -> str:
    """A value as Python source, strings in double quotes."""
    return repr(value) if isinstance(value, bool) else json.dumps(value)


def line(value: Any) -> str:
    """A value as standard output shows it: one line, or a line a row of a grid; line ends included."""
    if isinstance(value, bool):
        return "YES\n" if value else "NO\n"
    if is_grid(value):
        return "".join(map(line, value))
    return " ".join(map(str, value)) + "\n" if isinstance(value, list) else f"{value}\n"


def lines_of(arguments: list[Any]) -> str:
    """The arguments of a test as standard input: a grid after the number of its rows."""
    return "".join(f"{len(value)}\n{line(value)}" if is_grid(value) else line(value) for value in arguments)


def _call_examples(names: Names, examples: list[tuple[list[Any], Any]], rng: random.Random) -> str:
    form = rng.choice(("equals", "doctest", "numbered"))
    blocks = []
    for number, (arguments, output) in enumerate(examples, start=1):
        call = f"{names.function}({', '.join(map(literal, arguments))})"
        if form == "equals":
            blocks.append(f"{call} == {literal(output)}")
        elif form == "doctest":
            blocks.append(f">>> {call}\n{literal(output)}")
        else:
            bound = ", ".join(f"{name} = {literal(value)}" for name, value in zip(names.arguments, arguments, strict=True))
            blocks.append(f"Example {number}:\nInput: {bound}\nOutput: {literal(output)}")
    return "\n".join(blocks)


def _stdin_examples(task: Task, examples: list[tuple[list[Any], Any]], rng: random.Random) -> str:
    pairs = [(lines_of(arguments), line(output)) for arguments, output in examples]
    if rng.random() < 0.25:
        return "\n".join(f"-----Sample Input-----\n{given}\n-----Sample Output-----\n{output}" for given, output in pairs)
    return "-----Examples-----\n" + "\n".join(f"Input\n{given}\nOutput\n{output}" for given, output in pairs)


def question(text: str) -> str:
    """A statement without its examples, which stand last."""
    return re.split(r"\n\n(?:-----Examples-----|-----Sample Input-----|Example 1:|>>> |\w+\(.*\) == )", text, maxsplit=1)[0]


def solutions(task: Task, names: Names, call_based: bool, rng: random.Random, most: int = 4) -> tuple[str, ...]:
    """Up to `most` reference programs, each with another choice of idioms; none where all are too long."""
    reads = [f"{names.value} = {rng.choice(_READERS.get(task.takes, _READ_TEXT))}"]
    if task.given is not None:
        reads.append(f"{names.given} = {'input()' if task.given_is_letter else 'int(input())'}")
    programs: dict[str, None] = {}
    for _ in range(6 * most):
        lines, value = _steps(task, names, rng)
        if call_based:
            program = names.starter_code + "".join(f"    {text}\n" for text in [*lines, f"return {value}"])
        else:
            program = "".join(f"{text}\n" for text in [*reads, *lines, _print(value, task.gives)])
        if len(program) <= _LONGEST_PROGRAM:
            programs[program] = None
        if len(programs) == most:
            break
    return tuple(programs)


def _steps(task: Task, names: Names, rng: random.Random) -> tuple[list[str], str]:
    """Statements that carry out the task, one step after the other, and the expression of its output; idioms are random."""
    lines, value = [], names.value
    for index, step in enumerate(task.steps):
        last = index + 1 == len(task.steps)
        code = rng.choice(step.operation.codes).replace("{x}", value).replace("{k}", step.parameter(names.given))
        value = "result" if last else names.links[index]
        if "{y}" in code:
            lines += code.replace("{y}", value).split("\n")
        elif last:
            value = code
        else:
            lines.append(f"{value} = {code}")
    return lines, value


def _print(value: str, gives: Kind) -> str:
    if gives == "bool":
        return f'print("YES" if {value} else "NO")'
    if gives == "grid":
        return f"for row in {value}:\n    print(*row)"
    return f"print(*{value})" if gives in ("ints", "words") else f"print({value})"
