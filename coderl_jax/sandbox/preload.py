"""What a worker loads before it forks, and which kind of worker a program needs.

A fork copies the page tables of all that is loaded, and its process faults on every page it touches: with numpy and a few heavy
modules of the standard library loaded, a run costs twice as much. So there are light workers and full ones. A program that names a
heavy module gets a full worker; what it loads in another way works as well, only slower.
"""

import atexit
import importlib
import random
import re
import sys
import warnings

_LIGHT = """
    abc array ast base64 bisect calendar cmath collections.abc contextlib copy dataclasses datetime decimal enum fractions functools
    heapq inspect io itertools json keyword locale math numbers operator pprint queue random re statistics string struct textwrap
    threading time traceback types typing unicodedata weakref zlib
""".split()
_HEAVY = """
    argparse asyncio concurrent.futures csv ctypes difflib glob hashlib logging multiprocessing numpy numpy.fft numpy.linalg
    numpy.polynomial numpy.random pathlib pickle secrets shutil socket subprocess tempfile unittest.mock uuid
""".split()
_BUILT_ON_THEM = "np doctest pandas scipy sklearn sympy torch networkx requests urllib".split()
_HEAVY_NAME = re.compile(rf"\b(?:{'|'.join(sorted({name.partition('.')[0] for name in _HEAVY} | set(_BUILT_ON_THEM)))})\b")


def needs_full(text: str) -> bool:
    """Whether a program, or the code of its tests, names a heavy module."""
    return _HEAVY_NAME.search(text) is not None


def load(full: bool, root: str) -> None:
    """Import what programs commonly import, then hide this package, which lies under `root`, from them."""
    for name in _LIGHT + (_HEAVY if full else []):
        importlib.import_module(name)
    random.seed(0)
    if full:
        sys.modules["numpy"].random.seed(0)
    sys.set_int_max_str_digits(0)
    warnings.simplefilter("ignore")
    sys.stdin.reconfigure(errors="strict")
    sys.stdout.reconfigure(errors="strict")
    atexit._clear()  # the modules' own; a program's are run at its end
    sys.path[:] = [path for path in sys.path if path != root]
    for name in [name for name in sys.modules if name.partition(".")[0] in ("coderl_jax", "landlockpy")]:
        del sys.modules[name]
