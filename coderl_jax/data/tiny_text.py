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
}
_FUNCTION_NAMES = ("solve", "f", "compute", "transform", "process")
_LINK_NAMES = ("b", "t", "r")

_CALL_INPUTS: dict[Kind, tuple[str, ...]] = {
    "int": ("an integer {x}", "a whole number {x}"),
    "ints": ("a list of integers {x}", "a list {x} of numbers"),
    "word": ("a word {x}", "a string {x}"),
    "words": ("a list of words {x}", "a list {x} of words"),
}
_STDIN_INPUTS: dict[Kind, tuple[str, ...]] = {
    "int": ("an integer {x}", "a whole number {x}"),
    "ints": ("a line of integers {x}", "integers {x} on one line"),
    "word": ("a word {x}", "a string {x}"),
    "words": ("a line of words {x}", "words {x} on one line"),
}
_OUTPUTS: dict[Kind, str] = {
    "int": "One integer.",
    "ints": "Integers on one line.",
    "word": "One word.",
    "words": "Words on one line.",
    "bool": "YES or NO.",
}
_REFERENCES: dict[Kind, tuple[str, ...]] = {
    "int": ("the result", "that number"),
    "ints": ("the result", "that list"),
    "word": ("the result", "that word"),
    "words": ("the result", "that list"),
}
_READERS: dict[Kind, tuple[str, ...]] = {
    "int": ("int(input())",),
    "ints": ("list(map(int, input().split()))", "[int(v) for v in input().split()]"),
    "word": ("input()", "input().strip()"),
    "words": ("input().split()",),
}


@dataclasses.dataclass(frozen=True)
class Names:
    """Names that a statement and its solutions share.

    Attributes:
      function: what a call-based problem defines.
      value: the input.
      given: the parameter that is an input too; empty where there is none.
      link: what the first of two steps makes.
    """

    function: str
    value: str
    given: str
    link: str

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
    return Names(rng.choice(_FUNCTION_NAMES), rng.choice(_INPUT_NAMES[task.takes]), given, rng.choice(_LINK_NAMES))


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
    for step in task.steps:
        phrase = rng.choice(step.operation.phrases).replace("{x}", value).replace("{k}", step.parameter(names.given))
        parts.append(phrase)
        value = names.link if style == "let" else rng.choice(_REFERENCES.get(step.operation.gives, ("the result",)))
    final = _final(verb, parts.pop(), task.gives, call_based)
    if not parts:
        return final
    match style:
        case "let":
            return f"let {names.link} be {parts[0]}. {_sentence(final)}"
        case "find":
            return f"first find {parts[0]}. Then {final}"
        case _:
            return f"work out {parts[0]}, then {final}"


def _final(verb: str, phrase: str, gives: Kind, call_based: bool) -> str:
    if gives == "bool":
        if phrase.startswith("if "):
            yes, no = ("True", "False") if call_based else ("YES", "NO")
            return f"{verb} {yes} {phrase}, else {no}"
        return f"{verb} {phrase}" if call_based else f"{verb} YES or NO: {phrase}"
    on_one_line = gives in ("ints", "words") and not call_based
    return f"{verb} on one line {phrase}" if on_one_line else f"{verb} {phrase}"


def literal(value: Any) -> str:
    """A value as Python source, strings in double quotes."""
    return repr(value) if isinstance(value, bool) else json.dumps(value)


def line(value: Any) -> str:
    """A value as one line of standard input or output, line end included."""
    if isinstance(value, bool):
        return "YES\n" if value else "NO\n"
    return " ".join(map(str, value)) + "\n" if isinstance(value, list) else f"{value}\n"


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
    pairs = [("".join(map(line, arguments)), line(output)) for arguments, output in examples]
    if rng.random() < 0.25:
        return "\n".join(f"-----Sample Input-----\n{given}\n-----Sample Output-----\n{output}" for given, output in pairs)
    return "-----Examples-----\n" + "\n".join(f"Input\n{given}\nOutput\n{output}" for given, output in pairs)


def question(text: str) -> str:
    """A statement without its examples, which stand last."""
    return re.split(r"\n\n(?:-----Examples-----|-----Sample Input-----|Example 1:|>>> |\w+\(.*\) == )", text, maxsplit=1)[0]


def solutions(task: Task, names: Names, call_based: bool, rng: random.Random, most: int = 4) -> tuple[str, ...]:
    """Up to `most` reference programs, each with another choice of idioms; two or more."""
    reads = [f"{names.value} = {rng.choice(_READERS[task.takes])}"]
    if task.given is not None:
        reads.append(f"{names.given} = {'input()' if task.given_is_letter else 'int(input())'}")
    programs: dict[str, None] = {}
    for _ in range(6 * most):
        lines, value = _steps(task, names, rng)
        if call_based:
            program = names.starter_code + "".join(f"    {text}\n" for text in [*lines, f"return {value}"])
        else:
            program = "".join(f"{text}\n" for text in [*reads, *lines, _print(value, task.gives)])
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
        value = "result" if last else names.link
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
    return f"print(*{value})" if gives in ("ints", "words") else f"print({value})"
