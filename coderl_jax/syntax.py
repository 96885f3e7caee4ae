"""Python's own parser, by one thread at a time.

CPython 3.11 counts the depth of syntax trees for all threads together: where two take turns it ends with `SystemError: AST constructor
recursion depth mismatch`. The judge prepares tests in threads while others read programs.
"""

import ast
import threading
import warnings
from types import CodeType

_ONE_AT_A_TIME = threading.Lock()


def parsed(source: str) -> ast.Module:
    """The syntax tree of a program; what it would be warned of, such as escapes in strings, is nobody's business here.

    Raises:
      SyntaxError, ValueError, RecursionError, MemoryError: it has none.
    """
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source)


def compiled(tree: ast.Module, name: str) -> CodeType:
    """The code of a syntax tree, `name` in its tracebacks.

    Raises:
      SyntaxError, ValueError, RecursionError, MemoryError: it has none.
    """
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return compile(tree, name, "exec", dont_inherit=True)
