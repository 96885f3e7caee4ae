"""Judged programs as cards, each token coloured by a critic, with the controls that search and filter them."""

from collections.abc import Sequence

from coderl_jax.report.axes import percent, words
from coderl_jax.report.critics import class_labels, pass_values
from coderl_jax.report.judged import LABELS, Judged, Sample
from coderl_jax.report.listing import LEVELS, Colours, beginning, listing
from coderl_jax.report.markup import Markup, joined, tag
from coderl_jax.types import Score

_MOST_CHARACTERS = 2_500_000  # of all cards' markup: the page must load on a phone
_FILTERS = {"outcome": "outcome", "stage": "stage", "error": "type of error", "difficulty": "difficulty", "file": "file"}


def programs_section(files: Sequence[Judged]) -> Markup:
    """Controls, legend, and a card a program. Without a script the controls stay hidden and every card is in sight."""
    samples = [(judged.title, sample) for judged in files for sample in judged.samples]
    if not samples:
        return Markup()
    cards, left = _within(samples)
    counts = [
        tag("li", tag("b", judged.title), ": ", ", ".join(f"{count:,} {words(name)}" for name, count in judged.counts.items()))
        for judged in files
        if judged.samples
    ]
    total = sum(sum(judged.counts.values()) for judged in files)
    told = f"{len(cards):,} of {total:,} programs, spread over outcomes, stages, difficulties and types of error"
    coloured = any(score.token_starts for _, sample in samples for score in sample.scores.values())
    return joined(
        tag("p", told, f"; {left:,} more would make the page too large" if left else "", cls="legend"),
        tag("ul", *counts, cls="counts"),
        _controls([_values(title, sample) for title, sample in samples[: len(cards)]]),
        _legend() if coloured else None,
        tag("div", *cards, cls="cards"),
    )


def _within(samples: Sequence[tuple[str, Sample]]) -> tuple[list[Markup], int]:
    """As many cards as the page has room for, and how many it has not."""
    cards: list[Markup] = []
    room = _MOST_CHARACTERS
    for title, sample in samples:
        card = _card(title, sample)
        room -= len(card)
        if room < 0:
            break
        cards.append(card)
    return cards, len(samples) - len(cards)


def _values(title: str, sample: Sample) -> dict[str, str]:
    """What a card is filtered by."""
    return {
        "outcome": sample.label,
        "stage": sample.program.stage or "",
        "error": sample.verdict.error_type or "",
        "difficulty": sample.problem.difficulty or "",
        "file": title,
    }


def _controls(cards: Sequence[dict[str, str]]) -> Markup:
    """A search field, a choice for everything that cards differ in, and the count. The script shows them."""
    fields = [
        tag("input", type="search", id="search", placeholder="Search programs, statements, ids, errors", aria_label="search programs")
    ]
    for name, title in _FILTERS.items():
        found = sorted({card[name] for card in cards}, key=lambda value: (LABELS.index(value) if value in LABELS else -1, value))
        if len(found) > 1:
            options = [tag("option", words(value) if name == "outcome" else value or f"no {title}", value=value) for value in found]
            fields.append(tag("select", tag("option", f"any {title}", value="*"), *options, data_filter=name, aria_label=title))
    reset = tag("button", "Clear", type="button", id="clear")
    count = tag("output", f"{len(cards)} of {len(cards)} shown", id="count", aria_live="polite")
    return tag("div", *fields, reset, count, cls="controls", id="controls", hidden="hidden", role="search")


def _legend() -> Markup:
    def shades(scale: str) -> Markup:
        return tag("span", *(tag("i", cls=f"{scale}{level}") for level in range(LEVELS)), cls="shades")

    return tag(
        "div",
        tag("span", "p(passed) at a token: 0 ", shades("v"), " 1"),
        tag("span", "of a failing program under a critic of four classes, p(its outcome): 0 ", shades("u"), " 1"),
        tag("span", tag("b", cls="cut"), " critical sampling keeps what stands before"),
        cls="legend tokens",
    )


def _card(title: str, sample: Sample) -> Markup:
    program, verdict = sample.program, sample.verdict
    passed = f"{verdict.tests_passed} of {verdict.tests_total} hidden tests" if verdict.tests_total else None
    example = None if sample.example is None else f"example tests: {words(sample.example.label)}"
    facts = [title, f"program {program.index}", program.stage, sample.problem.difficulty, passed, example]
    told = ": ".join(part for part in (verdict.error_type, verdict.error_message) if part)
    error = tag("p", (f"line {verdict.error_line}: " if verdict.error_line else ""), *beginning(told), cls="error") if told else None
    statement = None
    if sample.problem.statement:
        statement = tag("details", tag("summary", "statement"), tag("pre", *beginning(sample.problem.statement), cls="statement"))
    return tag(
        "article",
        tag("header", tag("span", words(sample.label), cls=f"badge {sample.label}"), tag("b", program.problem_id), cls="head"),
        tag("p", ", ".join(fact for fact in facts if fact), cls="facts"),
        statement,
        error,
        *_listings(sample),
        cls="card",
        **{f"data_{name}": value for name, value in _values(title, sample).items()},
    )


def _listings(sample: Sample) -> list[Markup]:
    """The program as one critic colours it, one that tells the refine cut if there is any; as others do, folded."""
    text, line = sample.program.program, sample.verdict.error_line
    critics = sorted(sample.scores, key=lambda critic: sample.scores[critic].refine_cut is None)
    if not critics:
        return [listing(text, line, None)]
    first, *others = ((_said(critic, sample), listing(text, line, _colours(sample.scores[critic]))) for critic in critics)
    folded = [tag("details", tag("summary", said), lines) for said, lines in others]
    return [tag("p", first[0], cls="facts"), first[1], *folded]


def _said(critic: str, sample: Sample) -> str:
    """What a critic predicts, what its colours are, and where it cuts."""
    score = sample.scores[critic]
    found = score.outcome_probabilities
    predicted = class_labels(len(found))[found.index(max(found))]
    told = [f"{critic}: {words(predicted)}, p(passed) {percent(found[-1])}"]
    if score.token_starts:
        told.append(f"tokens by {_valued(score)}")
        if score.refine_cut is not None:
            told.append(f"the refine cut keeps {score.refine_cut} of {len(score.tokens)} tokens where example tests pass")
    return "; ".join(told)


def _valued(score: Score) -> str:
    """What the values of a program's tokens are the probability of."""
    return f"p({words(score.outcome.label)})" if len(score.outcome_probabilities) == 4 else "p(passed)"


def _colours(score: Score) -> Colours | None:
    if not score.token_starts:
        return None
    values = pass_values(score) if len(score.outcome_probabilities) == 2 else score.token_values
    scale = "v" if _valued(score) == "p(passed)" else "u"
    return Colours(starts=score.token_starts, values=values, scale=scale, cut=score.refine_cut)
