"""Operations of the `tiny` problems that take one word. Those that look at letters take lower case only."""

import itertools
import re

from coderl_jax.data.tiny_operations import LETTERS, SHARES, Operation

_letters = re.compile("[A-Za-z]*").fullmatch
_lower = re.compile("[a-z]*").fullmatch
_lower_and_not_empty = re.compile("[a-z]+").fullmatch


def _runs(word: str) -> list[str]:
    return ["".join(group) for _, group in itertools.groupby(word)]


_CHANGES = (
    Operation(
        "upper case", "word", "word",
        ("{x} in upper case", "{x} in capital letters"),
        ("{x}.upper()", '"".join(c.upper() for c in {x})', '{y} = ""\nfor c in {x}:\n    {y} += c.upper()'),
        str.upper, defined=_lower,
    ),
    Operation(
        "backwards", "word", "word",
        ("{x} backwards", "{x} written from right to left", "the reverse of {x}"),
        ("{x}[::-1]", '"".join(reversed({x}))', '{y} = ""\nfor c in {x}:\n    {y} = c + {y}'),
        lambda word: word[::-1], defined=_letters,
    ),
    Operation(
        "no vowels", "word", "word",
        ("{x} without its vowels", "what is left of {x} when the vowels are removed"),
        (
            '"".join(c for c in {x} if c not in "aeiou")',
            '"".join([c for c in {x} if c not in "aeiou"])',
            '{y} = ""\nfor c in {x}:\n    if c not in "aeiou":\n        {y} += c',
        ),
        lambda word: "".join(c for c in word if c not in "aeiou"), defined=_lower,
    ),
    Operation(
        "without letter", "word", "word",
        ("{x} without the letter {k}", "{x} with every {k} removed"),
        ('{x}.replace({k}, "")', '"".join(c for c in {x} if c != {k})', '{y} = ""\nfor c in {x}:\n    if c != {k}:\n        {y} += c'),
        lambda word, k: word.replace(k, ""), LETTERS, _lower,
    ),
    Operation(
        "wrapped", "word", "word",
        ("{x} with {k} added at both ends", "{x} between two letters {k}"),
        ("{k} + {x} + {k}", '"".join([{k}, {x}, {k}])'),
        lambda word, k: k + word + k, LETTERS, _letters,
    ),
    Operation(
        "doubled letters", "word", "word",
        ("{x} with each letter written twice", "{x} with every letter doubled"),
        ('"".join(c * 2 for c in {x})', '"".join(c + c for c in {x})', '{y} = ""\nfor c in {x}:\n    {y} += c + c'),
        lambda word: "".join(c + c for c in word), defined=_letters,
    ),
    Operation(
        "sorted letters", "word", "word",
        ("the letters of {x} in alphabetical order", "{x} with its letters sorted"),
        ('"".join(sorted({x}))', 'd = list({x})\nd.sort()\n{y} = "".join(d)'),
        lambda word: "".join(sorted(word)), defined=_lower,
    ),
    Operation(
        "first letters", "word", "word",
        ("the first {k} letters of {x} (all if fewer)", "{x} cut to at most {k} letters"),
        ("{x}[:{k}]", '"".join(c for i, c in enumerate({x}) if i < {k})'),
        lambda word, k: word[:k], SHARES, _letters,
    ),
    Operation(
        "last letters", "word", "word",
        ("the last {k} letters of {x} (all if fewer)", "the end of {x}, at most {k} letters"),
        ("{x}[-{k}:]", '{y} = {x}\nwhile len({y}) > {k}:\n    {y} = {y}[1:]'),
        lambda word, k: word[-k:], SHARES, _letters,
    ),
    Operation(
        "repeated word", "word", "word",
        ("{x} repeated {k} times", "{k} copies of {x} in a row"),
        ("{x} * {k}", '"".join({x} for i in range({k}))', '{y} = ""\nfor i in range({k}):\n    {y} += {x}'),
        lambda word, k: word * k, SHARES, _letters,
    ),
    Operation(
        "mirrored", "word", "word",
        ("{x} followed by its reverse", "{x} and then {x} backwards, joined"),
        ("{x} + {x}[::-1]", '{x} + "".join(reversed({x}))'),
        lambda word: word + word[::-1], defined=_letters,
    ),
    Operation(
        "distinct letters", "word", "word",
        ("{x} with only the first occurrence of each letter", "the different letters of {x} in order of first appearance"),
        ('"".join(dict.fromkeys({x}))', '{y} = ""\nfor c in {x}:\n    if c not in {y}:\n        {y} += c'),
        lambda word: "".join(dict.fromkeys(word)), defined=_letters,
    ),
)

_MEASURES = (
    Operation(
        "highest letter count", "word", "int",
        ("how often the most common letter of {x} occurs", "the largest number of times that one letter stands in {x}"),
        (
            "max({x}.count(c) for c in {x})",
            "d = {}\nfor c in {x}:\n    d[c] = d.get(c, 0) + 1\n{y} = max(d.values())",
        ),
        lambda word: max(map(word.count, word)), defined=_lower_and_not_empty,
    ),
    Operation(
        "length", "word", "int",
        ("the length of {x}", "how many letters {x} has", "the number of letters in {x}"),
        ("len({x})", "sum(1 for c in {x})", "{y} = 0\nfor c in {x}:\n    {y} += 1"),
        len, defined=_letters,
    ),
    Operation(
        "vowel count", "word", "int",
        ("the number of vowels in {x}", "how many letters of {x} are vowels"),
        (
            'sum(1 for c in {x} if c in "aeiou")',
            'sum(c in "aeiou" for c in {x})',
            '{y} = 0\nfor c in {x}:\n    if c in "aeiou":\n        {y} += 1',
        ),
        lambda word: sum(map(word.count, "aeiou")), defined=_lower,
    ),
    Operation(
        "letter count", "word", "int",
        ("how often the letter {k} occurs in {x}", "the number of times {x} contains {k}"),
        ("{x}.count({k})", "sum(1 for c in {x} if c == {k})", "{y} = 0\nfor c in {x}:\n    if c == {k}:\n        {y} += 1"),
        lambda word, k: word.count(k), LETTERS, _lower,
    ),
    Operation(
        "letter place", "word", "int",
        ("the index (from 0) of the first {k} in {x}, or -1", "where {k} first stands in {x}, counted from 0 (-1 if nowhere)"),
        ("{x}.find({k})", "{x}.index({k}) if {k} in {x} else -1"),
        lambda word, k: word.find(k), LETTERS, _lower,
    ),
    Operation(
        "different letters", "word", "int",
        ("the number of different letters in {x}", "how many distinct letters {x} has"),
        ("len(set({x}))", "d = []\nfor c in {x}:\n    if c not in d:\n        d.append(c)\n{y} = len(d)"),
        lambda word: len(set(word)), defined=_letters,
    ),
)

_QUESTIONS = (
    Operation(
        "palindrome", "word", "bool",
        ("whether {x} is a palindrome", "if {x} reads the same backwards"),
        ("{x} == {x}[::-1]", '{x} == "".join(reversed({x}))', "all({x}[i] == {x}[-i - 1] for i in range(len({x})))"),
        lambda word: word == word[::-1], defined=_letters,
    ),
    Operation(
        "starts with", "word", "bool",
        ("whether {x} starts with the letter {k}", "if the first letter of {x} is {k}"),
        ("{x}.startswith({k})", "{x}[:1] == {k}", "{x}[0] == {k}"),
        lambda word, k: word[0] == k, LETTERS, _lower_and_not_empty,
    ),
    Operation(
        "contains letter", "word", "bool",
        ("whether {x} contains the letter {k}", "if there is a {k} in {x}"),
        ("{k} in {x}", "{x}.count({k}) > 0", "any(c == {k} for c in {x})"),
        lambda word, k: k in word, LETTERS, _lower,
    ),
)

_PIECES = (
    Operation(
        "pieces", "word", "words",
        ("{x} cut into pieces of {k} letters (the last may be shorter)", "the pieces of {k} letters that {x} falls into, the rest last"),
        (
            "[{x}[i:i + {k}] for i in range(0, len({x}), {k})]",
            "{y} = []\nfor i in range(0, len({x}), {k}):\n    {y}.append({x}[i:i + {k}])",
        ),
        lambda word, k: [word[i : i + k] for i in range(0, len(word), k)], SHARES, _letters,
    ),
)

OPERATIONS = _CHANGES + _MEASURES + _QUESTIONS + _PIECES
