"""The scores of CodeXGLUE's generation tasks, as its evaluators print them.      Lu et al. 2021, section 3"""

from collections.abc import Callable, Sequence

from coderl_jax.files import UserError, shown
from coderl_jax.metrics.bleu import corpus_bleu, smoothed_sentence_bleu
from coderl_jax.metrics.codebleu import check_pairs, codebleu

LANGUAGE = {
    "text_to_code": "java",
    "code_to_code_java": "java",
    "code_to_code_c_sharp": "c_sharp",
    "refinement": "java",
    "code_to_text": None,
}
"""Task -> the language that is written, as CodeBLEU names it."""
CHOSEN_BY = {task: ("BLEU", "EM" if task == "text_to_code" else "Acc") if LANGUAGE[task] else ("smoothed_BLEU",) for task in LANGUAGE}
"""Task -> the scores by whose sum a model's best checkpoint is chosen, as CodeT5's scripts do: by BLEU alone a copy of the input wins."""


def codexglue_scores(task: str, references: Sequence[str], hypotheses: Sequence[str], with_codebleu: bool = True) -> dict[str, float]:
    """The metrics that CodeXGLUE defines for a task.

    text_to_code    (CONCODE)                      BLEU, EM, CodeBLEU and its parts
    code_to_code_*  (translation, Java and C#)     BLEU, Acc, CodeBLEU and its parts
    refinement      (Java bug fixes)               BLEU, Acc, CodeBLEU and its parts
    code_to_text    (summaries)                    smoothed_BLEU

    BLEU, EM and Acc are percentages with two digits; smoothed_BLEU is a percentage; CodeBLEU and its parts (ngram,
    weighted_ngram, syntax, dataflow) are fractions.

    Args:
      task: a `TextTask`; translation is scored in the language that is written.
      references: one program, or summary, a row.
      hypotheses: what a model wrote for the row; empty where it wrote nothing.
      with_codebleu: it takes nearly all of the time, and parsers.

    Raises:
      UserError: an unknown task, lengths differ, no row, a parser that is not installed.
    """
    if task not in LANGUAGE:
        raise UserError(f"task: expected one of {', '.join(LANGUAGE)}, got {shown(task)}; name the task that the rows are of")
    check_pairs(references, hypotheses)
    language = LANGUAGE[task]
    if language is None:
        scores = [smoothed_sentence_bleu(reference, hypothesis) for reference, hypothesis in zip(references, hypotheses, strict=True)]
        return {"smoothed_BLEU": sum(scores) * 100 / len(scores)}
    bleu = corpus_bleu([text.split() for text in references], [text.split() for text in hypotheses])
    # CONCODE compares tokens, the others compare lines.
    name, seen = ("EM", str.split) if task == "text_to_code" else ("Acc", str.strip)
    result = {"BLEU": round(100 * bleu, 2), name: round(100 * _share_equal(references, hypotheses, seen), 2)}
    return {**result, **codebleu(references, hypotheses, language)} if with_codebleu else result


def _share_equal(references: Sequence[str], hypotheses: Sequence[str], seen: Callable[[str], object]) -> float:
    """Fraction of the rows whose two texts are seen as equal."""
    equal = sum(seen(reference) == seen(hypothesis) for reference, hypothesis in zip(references, hypotheses, strict=True))
    return equal / len(references)
