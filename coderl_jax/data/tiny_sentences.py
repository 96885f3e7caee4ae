"""Operations of the `tiny` problems that take a list of words. Those that look at letters take lower case only."""

from collections.abc import Callable

from coderl_jax.data.tiny_operations import LETTERS, NONE, SHARES, Operation, Values


def _lower(words: list[str]) -> bool:
    return all(word == word.lower() for word in words)


def _some_lower(words: list[str]) -> bool:
    return bool(words) and _lower(words)


def _keep(name: str, phrases: tuple[str, ...], test: str, holds: Callable[[str, int | str], bool], values: Values) -> Operation:
    return Operation(
        f"words {name}", "words", "words", phrases,
        (
            f"[w for w in {{x}} if {test}]",
            f"list(filter(lambda w: {test}, {{x}}))",
            f"{{y}} = []\nfor w in {{x}}:\n    if {test}:\n        {{y}}.append(w)",
        ),
        lambda words, k: [w for w in words if holds(w, k)], values, _lower,
    )


def _count(name: str, phrases: tuple[str, ...], test: str, holds: Callable[[str, int | str], bool], values: Values) -> Operation:
    return Operation(
        f"count {name}", "words", "int", phrases,
        (
            f"sum(1 for w in {{x}} if {test})",
            f"len([w for w in {{x}} if {test}])",
            f"{{y}} = 0\nfor w in {{x}}:\n    if {test}:\n        {{y}} += 1",
        ),
        lambda words, k: sum(holds(w, k) for w in words), values, _lower,
    )


def _each(name: str, phrases: tuple[str, ...], code: str, function: Callable[..., str], values: Values = NONE) -> Operation:
    return Operation(
        f"each word {name}", "words", "words", phrases,
        (f"[{code} for w in {{x}}]", f"list(map(lambda w: {code}, {{x}}))", f"{{y}} = []\nfor w in {{x}}:\n    {{y}}.append({code})"),
        lambda words, *k: [function(w, *k) for w in words], values, _lower,
    )


_SELECTIONS = (
    _keep(
        "longer", ("the words in {x} with more than {k} letters", "only those words of {x} longer than {k} letters"),
        "len(w) > {k}", lambda w, k: len(w) > k, SHARES,
    ),
    _keep(
        "with letter", ("the words in {x} that contain the letter {k}", "only those words of {x} with a {k} in them"),
        "{k} in w", lambda w, k: k in w, LETTERS,
    ),
    _keep(
        "starting", ("the words in {x} that start with {k}", "only those words of {x} whose first letter is {k}"),
        "w[0] == {k}", lambda w, k: w.startswith(k), LETTERS,
    ),
    _count(
        "with letter", ("how many words in {x} contain the letter {k}", "the number of words in {x} with a {k} in them"),
        "{k} in w", lambda w, k: k in w, LETTERS,
    ),
    _count(
        "starting", ("how many words in {x} start with {k}", "the number of words in {x} whose first letter is {k}"),
        "w[0] == {k}", lambda w, k: w.startswith(k), LETTERS,
    ),
)

_MAPS = (
    _each("upper", ("{x} in upper case", "the words of {x} in capital letters"), "w.upper()", str.upper),
    _each("backwards", ("{x} with each word reversed", "every word of {x} written backwards"), "w[::-1]", lambda w: w[::-1]),
    _each(
        "cut", ("the first {k} letters of each word in {x}", "each word of {x} cut to at most {k} letters"),
        "w[:{k}]", lambda w, k: w[:k], SHARES,
    ),
)

_ORDERS = (
    Operation(
        "sort words", "words", "words",
        ("{x} in alphabetical order", "the words of {x} sorted"),
        ("sorted({x})", "{y} = list({x})\n{y}.sort()"),
        sorted, defined=_lower,
    ),
    Operation(
        "reverse words", "words", "words",
        ("the words of {x} from last to first", "{x} in reverse order"),
        ("{x}[::-1]", "list(reversed({x}))", "{y} = []\nfor w in {x}:\n    {y}.insert(0, w)"),
        lambda words: words[::-1],
    ),
    Operation(
        "distinct words", "words", "words",
        ("{x} without repeats, first occurrences kept", "the different words of {x} in order of first appearance"),
        ("list(dict.fromkeys({x}))", "{y} = []\nfor w in {x}:\n    if w not in {y}:\n        {y}.append(w)"),
        lambda words: list(dict.fromkeys(words)),
    ),
)

_SUMMARIES = (
    Operation(
        "lengths", "words", "ints",
        ("the lengths of the words in {x}", "how many letters each word of {x} has"),
        ("[len(w) for w in {x}]", "list(map(len, {x}))", "{y} = []\nfor w in {x}:\n    {y}.append(len(w))"),
        lambda words: [len(w) for w in words],
    ),
    Operation(
        "letter counts", "words", "ints",
        ("how often the letter {k} occurs in each word of {x}", "the number of times {k} occurs in every word of {x}"),
        ("[w.count({k}) for w in {x}]", "list(map(lambda w: w.count({k}), {x}))", "{y} = []\nfor w in {x}:\n    {y}.append(w.count({k}))"),
        lambda words, k: [w.count(k) for w in words], LETTERS, _lower,
    ),
    Operation(
        "total letters", "words", "int",
        ("the total number of letters in {x}", "how many letters the words of {x} have together"),
        ("sum(len(w) for w in {x})", 'len("".join({x}))', "{y} = 0\nfor w in {x}:\n    {y} += len(w)"),
        lambda words: sum(map(len, words)),
    ),
    Operation(
        "initials", "words", "word",
        ("the first letters of the words in {x}, joined", "the word made of the initials of {x}"),
        ('"".join(w[0] for w in {x})', '"".join([w[0] for w in {x}])', '{y} = ""\nfor w in {x}:\n    {y} += w[0]'),
        lambda words: "".join(w[:1] for w in words),
    ),
    Operation(
        "longest word", "words", "word",
        ("the longest word in {x} (the first of ties)", "the word of {x} with the most letters, the first if tied"),
        ("max({x}, key=len)", "{y} = {x}[0]\nfor w in {x}:\n    if len(w) > len({y}):\n        {y} = w"),
        lambda words: next(w for w in words if len(w) == max(map(len, words))), defined=bool,
    ),
    Operation(
        "shortest word", "words", "word",
        ("the shortest word in {x} (the first of ties)", "the word of {x} with the fewest letters, the first if tied"),
        ("min({x}, key=len)", "{y} = {x}[0]\nfor w in {x}:\n    if len(w) < len({y}):\n        {y} = w"),
        lambda words: next(w for w in words if len(w) == min(map(len, words))), defined=bool,
    ),
    Operation(
        "first word", "words", "word",
        ("the alphabetically first word in {x}", "the word of {x} that comes first in a dictionary"),
        ("min({x})", "sorted({x})[0]", "{y} = {x}[0]\nfor w in {x}:\n    if w < {y}:\n        {y} = w"),
        min, defined=_some_lower,
    ),
    Operation(
        "most common word", "words", "word",
        ("the word that occurs most often in {x}, the first if tied", "the most common word of {x} (the first of ties)"),
        ("max({x}, key={x}.count)", "d = {}\nfor w in {x}:\n    d[w] = d.get(w, 0) + 1\n{y} = max(d, key=d.get)"),
        lambda words: max(words, key=words.count), defined=_some_lower,
    ),
    Operation(
        "joined", "words", "word",
        ("the words of {x} joined with dashes", 'the words of {x} with a "-" between neighbours'),
        ('"-".join({x})', '{y} = ""\nfor w in {x}:\n    {y} += "-" + w\n{y} = {y}[1:]'),
        "-".join,
    ),
)

OPERATIONS = _SELECTIONS + _MAPS + _ORDERS + _SUMMARIES
