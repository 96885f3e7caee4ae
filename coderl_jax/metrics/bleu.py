"""BLEU in the variants that CodeXGLUE uses: three ways to smooth, two ways to weigh, one of them a recall.

All take one reference a hypothesis. Let m_n be how many n-grams of the hypothesis are also in its reference (each as often as
it is there at most) and g_n how many n-grams the hypothesis has.
"""

import html
import math
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence

MAX_ORDER = 4


def corpus_bleu(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> float:
    """BLEU-4 of a corpus as the evaluators of translation, refinement and CONCODE compute it, a fraction.

    min(1, exp(1 - r / c)) * prod_n ((m_n + 1) / (g_n + 1))^(1/4)      Lin and Och 2004, over the sums of all pairs

    Unlike in the paper the first order is smoothed too. r and c are the lengths of all references and all hypotheses; with no
    token in either the score is 0.

    Args:
      references: tokens of each reference.
      hypotheses: tokens of each hypothesis, as many.
    """
    reference_length, length = sum(map(len, references)), sum(map(len, hypotheses))
    if not reference_length or not length:
        return 0.0
    matches, possible = _precision_counts(references, hypotheses, at_least=0)
    log_mean = sum(math.log((m + 1) / (g + 1)) for m, g in zip(matches, possible, strict=True)) / MAX_ORDER
    penalty = 1.0 if length > reference_length else math.exp(1 - reference_length / length)
    return math.exp(log_mean) * penalty


def ngram_match(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> float:
    """CodeBLEU's first part: BLEU-4 of a corpus, where an order without a match counts as 0.1 matches, a fraction.

    Each hypothesis has at least one n-gram of each order in the denominator, even where it is too short for one. Without
    any common token the score is 0.      Chen and Cherry 2014, smoothing 1
    """
    reference_length = sum(map(len, references))
    return _epsilon_bleu(*_precision_counts(references, hypotheses, at_least=1), reference_length, sum(map(len, hypotheses)))


def weighted_ngram_match(
    references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]], weights: Mapping[str, float], default: float
) -> float:
    """CodeBLEU's second part: as `ngram_match`, but of the reference's n-grams the share that is found, tokens weighed.

    Only single tokens have weights; longer n-grams count alike.      Ren et al. 2020, section 3.1

    CodeXGLUE's brevity penalty takes every reference to be 2 tokens long (it counts a pair of tokens and weights), so that
    there is hardly ever one.

    Args:
      references: tokens of each reference.
      hypotheses: tokens of each hypothesis, as many.
      weights: of tokens that have one of their own.
      default: weight of all other tokens.
    """
    matches, possible = [0.0] * MAX_ORDER, [0.0] * MAX_ORDER
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        wanted, found = _ngrams(reference), _ngrams(hypothesis)
        for order in range(1, MAX_ORDER + 1):
            common = total = 0.0
            for ngram, count in wanted[order - 1].items():
                weight = weights.get(ngram[0], default) if order == 1 else 1
                total += count * weight
                common += min(count, found[order - 1][ngram]) * weight
            matches[order - 1] += common
            possible[order - 1] += max(1, total)
    return _epsilon_bleu(matches, possible, 2 * len(references), sum(map(len, hypotheses)))


def smoothed_sentence_bleu(reference: str, hypothesis: str) -> float:
    """BLEU-4 of one sentence as the evaluator of code-to-text computes it, a fraction.

    exp(min(0, 1 - (r + 1) / (c + 1))) * (m_1 / g_1 * prod_{n=2..4} (m_n + 1) / (g_n + 1))^(1/4)

    Words and signs are parted, in lower case, as NIST's mteval does. An empty hypothesis has m_1 / g_1 = 1, which is what the
    evaluator makes of 0 / 0.
    """
    wanted, tokens = mteval_tokens(reference), mteval_tokens(hypothesis)
    matches, possible = _precision_counts([wanted], [tokens], at_least=0)
    tiny = sys.float_info.min
    log_mean = sum(
        math.log(m + (n > 0) + tiny) - math.log(g + (n > 0) + tiny) for n, (m, g) in enumerate(zip(matches, possible, strict=True))
    )
    return math.exp(log_mean / MAX_ORDER + min(0, 1 - (len(wanted) + 1) / (len(tokens) + 1)))


_SIGNS = re.compile(r"([{-~\[-` -&(-+:-@/])")  # all of ASCII's but ' , - .
_POINT_AFTER_OTHER = re.compile(r"([^0-9])([.,])")
_POINT_BEFORE_OTHER = re.compile(r"([.,])([^0-9])")
_DASH_AFTER_DIGIT = re.compile(r"([0-9])(-)")


def mteval_tokens(sentence: str) -> list[str]:
    """The tokens of a sentence: in lower case, first words and signs parted, then once more as mteval-v11a does.

    The second step undoes escapes such as `&quot;`, of which the first has left little.
    """
    text = " ".join(re.findall(r"\w+|[^\s\w]", sentence.strip().lower()))
    text = text.replace("<skipped>", "")
    for escape in ("&lt;", "&gt;", "&quot;", "&amp;"):
        text = text.replace(escape, html.unescape(escape))
    text = f" {text} ".lower()
    text = _SIGNS.sub(r" \1 ", text)
    text = _POINT_AFTER_OTHER.sub(r"\1 \2 ", text)
    text = _POINT_BEFORE_OTHER.sub(r" \1 \2", text)
    return _DASH_AFTER_DIGIT.sub(r"\1 \2 ", text).split()


def _ngrams(tokens: Sequence[str]) -> list[Counter[tuple[str, ...]]]:
    """How often each n-gram is there, orders 1 to 4."""
    return [Counter(zip(*(tokens[i:] for i in range(order)), strict=False)) for order in range(1, MAX_ORDER + 1)]


def _precision_counts(references: Sequence, hypotheses: Sequence, at_least: int) -> tuple[list[int], list[int]]:
    """m_n and g_n over all pairs; a pair has `at_least` so many n-grams of each order."""
    matches, possible = [0] * MAX_ORDER, [0] * MAX_ORDER
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        for n, (wanted, found) in enumerate(zip(_ngrams(reference), _ngrams(hypothesis), strict=True)):
            matches[n] += sum(min(count, wanted[ngram]) for ngram, count in found.items())
            possible[n] += max(at_least, found.total())
    return matches, possible


def _epsilon_bleu(matches: Sequence[int | float], possible: Sequence[int | float], reference_length: int, length: int) -> float:
    if not matches[0]:
        return 0.0
    penalty = 1.0 if length > reference_length else math.exp(1 - reference_length / length)
    return penalty * math.exp(math.fsum(math.log((m or 0.1) / g) / MAX_ORDER for m, g in zip(matches, possible, strict=True)))
