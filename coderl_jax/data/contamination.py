"""Does a text hold a benchmark's tests or solutions? Found by the n-grams of words they share.

Models that have read a benchmark's answers pass it for the wrong reason. A text of the benchmark counts as found in a document that
holds at least a given share of its distinct n-grams. Renamed variables go unseen; what is shorter than n words cannot be told from
chance and is not looked for.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from coderl_jax.data.corpus import Document
from coderl_jax.data.ngrams import ngrams
from coderl_jax.types import AssertTests, CallTests, Problem, Tests


@dataclasses.dataclass(frozen=True)
class Found:
    """A benchmark's text in a document.

    Attributes:
      document: name of the document.
      text: name of the text, such as `mbpp/11 solution 0`.
      share: of the text's distinct n-grams that the document holds, in (0, 1].
    """

    document: str
    text: str
    share: float


class Benchmark:
    """Texts to look for, as n-grams."""

    def __init__(self, texts: Iterable[Document], n: int, share: float):
        """Read the texts.

        Args:
          texts: what must not be found: see `benchmark_texts`, or the documents of any corpus.
          n: words of an n-gram.
          share: of a text's n-grams from which it counts as found.
        """
        self.n, self.share = n, share
        self.names: list[str] = []
        self.too_short = 0
        parts = []
        for text in texts:
            found = ngrams(text.words, n)
            if len(found):
                self.names.append(text.name)
                parts.append(found)
            else:
                self.too_short += 1
        self._sizes = np.array([len(part) for part in parts], np.int64)
        grams = np.concatenate([np.zeros(0, np.uint64), *parts])
        owners = np.repeat(np.arange(len(parts)), self._sizes)
        order = np.argsort(grams, kind="stable")
        self._grams, self._owners = grams[order], owners[order]

    def found_in(self, document: Document) -> list[Found]:
        """The texts that the document holds, those it holds most of first."""
        grams = ngrams(document.words, self.n)
        if not len(grams) or not len(self._grams):
            return []
        low, high = (np.searchsorted(self._grams, grams, side) for side in ("left", "right"))
        hit = np.flatnonzero(high > low)
        owners = [self._owners[low[i] : high[i]] for i in hit]
        counts = np.bincount(np.concatenate([np.zeros(0, np.int64), *owners]), minlength=len(self.names))
        shares = counts / self._sizes
        over = np.flatnonzero(shares >= self.share)
        return [Found(document.name, self.names[i], float(shares[i])) for i in over[np.argsort(-shares[over], kind="stable")]]


def benchmark_texts(problems: Sequence[Problem]) -> Iterator[Document]:
    """What a document must not hold of these problems: their solutions, and their hidden and example tests as one text each."""
    for problem in problems:
        for number, solution in enumerate(problem.solutions):
            yield Document(f"{problem.id} solution {number}", solution)
        for kind, tests in (("hidden tests", problem.hidden_tests), ("example tests", problem.example_tests)):
            if tests is not None and not (kind == "example tests" and tests == problem.hidden_tests):
                yield Document(f"{problem.id} {kind}", _tests_text(tests))


def _tests_text(tests: Tests) -> str:
    if isinstance(tests, AssertTests):
        return "\n".join([tests.setup, *tests.asserts])
    if isinstance(tests, CallTests):
        calls = (f"{tests.fn_name}({', '.join(map(repr, arguments))})" for arguments in tests.inputs)
        return "\n".join(f"{call} == {value!r}" for call, value in zip(calls, tests.outputs, strict=True))
    return "\n".join(part for pair in zip(tests.inputs, tests.outputs, strict=True) for part in pair)


def uncontaminated(documents: Iterable[Document], benchmark: Benchmark, reasons: Counter[str], found: list[Found]) -> Iterator[Document]:
    """The documents that hold none of the benchmark's texts; the others are counted into `reasons` and told in `found`."""
    for document in documents:
        held = benchmark.found_in(document)
        if held:
            reasons["holds a benchmark's text"] += 1
            found += held
        else:
            yield document
