"""The order in which CPython 3.11 goes through a set of strings when it is started with PYTHONHASHSEED=0.

CodeXGLUE's data-flow match depends on that order: it numbers variables as they come out of a set. Doing as CPython does
gives its number under that seed, on every Python and under every seed.
"""

import functools
from collections.abc import Iterable

_MASK = (1 << 64) - 1
_PROBES = 9


def set_order(names: Iterable[str]) -> list[str]:
    """The distinct names, in the order of `list(set(names))`.

    A set is a table of 2^k places. A name goes to the place that the low bits of its hash say, or to one of the 9 after it
    where they lie within the table, or on from there as the higher bits say. A table that is 3/5 full grows fourfold.
    """
    table: list[str | None] = [None] * 8
    filled = 0
    for name in names:
        place = _place(table, name)
        if table[place] is None:
            table[place] = name
            filled += 1
            if filled * 5 >= (len(table) - 1) * 3:
                table = _grown(table, filled)
    return [name for name in table if name is not None]


def _grown(table: list[str | None], filled: int) -> list[str | None]:
    size = 8
    while size <= filled * (2 if filled > 50000 else 4):
        size *= 2
    larger: list[str | None] = [None] * size
    for name in table:
        if name is not None:
            larger[_place(larger, name)] = name
    return larger


def _place(table: list[str | None], name: str) -> int:
    """Where the name is, or where it goes."""
    mask = len(table) - 1
    hash_value = perturb = string_hash(name)
    start = hash_value & mask
    while True:
        last = start + (_PROBES if start + _PROBES <= mask else 0)
        for place in range(start, last + 1):
            if table[place] is None or table[place] == name:
                return place
        perturb >>= 5
        start = (start * 5 + 1 + perturb) & mask


@functools.lru_cache(maxsize=1 << 16)
def string_hash(text: str) -> int:
    """`hash(text) % 2**64` in CPython 3.11 with PYTHONHASHSEED=0: SipHash-1-3 with a key of zeros, over the characters' codes."""
    if not text:
        return 0
    widest = max(map(ord, text))
    data = text.encode("latin-1" if widest < 1 << 8 else "utf-16-le" if widest < 1 << 16 else "utf-32-le", "surrogatepass")
    state = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
    whole = len(data) // 8 * 8
    for i in range(0, whole, 8):
        state = _mixed(state, int.from_bytes(data[i : i + 8], "little"))
    v0, v1, v2, v3 = _mixed(state, (len(data) & 0xFF) << 56 | int.from_bytes(data[whole:], "little"))
    state = (v0, v1, v2 ^ 0xFF, v3)
    for _ in range(3):
        state = _round(state)
    v0, v1, v2, v3 = state
    result = v0 ^ v1 ^ v2 ^ v3
    return result if result != _MASK else _MASK - 1  # -1 stands for an error in CPython, which takes -2


_State = tuple[int, int, int, int]


def _mixed(state: _State, word: int) -> _State:
    v0, v1, v2, v3 = state
    v0, v1, v2, v3 = _round((v0, v1, v2, v3 ^ word))
    return v0 ^ word, v1, v2, v3


def _round(state: _State) -> _State:
    v0, v1, v2, v3 = state
    v0 = (v0 + v1) & _MASK
    v2 = (v2 + v3) & _MASK
    v1 = _rotated(v1, 13) ^ v0
    v3 = _rotated(v3, 16) ^ v2
    v0 = _rotated(v0, 32)
    v2 = (v2 + v1) & _MASK
    v0 = (v0 + v3) & _MASK
    v1 = _rotated(v1, 17) ^ v2
    v3 = _rotated(v3, 21) ^ v0
    v2 = _rotated(v2, 32)
    return v0, v1, v2, v3


def _rotated(value: int, by: int) -> int:
    return (value << by | value >> 64 - by) & _MASK
