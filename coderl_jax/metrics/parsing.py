"""Programs to syntax trees of the shape that CodeXGLUE's own parsers gave them.

CodeXGLUE ships grammars of 2020. Those that can be installed today read the same languages, but mend programs, name and
nest things otherwise, and CodeBLEU counts subtrees. So a program is edited a little before today's parser reads it, positions
are led back to the program as it was, and the tree is reshaped.
"""

import functools
import importlib
import itertools
import re
from types import ModuleType
from typing import Any

from coderl_jax.files import UserError, shown
from coderl_jax.metrics import csharp_trees, java_trees, python_trees
from coderl_jax.metrics.trees import Node

LANGUAGES: dict[str, tuple[str, ModuleType]] = {
    "java": ("tree_sitter_java", java_trees),
    "c_sharp": ("tree_sitter_c_sharp", csharp_trees),
    "python": ("tree_sitter_python", python_trees),
}
"""Language -> the package of its grammar, and how its trees are brought into shape."""

Edit = tuple[int, int, str]
"""From and to, in characters of the program, and what to put there; zero characters to one place: an insertion."""


def check_language(language: str) -> None:
    """UserError for a language that CodeBLEU is not there for, or whose parser is not installed."""
    if language not in LANGUAGES:
        raise UserError(f"language: expected one of {', '.join(LANGUAGES)}, got {shown(language)}; CodeBLEU knows no other")
    _parser(language)


def parse(code: str, language: str) -> Node:
    """The syntax tree of a program, which may be wrong in any way.

    Args:
      code: the program, without comments (see `without_comments`).
      language: a key of `LANGUAGES`.
    """
    _, shape = LANGUAGES[language]
    data = code.encode("utf-8", "surrogatepass")

    def read(edits: list[Edit]) -> Node:
        text, places = _edited(code, edits)
        return shape.reshape(_nodes(_parser(language).parse(text), places), data)

    edits = shape.edits(code)
    root = read(edits)
    further = [tuple(len(data[:at].decode("utf-8", "surrogatepass")) for at in edit[:2]) + edit[2:] for edit in shape.corrections(root)]
    return read(sorted([*edits, *further], key=lambda edit: edit[:2])) if further else root


def without_comments(code: str) -> str:
    """The program without comments and without blank lines.

    Comments are those of Java and C#, whatever the language: CodeXGLUE takes Python's `//` for one too, and leaves `#` alone.
    """
    code = _COMMENT_OR_LITERAL.sub(lambda match: " " if match[0][0] == "/" else match[0], code)
    return "\n".join(line for line in code.split("\n") if line.strip())


_COMMENT_OR_LITERAL = re.compile(r"//.*?$|/\*.*?\*/|'(?:\\.|[^\\'])*'|\"(?:\\.|[^\\\"])*\"", re.DOTALL | re.MULTILINE)


@functools.cache
def _parser(language: str) -> Any:
    package, _ = LANGUAGES[language]
    try:
        tree_sitter, grammar = importlib.import_module("tree_sitter"), importlib.import_module(package)
    except ImportError as error:
        missing = (error.name or package).replace("_", "-")
        raise UserError(f"CodeBLEU: expected the package {missing}, got none installed; pip install '.[codexglue]'") from None
    return tree_sitter.Parser(tree_sitter.Language(grammar.language()))


def _edited(code: str, edits: list[Edit]) -> tuple[bytes, list[int]]:
    """The edited program, and of each of its bytes and its end the place in the program as it was.

    A text that is put before the program has negative places.
    """
    parts, places, at, done = [], [], 0, 0
    for start, end, text in [*edits, (len(code), len(code), "")]:
        kept, replaced, new = (part.encode("utf-8", "surrogatepass") for part in (code[done:start], code[start:end], text))
        parts += [kept, new]
        places.append(range(at, at + len(kept)))
        at += len(kept)
        if start == end == done == 0:
            places.append(range(-len(new), 0))
        else:
            places.append([min(at + i, at + len(replaced)) for i in range(len(new))])
        at += len(replaced)
        done = end
    return b"".join(parts), [*itertools.chain.from_iterable(places), at]


def _nodes(tree: Any, places: list[int]) -> Node:
    """The parser's tree as nodes of ours."""
    cursor = tree.walk()

    def here() -> Node:
        node = cursor.node
        return Node(node.type, node.is_named, cursor.field_name, places[node.start_byte], places[node.end_byte], [], node.is_missing)

    root = here()
    above = [root]
    while True:
        if not cursor.goto_first_child():
            above.pop()
            while not cursor.goto_next_sibling():
                if not above:
                    return root
                cursor.goto_parent()
                above.pop()
            if not above:
                return root
        node = here()
        above[-1].children.append(node)
        above.append(node)
