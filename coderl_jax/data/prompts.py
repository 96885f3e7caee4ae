"""What the models read and write, as text and as ids.

A prompt is `<s>` + BPE + `</s>`, a program likewise; the decoder starts from `<pad>`. The layouts are the released code's,
byte for byte, except for the repair prompt, which was never released.
"""

from coderl_jax.config import Lengths
from coderl_jax.data.tokenizer import BOS, EOS, Tokenizer
from coderl_jax.types import Outcome, Problem, PublicProblem

_ERROR_MESSAGE_LIMIT = 80


def generation_prompt(problem: PublicProblem) -> str:
    """The problem as actor, critic and repair model read it, in training too.

    Released code, `generate.py`: the starter code stands in it wherever there is any, also in a problem judged by standard input.
    The prompt of a text task is the statement as it is.
    """
    if problem.task is not None:
        return problem.statement
    starter = "" if problem.starter_code is None else "\n" + problem.starter_code
    return f"\nQUESTION:\n{problem.statement}{starter}\n{_format(problem.call_based)}\nANSWER:\n"


def training_prompt(problem: PublicProblem) -> str:
    """The prompt of the released training code, which has more line ends than its generation prompt.

    There the starter code alone decides whether the problem is call-based. Ours trains on `generation_prompt`, so that the model
    is asked as it was taught; this form is for parity with the released models' training.
    """
    return f"\nQUESTION:\n{problem.statement}\n{problem.starter_code or ''}\n\n{_format(problem.starter_code is not None)}\n\nANSWER:\n"


def repair_prompt(problem: PublicProblem, program: str, outcome: Outcome, error_type: str | None, error_message: str | None) -> str:
    """What the repair model reads: outcome and error, the wrong program, the problem (CodeRL section 3.3.4, Eq. 13).

    The paper does not say how the four parts become text. Here the problem stands last and is exactly the generation prompt: what
    a long statement loses when it is cut is its own end, never the error or the program. Of a message only the first line counts,
    up to 80 characters.
    """
    parts = [outcome.label]
    if error_type:
        parts.append(error_type)
    if error_message and error_message.strip():
        parts.append(error_message.strip().splitlines()[0][:_ERROR_MESSAGE_LIMIT])
    return f"\nERROR:\n{' '.join(parts)}\nWRONG ANSWER:\n{program}{generation_prompt(problem)}"


def _format(call_based: bool) -> str:
    return "Use Call-Based format" if call_based else "Use Standard Input format"


def prompt_tokens(tokenizer: Tokenizer, text: str, max_tokens: int) -> tuple[list[int], bool]:
    """`<s>` + BPE + `</s>` of a prompt, and whether it was cut: a longer one keeps its first `max_tokens` - 1 ids and `</s>`."""
    ids = [BOS, *tokenizer.encode(text), EOS]
    if len(ids) <= max_tokens:
        return ids, False
    return [*ids[: max_tokens - 1], EOS], True


def taught_prompt(tokenizer: Tokenizer, problem: PublicProblem, lengths: Lengths) -> tuple[list[int], bool]:
    """The prompt of a reference solution in training, and whether it was cut.

    That of generation; in upstream parity `training_prompt`, of which a cut keeps the first ids and loses the `</s>`.
    """
    if lengths.parity == "paper" or problem.task is not None:
        return prompt_tokens(tokenizer, generation_prompt(problem), lengths.max_prompt_tokens)
    ids = program_tokens(tokenizer, training_prompt(problem), lengths.max_prompt_tokens)  # cut as programs are
    return ids, ids[-1] != EOS


def program_tokens(tokenizer: Tokenizer, code: str, max_tokens: int) -> list[int]:
    """`<s>` + BPE + `</s>` of a program: the decoder's target. `tokenizer.decode` gives the program back.

    A longer one keeps its first `max_tokens` ids and has no `</s>`: nobody is taught to stop in the middle. The code is taken as
    it is; reference solutions of a model that writes tabs, as the released ones do, go through `reindent` first.
    """
    return [BOS, *tokenizer.encode(code), EOS][:max_tokens]


def program_token_starts(tokenizer: Tokenizer, code: str, max_tokens: int) -> list[int]:
    """Where in the program each of its `program_tokens` begins, in characters: 0 for `<s>`, the length for `</s>`."""
    return [0, *tokenizer.starts(code), len(code)][:max_tokens]


def taught_text(problem: Problem, solution: str) -> str:
    """A reference solution as it is taught: re-indented, but other languages and prose, of text tasks, as they are."""
    return solution if problem.task else reindent(solution)


def reindent(code: str) -> str:
    """Leading indentation as tabs, one a level, as the released models learnt to write.

    The first indented line sets the width of a level; what is left over of a line's indentation stays as it was. Blank lines and the
    insides of multi-line strings are treated like any other line. Every line ends in a newline.
    """
    lines = [line.rstrip("\r") for line in code.split("\n")]
    if lines[-1] == "":
        lines.pop()
    unit = next((_indentation(line) for line in lines if _indentation(line) and not line.isspace()), "")
    if unit.startswith("\t"):
        unit = "\t"
    result = []
    for line in lines:
        level = 0
        while unit and line.startswith(unit, level * len(unit)):
            level += 1
        result.append("\t" * level + line[level * len(unit) :] + "\n")
    return "".join(result)


def _indentation(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]
