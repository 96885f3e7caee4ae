"""Instances of a class that tests and program both define cross the line between them as their attributes.

LeetCode's ListNode and TreeNode are such classes. An instance arrives as one of the receiver's own class, so a test compares with
its own `__eq__`, never with the program's. A message's instances stand in a flat table, so lists may be long, trees shared and
graphs cyclic.
"""

from collections.abc import Callable, Sequence
from typing import Any

from coderl_jax.sandbox import plain

PROTOCOLS = ("__array", "__dlpack", "__arrow", "__dataframe", "__cuda")
"""How names begin by which libraries ask an object for its memory: numpy reads where `__array_interface__` says."""
Row = list[Any]
"""[class name, JSON form of the attributes]."""


def mirrored(space: dict[str, Any], names: Sequence[str]) -> dict[str, type]:
    """The classes among the names whose instances have attributes."""
    found = {name: space.get(name) for name in names}
    return {name: kind for name, kind in found.items() if isinstance(kind, type) and kind.__dictoffset__}


def pack(value: Any, classes: dict[str, type], opaque: Callable[[Any], Any], known: Sequence[Any] = ()) -> tuple[Any, list[Row], list[Any]]:
    """The JSON form of a value, the table of its instances, and the instances.

    Args:
      value: anything.
      classes: the mirrored ones.
      opaque: gives the JSON form of what is neither plain nor an instance of theirs.
      known: instances that stand first in the table, whether the value holds them or not.
    """
    names = {kind: name for name, kind in classes.items()}
    instances = list(known)
    places = {id(instance): place for place, instance in enumerate(instances)}

    def place_of(part: Any) -> Any:
        if type(part) not in names:
            return opaque(part)
        if id(part) not in places:
            places[id(part)] = len(instances)
            instances.append(part)
        return {"n": places[id(part)]}

    body = plain.encode(value, place_of)
    table = [[names[type(instance)], plain.encode(vars(instance), place_of)] for instance in instances]  # grows as it is walked
    return body, table, instances


def _means_something(kind: type, name: str) -> bool:
    """Whether an attribute would stand for a method of the class, for what it computes once, or for what libraries ask an object."""
    own = type(next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None))
    return name.startswith(PROTOCOLS) or (hasattr(own, "__get__") and not hasattr(own, "__set__"))


def unpack(
    body: Any,
    table: list[Row],
    classes: dict[str, type],
    special: Callable[[str, Any], Any],
    known: Sequence[Any] = (),
    from_program: bool = False,
) -> tuple[Any, list[Any]]:
    """Inverse of `pack`: the value and its instances; those of `known` are brought up to date, the others are new.

    From a program, an attribute that would take a method's place is left out: it must not change what the receiver's class means.

    Raises:
      ValueError, TypeError, AttributeError, KeyError, IndexError, RecursionError: what came is not what `pack` gives.
    """
    if len(table) < len(known):
        raise ValueError("an instance is missing")
    instances = [*known, *(object.__new__(classes[name]) for name, _ in table[len(known) :])]

    def part(tag: str, content: Any) -> Any:
        return instances[content] if tag == "n" else special(tag, content)

    for instance, (_, attributes) in reversed(list(zip(instances, table, strict=True))):  # parts first: a set hashes them
        now = dict(plain.decode(attributes, part))
        if from_program:
            now = {name: value for name, value in now.items() if not _means_something(type(instance), name)}
        vars(instance).clear()
        vars(instance).update(now)
    return plain.decode(body, part), instances
