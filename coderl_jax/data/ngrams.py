"""Texts as sets of word n-grams, each a number: what duplicates and contamination are looked for with.

A word is a run of letters, digits and underscores, or any other single character that is no space: `f(x1)` has four. Case, spaces and
line ends do not count.
"""

import functools
import hashlib
import re

import numpy as np
from jaxtyping import UInt64

_WORD = re.compile(r"\w+|[^\w\s]")
_BASE = np.uint64(0x9E3779B97F4A7C15)


@functools.lru_cache(maxsize=1 << 20)
def _number(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def words(text: str) -> UInt64[np.ndarray, " words"]:
    """The words of a text as numbers, the same in every process."""
    return np.fromiter(map(_number, _WORD.findall(text.lower())), np.uint64)


def ngrams(numbers: UInt64[np.ndarray, " words"], n: int) -> UInt64[np.ndarray, " distinct"]:
    """The distinct runs of `n` words, as numbers in ascending order; none where there are fewer words.

    h_i = sum_j w_{i + j} * base^(n - 1 - j)      modulo 2^64
    """
    if len(numbers) < n:
        return np.zeros(0, np.uint64)
    runs = np.zeros(len(numbers) - n + 1, np.uint64)
    for start in range(n):
        runs = runs * _BASE + numbers[start : start + len(runs)]
    return np.unique(runs)
