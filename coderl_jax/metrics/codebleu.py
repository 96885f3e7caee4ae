"""CodeBLEU: n-grams, weighted n-grams, syntax and data flow, a quarter each.      Ren et al. 2020, as CodeXGLUE computes it

Syntax and data flow need the parsers of the extra `codexglue`.
"""

from collections import Counter
from collections.abc import Sequence

from coderl_jax.files import UserError
from coderl_jax.metrics.bleu import ngram_match, weighted_ngram_match
from coderl_jax.metrics.dataflow import data_flow
from coderl_jax.metrics.parsing import check_language, parse, without_comments
from coderl_jax.metrics.trees import Node

KEYWORDS = {
    "java": """abstract assert boolean break byte case catch char class const continue default do double else enum extends final
        finally float for goto if implements import instanceof int interface long native new package private protected public
        return short static strictfp super switch synchronized this throw throws transient try void volatile while""",
    "c_sharp": """abstract add alias as ascending async await base bool break by byte case catch char checked class const continue
        decimal default delegate descending do double dynamic else enum equals event explicit extern false finally fixed float
        for foreach from get global goto group if implicit in int interface internal into is join let lock long nameof namespace
        new notnull null object on operator orderby out override params partial private protected public readonly ref remove
        return sbyte sealed select set short sizeof stackalloc static string struct switch this throw true try typeof uint ulong
        unchecked unmanaged unsafe ushort using value var virtual void volatile when where while yield""",
    "python": """False None True and as assert async await break class continue def del elif else except finally for from global if
        import in is lambda nonlocal not or pass raise return try while with yield""",
}
_OTHER_TOKENS = 0.2
"""Weight of a token that is no keyword; a keyword weighs 1."""


def codebleu(references: Sequence[str], hypotheses: Sequence[str], language: str) -> dict[str, float]:
    """CodeBLEU of a corpus and its four parts, fractions: ngram, weighted_ngram, syntax, dataflow, CodeBLEU.

    syntax    share of the references' subtrees that their hypotheses have too
    dataflow  share of the references' flows that their hypotheses have too, each flow found once; 0 where there is none

    Tokens are what stands between white space. One reference a hypothesis. Programs that a grammar allows get CodeXGLUE's
    numbers; those that break off or do not pair their brackets and quotes are mended otherwise by today's parsers, which on
    two baselines' outputs changes syntax by up to 4e-4 and dataflow by up to 5e-4.

    Raises:
      UserError: lengths differ, no program, an unknown language, a parser that is not installed.
    """
    check_pairs(references, hypotheses)
    check_language(language)
    tokens = [program.split() for program in references], [program.split() for program in hypotheses]
    subtrees_found = subtrees = flows_found = flows = 0
    known: dict[tuple, int] = {}
    for pair in zip(references, hypotheses, strict=True):
        counts = _found(*pair, language, known)
        subtrees_found, subtrees = subtrees_found + counts[0], subtrees + counts[1]
        flows_found, flows = flows_found + counts[2], flows + counts[3]
    parts = {
        "ngram": ngram_match(*tokens),
        "weighted_ngram": weighted_ngram_match(*tokens, dict.fromkeys(KEYWORDS[language].split(), 1.0), _OTHER_TOKENS),
        "syntax": subtrees_found / subtrees,
        "dataflow": flows_found / flows if flows else 0.0,
    }
    return {**parts, "CodeBLEU": sum(0.25 * part for part in parts.values())}


def structure_match(reference: str, program: str, language: str) -> float:
    """Mean of syntax and data flow of one program: the shares of the reference's subtrees and flows that it has too, as in CodeBLEU.

    Of a reference without data flow syntax alone counts.

    Raises:
      UserError: an unknown language, a parser that is not installed.
    """
    check_language(language)
    subtrees_found, subtrees, flows_found, flows = _found(reference, program, language, {})
    return (subtrees_found / subtrees + flows_found / flows) / 2 if flows else subtrees_found / subtrees


def _found(reference: str, program: str, language: str, known: dict[tuple, int]) -> tuple[int, int, int, int]:
    """How many of the reference's subtrees the program has, of how many, and how many of its flows, of how many."""
    wanted, given = map(without_comments, map(str.strip, (reference, program)))
    wanted_tree, given_tree = parse(wanted, language), parse(given, language)
    given_subtrees, wanted_subtrees = set(_subtrees(given_tree, known)), _subtrees(wanted_tree, known)
    wanted_flows, given_flows = Counter(data_flow(wanted_tree, wanted, language)), Counter(data_flow(given_tree, given, language))
    found = sum(subtree in given_subtrees for subtree in wanted_subtrees)
    return found, len(wanted_subtrees), (wanted_flows & given_flows).total(), wanted_flows.total()


def check_pairs(references: Sequence[str], hypotheses: Sequence[str]) -> None:
    """UserError where there is not one hypothesis a reference, or none at all."""
    if len(references) != len(hypotheses):
        wanted, got = len(references), len(hypotheses)
        raise UserError(f"hypotheses: expected {wanted}, one a reference, got {got}; give both in one order, an empty text for none")
    if not references:
        raise UserError("references: expected one text or more, got none; give what the hypotheses are compared with")


def _subtrees(tree: Node, known: dict[tuple, int]) -> list[int]:
    """A number for each subtree that is more than a token, the root in any case; equal shapes have equal numbers.

    Shapes are equal where the named nodes and their parts are; keywords and signs do not count.

    Args:
      tree: of a program.
      known: the numbers given so far. Changed.
    """
    numbers: list[int] = []
    shapes: dict[int, int] = {}
    for node in reversed(list(tree.walk())):
        below = tuple((child.field, shapes[id(child)]) for child in node.children if child.named or child.missing)
        shape = known.setdefault((node.kind, node.missing, below), len(known))
        shapes[id(node)] = shape
        if node.children or node is tree:
            numbers.append(shape)
    return numbers
