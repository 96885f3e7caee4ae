"""Tests that are code: what a program may do to them, and what crosses between the two."""

import pytest

from coderl_jax.config import Judging
from coderl_jax.sandbox import Judge
from coderl_jax.types import AssertTests, CallTests

POINT = """
class P:
    def __init__(self, x):
        self.x = x
    def same_as(self, o):
        return self.x == o.x
"""
REPORTS = """
import os, stat
def tell(line):
    for d in range(3, 20):
        try:
            if stat.S_ISFIFO(os.fstat(d).st_mode): os.write(d, line)
        except OSError:
            pass
"""
ADDRESS = """
import numpy as np
def answer(n):
    class A: pass
    it = A()
    place = np.zeros(3).__array_interface__["data"][0]
    it.__array_interface__ = {"data": (place, False), "shape": (3,), "typestr": "<f8", "version": 3}
    return it
"""


@pytest.fixture(scope="module")
def verdict():
    """Judge a program with asserts."""
    with Judge(Judging(time_limit=2.0, memory_limit=128)) as judge:
        yield lambda program, setup, *asserts: judge.judge([program], [AssertTests(setup=setup, asserts=asserts)])[0]


NAMES = """
import sys
frame = sys._getframe()
while frame:
    if "_ORDERS" in frame.f_globals:
        orders = frame.f_globals["_ORDERS"]
        names = orders["names"]
        orders["names"] = lambda module, asked: {**names(module, asked), "range": lambda *_: []}
    frame = frame.f_back
def f(n): return 0
"""
KEYED = """
import functools
class K:
    def __init__(self, x):
        self.x = x
    @functools.cached_property
    def key(self):
        return self.x * 2
    def __eq__(self, o):
        return self.key == o.key
"""
IS_NUMBERS = "assert np.array(answer(3)).dtype == np.float64"
# Setup, test, program.
FORGED = {
    "a builtin of its own, beside a method": (
        "",
        "assert abs(S.f(3) - 9) < 0.1",
        "abs = lambda x: 0\nclass S:\n    f = staticmethod(lambda n: 0)",
    ),
    "a builtin of its own, beside an object": (
        "",
        "assert sorted(s.f()) == [1, 2]",
        "sorted = lambda x: [1, 2]\nclass S:\n    def f(self): return []\ns = S()",
    ),
    "a method of the tests' class": (
        POINT,
        "assert make(3).same_as(P(5))",
        POINT + "def make(n):\n    p = P(n)\n    p.same_as = lambda o: True\n    return p",
    ),
    "leaves, where a test forgives everything": (
        "",
        "try:\n    f(-1)\nexcept:\n    pass\nelse:\n    assert False",
        "import os\ndef f(n): os._exit(1)",
    ),
    "a name that nobody asked for": ("def check(f):\n    for x in range(5): assert f(x) == x + 1", "check(f)", NAMES),
    "what the tests' class computes once": (
        KEYED,
        "assert make(3) == K(5)",
        KEYED + "def make(n):\n    k = K(0)\n    vars(k)['key'] = 10\n    return k",
    ),
    "an end of a loop around it": (
        "",
        "for got, want in zip(map(f, [1, 2]), [5, 6]):\n    assert got == want",
        "def f(n): raise StopIteration",
    ),
    "an address for numpy": ("import numpy as np", IS_NUMBERS, ADDRESS),
    "an address in an instance": ("import numpy as np\n" + POINT, IS_NUMBERS, POINT + ADDRESS.replace("A()", "P(1)")),
    "a report of its own": ("", "assert f(3) == 6", REPORTS + "def f(n):\n    tell(b'[\"x\"]\\n')\n    return 6"),
}


@pytest.mark.parametrize("case", FORGED.values(), ids=FORGED)
def test_a_program_does_not_change_what_a_test_means(verdict, case):
    setup, test, program = case
    found = verdict(program, setup, test)
    assert found.outcome.label in ("failed_test", "runtime_error"), found
    assert found.seconds < 1.0, found  # a report of the program's own once kept the judge busy for ten time limits


RAISED = {
    "a library's error, by its base": ("import json\ndef f(): json.loads('')", "ValueError"),
    "a class of its own, by its base": ("class E(LookupError): pass\ndef f(): raise E('x')", "LookupError"),
    "what is not made of a message": ("def f(): b'\\xff'.decode()", "ValueError"),
    "a group": ("def f(): raise ExceptionGroup('x', [ValueError()])", "Exception"),
    "itself": ("def f(): {}[1]", "KeyError"),
}


@pytest.mark.parametrize("case", RAISED.values(), ids=RAISED)
def test_exceptions_are_caught_by_their_bases(verdict, case):
    program, kind = case
    found = verdict(program, "", f"try:\n    f()\nexcept {kind}:\n    pass\nelse:\n    assert False")
    assert found.outcome.label == "passed", found
    uncaught = verdict(program, "", "assert f() is None")
    assert uncaught.error_type in ("JSONDecodeError", "E", "UnicodeDecodeError", "ExceptionGroup", "KeyError"), uncaught


def test_changes_in_place_arrive_by_keyword_and_with_an_exception(verdict):
    rotate = "def rotate(nums, k):\n    nums[:] = nums[-k:] + nums[:-k]\n    if k > 1: raise ValueError\n"
    by_keyword = "x = [1, 2, 3]\nrotate(nums=x, k=1)\nassert x == [3, 1, 2]"
    raising = "x = [1, 2, 3]\ntry:\n    rotate(x, 2)\nexcept ValueError:\n    pass\nassert x == [2, 3, 1]"
    assert verdict(rotate, "", by_keyword, raising).tests_passed == 2


def test_changes_in_place_that_compare_equal_arrive_too(verdict):
    program = "def f(d):\n    for k in sorted(d): d[k] = d.pop(k)\ndef g(x): x[:] = [True, False]"
    ordered, told_apart = "d = {'b': 1, 'a': 2}\nf(d)\nassert list(d) == ['a', 'b']", "x = [1, 0]\ng(x)\nassert x[0] is True"
    assert verdict(program, "", ordered, told_apart).tests_passed == 2


def test_instances_are_whole_before_a_set_of_another_hashes_them(verdict):
    frozen = "import dataclasses\n@dataclasses.dataclass(frozen=True)\nclass K:\n    n: int\n"
    classes = frozen + "class G:\n    def __init__(self, ks): self.ks = ks\n"
    found = verdict(classes + "def f(g): return G({K(k.n + 1) for k in g.ks})", classes, "assert f(G({K(1)})).ks == {K(2)}")
    assert found.outcome.label == "passed", found


def test_a_program_out_of_memory_is_told_so_at_once(verdict):
    found = verdict("kept = None\ndef f(n):\n    global kept\n    while True: kept = (kept, 1.5 * n)", "", "assert f(1) == 1")
    assert (found.error_type, found.outcome.label) == ("MemoryLimit", "runtime_error")
    assert found.seconds < 2.0


def test_answers_may_be_long_test_by_test():
    """8 MiB are what one answer may have, not all."""
    big = list(range(10**18, 10**18 + 60_000))
    with Judge(Judging(time_limit=4.0)) as judge:
        (found,) = judge.judge(
            [f"def f(n): return list(range({10**18}, {10**18 + 60_000}))"], [CallTests(fn_name="f", inputs=([1],) * 9, outputs=(big,) * 9)]
        )
    assert found.tests_passed == 9, found


def test_what_a_program_forges_is_not_kept_whole():
    program = REPORTS + "tell(b'[\"error\", 0, \"' + b'A' * 99999 + b'\", \"' + b'B' * 99999 + b'\", 1]\\n')"
    with Judge(Judging(time_limit=2.0)) as judge:
        (found,) = judge.judge([program], [CallTests(fn_name="f", inputs=([1],), outputs=(1,))])
    assert (found.error_type, found.error_message) == ("A" * 100, "B" * 1000)


@pytest.mark.parametrize("depth", [900, 990, 997])
def test_a_program_may_recurse_as_deep_as_in_an_interpreter_of_its_own(verdict, depth):
    program = "def f(n):\n    return 0 if n == 0 else 1 + f(n - 1)"
    assert verdict(program, "", f"assert f({depth}) == {depth}").outcome.label == "passed"
    with Judge(Judging(time_limit=2.0)) as judge:
        (found,) = judge.judge([program], [CallTests(fn_name="f", inputs=([depth],), outputs=(depth,))])
    assert found.outcome.label == "passed"
