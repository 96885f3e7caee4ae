"""Example tests out of a problem's statement: critical sampling may look at these and at nothing else.

Two kinds of statement are read. Programs that read standard input show blocks of text below headings (Codeforces `Examples`,
AtCoder `Sample Input 1`, with or without rules of dashes). Functions show `Input: nums = [2, 7], k = 9` and `Output: [0, 1]` (LeetCode),
or calls with their value: `f([1, 2]) == 3`, `f(1) => 2`, `f(1) // returns 2`, `>>> f(1)`, or sentences: `For n = 2 the output should
be 3`. Values are literals of Python or JSON; what is no literal is passed over, never guessed.
"""

import ast
import builtins
import dataclasses
import math
import re
from collections.abc import Iterator
from typing import Any

from coderl_jax.syntax import parsed
from coderl_jax.types import CallTests, StdinTests, Tests

_HEADING = re.compile(
    r"""(?P<rule>-{3,}|\#{1,6}|\*\*)?\s*
    (?P<sample>(?:sample|example)s?\s+)?
    (?P<kind>input|output|example|sample|explanation|note|constraint)s?
    \s*(?:\#?\d+)?\s*
    (?P<colon>:)?\s*(?:-{3,}|\*\*)?(?P<rest>.*)""",
    re.IGNORECASE | re.VERBOSE,
)
_DEFINITION = re.compile(r"^[ \t]*def\s+(?!__)(\w+)\s*(?=\()", re.MULTILINE)
_LEADING_CALL = re.compile(r"^[ \t]*(?:>>>[ \t]*|assert[ \t]+|`+)?([A-Za-z_]\w*)\(", re.MULTILINE)
_GIVES = re.compile(
    r"""[\s`;]*(?:(?://|\#|/\*)\s*)?
    (?:==+>?|=>|-+>|=|\u2192|\u21d2|\u279e|(?:(?:should|must|will)\s+)?(?:returns?|equals?|gives?|be|outputs?)\b|(?<=//)|(?<=\#)|(?<=/\*))
    [\s`:]*""",
    re.VERBOSE,
)
_FOR_CALL = re.compile(
    r"\bfor\s+(?=[A-Za-z_]\w*\s*=)(?P<given>.*?),?\s+the\s+(?:output|result|answer)\s+(?:should|must|will)\s+be\b[ \t:]*", re.IGNORECASE
)
_FENCE = re.compile(r"\s*(?:```+|~~~+)\s*\w*\s*")
_SCALAR = re.compile(r"[-+]?\w+(?:\.\w+)?(?:(?<=[eE])[-+]\d+)?")
_OPERATION = re.compile(r"\s*[-+*/%<>=&|^\[(]|[,:.]+\d|\s+or\b|\s+if\b.*\belse\b")
_PUNCTUATION = re.compile(r"\\.|[()\[\]{}\"']", re.DOTALL)
_DEEPEST = 200  # brackets in brackets; Python reads no more
_OPENING = tuple("[({\"'")
_WORDS = {"true": True, "false": False, "null": None}


def extract_examples(statement: str, starter_code: str | None) -> Tests | None:
    """The example tests that a statement shows; None where it shows none in a known form.

    Args:
      statement: the problem's text, examples included.
      starter_code: its function gives the name to call and the order of named arguments; without one the tests are texts for
        standard input or, where the statement shows no such, calls of the function that it shows being called.

    Returns:
      Standard input tests, whose texts end in one newline and have no blank lines around them; or call tests, tuples as lists.
      An example with a part that cannot be read is left out. No statement raises.
    """
    statement = statement.replace("\r\n", "\n")
    function = _function(starter_code or "")
    if function is not None:
        forms = (_labelled_calls, _written_calls, _told_calls)
        pairs = next(filter(None, (list(form(statement, function)) for form in forms)), [])
        return _call_tests(function.name, pairs)
    texts = list(_stdin_pairs(statement))
    if texts:
        return StdinTests(inputs=tuple(given for given, _ in texts), outputs=tuple(wanted for _, wanted in texts))
    for name in dict.fromkeys(_LEADING_CALL.findall(statement)):
        if not hasattr(builtins, name):
            tests = _call_tests(name, list(_written_calls(statement, _Function(name, None))))
            if tests is not None:
                return tests
    return None


@dataclasses.dataclass(frozen=True)
class _Function:
    """What the starter code defines; `parameters` is None where they are unknown."""

    name: str
    parameters: ast.arguments | None

    def bind(self, call: ast.Call) -> list[Any]:
        """Arguments of a call in the parameters' order, or ValueError."""
        positional = [_value(node) for node in call.args]
        named = {str(keyword.arg): _value(keyword.value) for keyword in call.keywords}
        if self.parameters is None:
            if named:
                raise ValueError("named arguments of an unknown function")
            return positional
        names = [parameter.arg for parameter in self.parameters.posonlyargs + self.parameters.args if parameter.arg != "self"]
        if not positional and len(named) == len(names) and set(named) != set(names):
            return list(named.values())  # the statement calls the arguments otherwise than the starter code does
        left = names[len(positional) :]
        arguments = positional + [named.pop(name) for name in left if name in named]
        if named or len(arguments) < len(names) - len(self.parameters.defaults):
            raise ValueError("other arguments than the function has")
        if len(arguments) > len(names) and self.parameters.vararg is None:
            raise ValueError("too many arguments")
        return arguments


def _function(starter_code: str) -> _Function | None:
    """What is to be written: the last function, behind its helpers, or the first method of a class."""
    definitions = list(_DEFINITION.finditer(starter_code))
    if not definitions:
        return None
    found = next((one for one in reversed(definitions) if one.group().startswith("def")), definitions[0])
    end = _group_end(starter_code, found.end())
    try:
        body = _parse(f"def f{starter_code[found.end() : end]}: pass").body
    except ValueError:
        body = []
    return _Function(found.group(1), body[0].args if len(body) == 1 and isinstance(body[0], ast.FunctionDef) else None)


def _call_tests(name: str, pairs: list[tuple[list[Any], Any]]) -> CallTests | None:
    if not pairs:
        return None
    return CallTests(fn_name=name, inputs=tuple(arguments for arguments, _ in pairs), outputs=tuple(value for _, value in pairs))


@dataclasses.dataclass
class _Section:
    """Lines below a heading. `kind` is input, output, examples or other; `inline` is what follows the heading's colon."""

    kind: str
    sample: bool
    ruled: bool
    inline: str
    lines: list[str]


def _sections(statement: str) -> Iterator[_Section]:
    section = _Section("other", sample=False, ruled=False, inline="", lines=[])
    for line in statement.split("\n"):
        heading = _heading(line)
        if heading is None:
            section.lines.append(line)
        else:
            yield section
            section = heading
    yield section


def _heading(line: str) -> _Section | None:
    line = line.strip()
    found = _HEADING.fullmatch(line)
    if found is not None and not found["colon"]:
        # without a colon a heading stands alone; one in small letters may be data, such as a word to read
        alone = not found["rest"].strip() and (found["rule"] or line[0].isupper())
        found = found if alone else None
    if found is None:
        ruled = line.startswith("---") and line.endswith("---") and any(map(str.isalpha, line))
        return _Section("other", sample=False, ruled=True, inline="", lines=[]) if ruled else None
    kind = found["kind"].lower()
    if kind in ("example", "sample"):
        kind = "examples"
    elif kind not in ("input", "output"):
        kind = "other"
    ruled = found["rule"] is not None and found["rule"].startswith("-")
    return _Section(kind, sample=found["sample"] is not None, ruled=ruled, inline=found["rest"].strip(), lines=[])


def _stdin_pairs(statement: str) -> Iterator[tuple[str, str]]:
    """Texts below `Sample Input` and `Sample Output`, or below `Input` and `Output` once a heading has said `Examples`."""
    among_examples = False
    given = None
    for section in _sections(statement):
        if section.kind == "examples":
            among_examples = True
        elif section.ruled and not section.sample:
            among_examples = False
        shown = (section.sample or among_examples) and not section.inline
        if shown and section.kind == "input":
            given = _block(section.lines)
        elif shown and section.kind == "output" and given is not None:
            # prose may follow a sample's output after a blank line; elsewhere it stands below a heading of its own
            yield given, _block(section.lines, first_paragraph=section.sample)
            given = None
        else:
            given = None


def _block(lines: list[str], first_paragraph: bool = False) -> str:
    """Lines without the blank ones around them and Markdown's fences, as a text that ends in a newline."""
    lines = [line for line in lines if not _FENCE.fullmatch(line)]
    filled = [i for i, line in enumerate(lines) if line.strip()]
    if not filled:
        return "\n"
    lines = lines[filled[0] : filled[-1] + 1]
    if first_paragraph:
        lines = lines[: next((i for i, line in enumerate(lines) if not line.strip()), len(lines))]
    return "\n".join(lines) + "\n"


def _labelled_calls(statement: str, function: _Function) -> Iterator[tuple[list[Any], Any]]:
    """Calls as `Input: a = 1, b = [2]` and `Output: 3`."""
    given = None
    for section in _sections(statement):
        text = "\n".join([section.inline, *section.lines]).strip()
        if section.kind == "output" and given is not None:
            for call in (given, ", ".join(filter(str.strip, given.split("\n")))):
                try:
                    arguments = function.bind(_call(f"({call}\n)"))
                    value = _value_of_output(text)
                except ValueError:
                    continue
                yield arguments, value
                break
        given = text if section.kind == "input" else None


def _value_of_output(text: str) -> Any:
    """The value that a text begins with: a bracketed or quoted one may span lines, any other fills its line."""
    if text[:1] in _OPENING:
        return _literal(text[: _group_end(text, 0)])
    return _literal(text.split("\n", 1)[0].strip())


def _written_calls(statement: str, function: _Function) -> Iterator[tuple[list[Any], Any]]:
    """Calls written out, with their value behind them or, as in a Python session, on the next line."""
    for found in re.finditer(rf"(?<![\w.]){re.escape(function.name)}(?=\()", statement):
        end = _group_end(statement, found.end())
        line_start = statement.rfind("\n", 0, found.start()) + 1
        rest, _, following = statement[end:].partition("\n")
        try:
            arguments = function.bind(_call(statement[found.end() : end]))
            if statement[line_start : found.start()].strip() == ">>>" and not rest.strip():
                value = _value_of_output(following)
            else:
                value = _value_behind(rest)
        except ValueError:
            continue
        yield arguments, value


def _told_calls(statement: str, function: _Function) -> Iterator[tuple[list[Any], Any]]:
    """Calls as a sentence tells them: `For s = "abc", k = 2 the output should be "c"`."""
    for found in _FOR_CALL.finditer(statement):
        try:
            yield function.bind(_call(f"({found['given']}\n)")), _value_of_output(statement[found.end() :])
        except ValueError:
            continue


def _value_behind(text: str) -> Any:
    """The value in `== value`, `=> value`, `// returns value` and the like, or ValueError."""
    gives = _GIVES.match(text)
    if gives is None:
        raise ValueError("no value follows")
    text = text[gives.end() :]
    scalar = _SCALAR.match(text)
    end = _group_end(text, 0) if text[:1] in _OPENING else scalar.end() if scalar else 0
    if _OPERATION.match(text[end:].replace("*/", "", 1)):
        raise ValueError("an expression, not a value")
    if re.match(r"[\w\"']", text[end:]):
        raise ValueError("a literal that goes on")
    return _literal(text[:end])


def _group_end(text: str, start: int) -> int:
    """Where the bracket or quotation that opens at `start` has closed; a place that makes no literal where it does not."""
    depth, quote = 0, ""
    for found in _PUNCTUATION.finditer(text, start):
        mark = found.group()
        if quote:
            quote = "" if mark == quote else quote
        elif mark in "\"'":
            quote = mark
        elif mark in "([{":
            depth += 1
        elif mark in ")]}":
            depth -= 1
        if (depth <= 0 and not quote) or depth > _DEEPEST:
            return found.end()
    return len(text)


def _parse(source: str) -> ast.Module:
    """Python's syntax tree, or ValueError."""
    try:
        return parsed(source)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError("no Python") from error


def _call(arguments: str) -> ast.Call:
    """The call of arguments in their parentheses, or ValueError."""
    match _parse("f" + arguments).body:
        case [ast.Expr(value=ast.Call(func=ast.Name()) as call)]:
            return call
    raise ValueError("no single call")


def _literal(source: str) -> Any:
    """The JSON value of a literal's text, or ValueError."""
    match _parse(source).body:
        case [ast.Expr(value=node)]:
            return _value(node)
    raise ValueError("no single value")


def _value(node: ast.AST) -> Any:
    """The JSON value of a literal, or ValueError."""
    match node:
        case ast.Constant(value=None | bool() | int() | str() as value):
            return value
        case ast.Constant(value=float() as value) if math.isfinite(value):
            return value
        case ast.Name(id=name) if name in _WORDS:
            return _WORDS[name]
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)) if math.isfinite(value):
            return -value
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            return [_value(element) for element in elements]
        case ast.Dict(keys=keys, values=values) if None not in keys:
            return {_key(key): _value(value) for key, value in zip(keys, values, strict=True)}
    raise ValueError("no literal")


def _key(node: ast.AST) -> str:
    key = _value(node)
    if isinstance(key, str):
        return key
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)
    raise ValueError("no JSON key")
