"""What a `tiny` problem is made of: operations with their phrases, code idioms and meaning, and tasks that chain them.

An operation maps one value to another. Kinds of values: `int`, `ints`, `word`, `words`, `grid`; words in a notation of their
own, `sum` (7+12-3), `brackets`, `runs` (a3b2), `pairs` (a=3,b=5) and `moves` (LRUD); and `bool` at the end of a chain. The
tables are in tiny_numbers, tiny_lists, tiny_words, tiny_sentences, tiny_grids, tiny_recursion, tiny_parsing and
tiny_simulation; wording and programs in tiny_text; tests in tiny_tests; splits in tiny.
"""

import dataclasses
import functools
import json
import zlib
from collections.abc import Callable
from typing import Any, Literal

Kind = Literal["int", "ints", "word", "words", "grid", "sum", "brackets", "runs", "pairs", "moves", "bool"]

Values = tuple[int | str, ...]
"""Values of an operation's parameter: whole numbers, or single letters."""

NONE: Values = ()
THRESHOLDS: Values = tuple(range(1, 13))
TOTALS: Values = (5, 10, 15, 20, 25, 30, 35)
FACTORS: Values = (3, 4, 5, 6, 7, 8, 9)
SHARES: Values = (2, 3, 4, 5)
LETTERS: Values = tuple("abcdegilmnoprstu")

_HELD_OUT = 0.3  # share of an operation's values that training problems lack


@dataclasses.dataclass(frozen=True)
class Operation:
    """One operation in English, in Python idioms, and as a reference function.

    Attributes:
      name: unique; a pair of names is what the splits hold out.
      takes: kind of its input.
      gives: kind of its output.
      phrases: noun phrases with `{x}` for the input and `{k}` for the parameter.
      codes: idioms: an expression in `{x}` and `{k}`, or a block of statements that assigns `{y}`.
      reference: what it computes, called with the input, and the parameter where there is one.
      values: values of the parameter; NONE for an operation without one.
      defined: true of the inputs that phrases and idioms settle; others are never asked for.
    """

    name: str
    takes: Kind
    gives: Kind
    phrases: tuple[str, ...]
    codes: tuple[str, ...]
    reference: Callable[..., Any]
    values: Values = NONE
    defined: Callable[[Any], Any] = lambda x: True

    @property
    def has_parameter(self) -> bool:
        """Whether there is a parameter."""
        return bool(self.values)

    @functools.cached_property
    def held_out(self) -> frozenset[int | str]:
        """Values that training problems lack. Other operations are trained with them, so a model has seen them written."""
        shuffled = sorted(self.values, key=lambda value: zlib.crc32(f"{self.name} {value}".encode()))
        return frozenset(shuffled[: round(_HELD_OUT * len(shuffled))])


@dataclasses.dataclass(frozen=True)
class Step:
    """An operation with its parameter settled: `value`, or (`given`) one more input of the problem."""

    operation: Operation
    value: int | str | None = None
    given: bool = False

    @property
    def name(self) -> str:
        """Operation and parameter, as part of a task's name."""
        value = "?" if self.given else "" if self.value is None else str(self.value)
        return f"{self.operation.name}({value})"

    def apply(self, inputs: list[Any], given: list[Any]) -> list[Any]:
        """The outputs for many inputs, with the given parameter of each; None outside the domain and for None."""
        reference, defined = self.operation.reference, self.operation.defined
        if not self.operation.has_parameter:
            return [reference(x) if x is not None and defined(x) else None for x in inputs]
        parameters = given if self.given else [self.value] * len(inputs)
        return [reference(x, k) if x is not None and defined(x) else None for x, k in zip(inputs, parameters, strict=True)]

    def parameter(self, given_name: str) -> str:
        """The parameter as statement and program write it: a literal, or the name of the input."""
        return given_name if self.given else json.dumps(self.value)


@dataclasses.dataclass(frozen=True)
class Task:
    """A chain of steps, each fed with the output of the one before. At most one step's parameter is an input."""

    steps: tuple[Step, ...]

    @property
    def name(self) -> str:
        """Unique among tasks; seeds everything that is drawn for the task."""
        return " > ".join(step.name for step in self.steps)

    @property
    def operations(self) -> tuple[str, ...]:
        """Names of the operations, in order."""
        return tuple(step.operation.name for step in self.steps)

    @property
    def takes(self) -> Kind:
        """Kind of the input."""
        return self.steps[0].operation.takes

    @property
    def gives(self) -> Kind:
        """Kind of the output."""
        return self.steps[-1].operation.gives

    @property
    def given(self) -> Values | None:
        """Values of the parameter that is an input; None where all are settled."""
        return next((step.operation.values for step in self.steps if step.given), None)

    @property
    def given_is_letter(self) -> bool:
        """Whether the parameter that is an input is a letter, not a number."""
        return self.given is not None and isinstance(self.given[0], str)

    def trace(self, arguments: list[list[Any]]) -> list[list[Any]]:
        """The outputs of every step, for many tests' arguments: `[x]`, or `[x, parameter]` where one is given.

        Outside a step's domain the output is None, and so on to the end.
        """
        values, given = [each[0] for each in arguments], [each[-1] for each in arguments]
        outputs = []
        for step in self.steps:
            values = step.apply(values, given)
            outputs.append(values)
        return outputs
