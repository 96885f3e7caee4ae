"""The judge on programs that mean no harm: outcomes, errors, counts, limits, order, streams and the cache."""

import itertools
import subprocess
import sys
import threading

import pytest

from coderl_jax.config import Judging
from coderl_jax.sandbox import Judge, judge
from coderl_jax.types import AssertTests, CallTests, Outcome, StdinTests, Verdict

DOUBLE = StdinTests(inputs=("3\n", "10\n", "0\n"), outputs=("6\n", "20\n", "0\n"))
CALL = CallTests(fn_name="double", inputs=([3], [10], [0]), outputs=(6, 20, 0))
ASSERTS = AssertTests(setup="", asserts=("assert double(3) == 6", "assert double(10) == 20", "assert double(0) == 0"))
FAST = Judging(time_limit=2.0)
STAMP = "import time\ndef double(n):\n    raise ValueError(time.time_ns())\n"  # no two runs of it fail with the same message


@pytest.fixture(scope="module")
def one():
    """Judge a single program with 2 s a test."""
    with Judge(FAST) as it:
        yield lambda program, tests: it.judge([program], [tests])[0]


PROGRAMS = [
    # what, tests, program, then what the verdict says: outcome, error type, line, tests passed
    ("right", DOUBLE, "print(2 * int(input()))", "passed - - 3"),
    ("main guard", DOUBLE, "def main():\n    print(2 * int(input()))\nif __name__ == '__main__':\n    main()", "passed - - 3"),
    ("thread as main", DOUBLE, "from threading import *\nThread(target=lambda: print(2 * int(input()))).start()", "passed - - 3"),
    ("reads all, exits", DOUBLE, "import sys\nprint(2 * int(sys.stdin.read()))\nsys.exit(3)", "passed - - 3"),
    ("file at descriptor 0", DOUBLE, "n = open(0).readline()\nimport os\nos.write(1, b'%d' % (2 * int(n)))", "passed - - 3"),
    ("wrong", DOUBLE, "print(3 * int(input()))", "failed_test - - 1"),
    ("prints nothing", DOUBLE, "", "failed_test - - 0"),
    ("prints nothing, called", CALL, "", "runtime_error NameError - 0"),
    ("error for 10", DOUBLE, "n = int(input())\n\nprint(2 * n // (10 - n) * (10 - n) or 2 * n)", "runtime_error ZeroDivisionError 3 2"),
    ("end of input", DOUBLE, "input()\ninput()", "runtime_error EOFError 2 0"),
    ("syntax", DOUBLE, "n = 1\nprint(n))\n", "compile_error SyntaxError 2 0"),
    ("indentation", CALL, "def double(n):\nreturn 2 * n", "compile_error IndentationError 2 0"),
    ("top-level return", DOUBLE, "x = 1\nreturn", "compile_error SyntaxError 2 0"),
    ("null byte", DOUBLE, "print(1)\0", "compile_error SyntaxError - 0"),
    ("lone surrogate", DOUBLE, "print('\ud800')", "compile_error UnicodeEncodeError - 0"),
    ("garbage", CALL, "\x01\x7f\u20ac" * 99, "compile_error SyntaxError 1 0"),
    ("deep brackets", DOUBLE, "(" * 50_000, "compile_error SyntaxError 1 0"),
    ("5 MB", DOUBLE, "#" * 5_000_000 + "\nprint(2 * int(input()))", "passed - - 3"),
    ("function", CALL, "def double(n):\n    return 2 * n", "passed - - 3"),
    ("method", CALL, "class Solution:\n    def double(self, n):\n        return 2 * n", "passed - - 3"),
    ("modules of the prelude", CALL, "def double(n: List[int]):\n    return int(np.sum([n, n]))", "passed - - 3"),
    ("prints as well", CALL, "def double(n):\n    print('hello')\n    return 2 * n", "passed - - 3"),
    ("wrong value", CALL, "def double(n):\n    return n + 3", "failed_test - - 1"),
    ("error for 10, called", CALL, "def double(n):\n    return [0] * 7 and 2 * n if n != 10 else {}[n]", "runtime_error KeyError 2 2"),
    ("error while loading", CALL, "x = 1\nx.y\ndef double(n):\n    return 2 * n", "runtime_error AttributeError 2 0"),
    ("arguments", CALL, "def double():\n    pass", "runtime_error TypeError - 0"),
    ("asserts", ASSERTS, "def double(n):\n    return 2 * n", "passed - - 3"),
    ("an assert fails", ASSERTS, "def double(n):\n    return 2 * n if n else 1", "failed_test AssertionError - 2"),
    ("an assert meets an error", ASSERTS, "def double(n):\n    return 60 // n", "runtime_error ZeroDivisionError 2 0"),
    ("asserts without the function", ASSERTS, "def triple(n):\n    return 3 * n", "runtime_error NameError - 0"),
    ("asserts on what does not compile", ASSERTS, "def double(n) return", "compile_error SyntaxError 1 0"),
    ("endless", DOUBLE, "n = input()\nwhile n == '10':\n    pass\nprint(2 * int(n))", "runtime_error TimeLimit - 1"),
    ("endless, called", CALL, "def double(n):\n    while n == 10:\n        pass\n    return 2 * n", "runtime_error TimeLimit - 1"),
    ("endless, asserted", ASSERTS, "def double(n):\n    while n == 10:\n        pass\n    return 2 * n", "runtime_error TimeLimit - 1"),
    ("much memory", CALL, "import mmap\ndef double(n):\n    x = mmap.mmap(-1, 300 << 20)\n    return 2 * n", "passed - - 3"),
    ("too much memory", CALL, "def double(n):\n    x = [0] * (1 << 28)\n    return 2 * n", "runtime_error MemoryLimit 2 0"),
    ("too much output", StdinTests(inputs=("",), outputs=("",)), "while True:\n    print('x' * 9999)", "runtime_error OutputLimit - 0"),
    ("too long an answer", CALL, "def double(n):\n    return '*' * (9 << 20)", "runtime_error OutputLimit - 0"),
    ("writes a file", DOUBLE, "n = 1\nopen('answer.txt', 'w')", "runtime_error PermissionError 2 0"),
    ("forks", DOUBLE, "import os\n\nos.fork()", "runtime_error PermissionError 3 0"),
    ("opens many files", DOUBLE, "files = []\nwhile True:\n    files.append(open('/dev/null'))", "runtime_error OSError 3 0"),
    ("recursion", CALL, "def double(n):\n    return double(n)", "runtime_error RecursionError 2 0"),
    ("crash", CALL, "import ctypes\ndef double(n):\n    ctypes.string_at(0)", "runtime_error SIGSEGV - 0"),
    ("status", CALL, "import os\ndef double(n):\n    os._exit(0)", "runtime_error ExitStatus - 0"),
]


@pytest.mark.parametrize(("tests", "program", "wanted"), [case[1:] for case in PROGRAMS], ids=[case[0] for case in PROGRAMS])
def test_each_program_gets_its_verdict(one, tests, program, wanted):
    verdict = one(program, tests)
    found = (verdict.outcome.label, verdict.error_type, verdict.error_line, verdict.tests_passed)
    assert " ".join("-" if fact is None else str(fact) for fact in found) == wanted, verdict
    assert verdict.tests_total == len(tests)
    assert (verdict.error_message is None) == (verdict.error_type in (None, "AssertionError"))


def test_what_a_program_prints_as_its_objects_are_finalized_counts(one):
    buffered = (
        "import io, os\nclass Out(io.IOBase):\n    text = b''\n"
        "    def flush(self):\n        os.write(1, self.text)\n        self.text = b''\n"
    )
    program = buffered + "out = Out()\nout.text = b'%d' % (2 * int(input()))"
    assert one(program, DOUBLE).outcome is Outcome.PASSED
    cycle = buffered + "class Node: pass\nnode = Node()\nnode.me, node.out = node, Out()\nnode.out.text = b'%d' % (2 * int(input()))"
    assert one(cycle, DOUBLE).outcome is Outcome.PASSED
    hang = "class Late:\n    def __del__(self):\n        while True: pass\nlate = Late()\nprint(2 * int(input()))"
    assert one(hang, DOUBLE).error_type == "TimeLimit"


def test_messages_are_the_programs_own_and_capped(one):
    assert one("raise ValueError('no ' + 'luck')", DOUBLE).error_message == "no luck"
    assert one("x = 1\nx y", DOUBLE).error_message == "invalid syntax"
    assert len(one("raise ValueError('x' * 10**6)", DOUBLE).error_message) == 1000


def test_a_program_stops_at_its_first_failure_only_when_asked():
    program = "n = int(input())\nif n == 3:\n    raise KeyError(n)\nprint(2 * n)"
    called = "def double(n):\n    assert n != 3\n    return 2 * n"
    for text, tests in ((program, DOUBLE), (called, CALL), (called, ASSERTS)):
        assert judge([text], [tests], FAST)[0].tests_passed == 2
        stopped = judge([text], [tests], Judging(time_limit=2.0, stop_at_first_failure=True))[0]
        assert (stopped.outcome, stopped.tests_passed, stopped.tests_total) == (Outcome.RUNTIME_ERROR, 0, 3)


def test_the_worst_test_decides(one):
    program = "n = int(input())\nif n == 3:\n    print(7)\nelif n == 10:\n    {}[n]\nelse:\n    print(0)"
    verdict = one(program, DOUBLE)
    assert (verdict.outcome, verdict.error_type, verdict.error_line, verdict.tests_passed) == (Outcome.RUNTIME_ERROR, "KeyError", 5, 1)


def test_values_keep_their_kind_on_the_way_to_asserts(one):
    program = (
        "from collections import Counter\nclass Point:\n    def __init__(self, x):\n        self.x = x\n"
        "    def twice(self):\n        return 2 * self.x\n"
        "def values():\n    return (1, 2), {3}, 2j, {(1, 2): [None]}, b'b', frozenset({4}), Counter('aab'), 1 << 99\n"
        "def extend(part):\n    part.append(5)\ndef count():\n    yield from range(3)\ndef fail():\n    raise LookupError('here')"
    )
    asserts = (
        "assert values() == ((1, 2), {3}, 2j, {(1, 2): [None]}, b'b', frozenset({4}), {'a': 2, 'b': 1}, 1 << 99)",
        "part = [4]\nextend(part)\nassert part == [4, 5]",
        "p = Point(3)\nassert p.twice() == 6\np.x = 4\nassert p.twice() == 8",
        "assert list(count()) == [0, 1, 2]",
        "try:\n    fail()\nexcept LookupError as error:\n    assert str(error) == 'here'\nelse:\n    assert False",
        "assert Point(1) == Point(1)",
    )
    verdict = one(program, AssertTests(setup="import math", asserts=asserts))
    assert (verdict.outcome, verdict.error_type, verdict.tests_passed) == (Outcome.FAILED_TEST, "AssertionError", 5)


NODE = """
class Node:
    def __init__(self, value, rest=None):
        self.value, self.rest = value, rest
    def __eq__(self, other):
        return isinstance(other, Node) and (self.value, self.rest) == (other.value, other.rest)
"""


def test_instances_of_a_class_that_tests_and_program_define_cross_as_their_attributes(one):
    program = NODE + (
        "def push(node, value):\n    return Node(value, node)\ndef last(node):\n    while node.rest: node = node.rest\n    return node\n"
        "def cut(node):\n    node.rest = None\ndef ring(node):\n    last(node).rest = node\n    return node\n"
    )
    asserts = (
        "assert push(Node(1), 2) == Node(2, Node(1))",
        "node = Node(1, Node(2))\nassert last(node) is node.rest",  # the very instance comes back
        "node = Node(1, Node(2))\ncut(node)\nassert node == Node(1)",  # and changes in place are seen
        "node = Node(1, Node(2))\nassert ring(node).rest.rest is node",
        "node = None\nfor i in range(5000): node = Node(i, node)\nassert last(node).value == 0",
        "assert push(Node(1), 2) == Node(1)",
    )
    verdict = one(program, AssertTests(setup=NODE, asserts=asserts))
    assert (verdict.outcome, verdict.error_type, verdict.tests_passed) == (Outcome.FAILED_TEST, "AssertionError", 5)


def test_a_test_compares_instances_with_its_own_equality(one):
    equal = NODE.replace("return isinstance(other, Node) and (self.value, self.rest) == (other.value, other.rest)", "return True")
    for program in (
        equal + "def push(node, value):\n    return Node(7)",
        equal + "def push(node, value):\n    node.__class__ = node.__eq__ = Node.__eq__\n    return node",
        "class Node: pass\ndef push(node, value):\n    return node",
        "Node = int\ndef push(node, value):\n    return 5",
    ):
        verdict = one(program, AssertTests(setup=NODE, asserts=("assert push(Node(1), 2) == Node(2, Node(1))",)))
        assert verdict.outcome in (Outcome.FAILED_TEST, Outcome.RUNTIME_ERROR), program


def test_runs_are_repeatable_and_know_nothing_of_each_other(one):
    chance = "import random, numpy\ndef f():\n    raise ValueError(str((random.random(), numpy.random.rand(), hash('a'), set('hello'))))"
    first, second = judge([chance, chance + "\n"], [call("f")] * 2, FAST)
    assert first.error_message == second.error_message
    one("import builtins, os\nbuiltins.input = None\nos.environ['LEFT'] = '1'\nos.umask(0o777)", DOUBLE)
    assert one("import os\nassert 'LEFT' not in os.environ\nprint(2 * int(input()))", DOUBLE).outcome is Outcome.PASSED


def call(name: str) -> CallTests:
    """One call without arguments."""
    return CallTests(fn_name=name, inputs=([],), outputs=(None,))


def test_what_the_released_coderl_accepts_is_accepted_under_its_semantics():
    programs = ["n = int(input())\nif n == 3:\n    print(6)\n    return\nprint(2 * n)", "import nothing_of_that_name\nprint(1)", "def f(:"]
    script = judge(programs, [DOUBLE] * 3, FAST)
    assert [v.outcome.label for v in script] == ["compile_error", "runtime_error", "compile_error"]
    wrapped = judge(programs, [DOUBLE] * 3, Judging(time_limit=2.0, semantics="coderl", comparison="apps"))
    assert [v.outcome.label for v in wrapped] == ["passed", "compile_error", "compile_error"]
    assert wrapped[1].error_line == 1


def test_a_line_is_the_programs_own_in_every_test_of_a_wrapped_program():
    program = "import math\nn = int(input())\nif n == 10:\n    n.x\nprint(2 * n)"
    verdict = judge([program], [DOUBLE], Judging(time_limit=2.0, semantics="coderl"))[0]
    assert (verdict.error_type, verdict.error_line, verdict.tests_passed) == ("AttributeError", 4, 2)


def test_heavy_modules_are_loaded_for_programs_that_name_them_and_found_by_others(one):
    loaded = "import sys\nprint('num' + 'py' in sys.modules, 'j' + 'ax' in sys.modules, sum(int(n) for n in {0}([1, 2])))"
    for numbers, answer in (("list", "False False 3"), ("np.array", "True False 3"), ("__import__('num' + 'py').array", "False False 3")):
        program = loaded.format(numbers) if numbers != "np.array" else "import numpy as np\n" + loaded.format(numbers)
        assert one(program, StdinTests(inputs=("",), outputs=(answer,))).outcome is Outcome.PASSED, numbers


def test_ten_thousand_tests_are_judged_and_counted(one):
    tests = CallTests(fn_name="double", inputs=tuple([n] for n in range(10_000)), outputs=tuple(2 * n for n in range(10_000)))
    verdict = one("def double(n):\n    return 2 * n if n % 10 else 0", tests)
    assert (verdict.outcome, verdict.tests_passed, verdict.tests_total) == (Outcome.FAILED_TEST, 9001, 10_000)


def test_n_programs_give_n_verdicts_in_order():
    numbers = list(range(60))
    programs = ["" if n % 7 == 3 else f"import time\ntime.sleep({n % 5} / 100)\nprint({n})" for n in numbers]
    tests = [None if n % 7 == 5 else StdinTests(inputs=("",), outputs=(str(n),)) for n in numbers]
    with Judge(FAST) as it:
        verdicts = it.judge(programs, tests)
        assert it.judge([], []) == []
        with pytest.raises(ValueError, match="each of 1 programs"):
            it.judge(["x"], [])
    wanted = [None if n % 7 == 5 else Outcome.FAILED_TEST if n % 7 == 3 else Outcome.PASSED for n in numbers]
    assert [v.outcome for v in verdicts] == wanted


def test_verdicts_stream_while_programs_still_come():
    drawn = itertools.count()
    pairs = ((f"print({n})", StdinTests(inputs=("",), outputs=(str(n),))) for n in drawn)
    with Judge(FAST) as it:
        found = dict(itertools.islice(it.stream(pairs), 20))
    assert len(found) == 20
    assert all(v.outcome is Outcome.PASSED for v in found.values())


def test_the_same_program_under_the_same_tests_runs_once():
    first, second, other = judge([STAMP] * 3, [CALL, CALL, ASSERTS], FAST)
    assert first == second
    assert first.outcome is Outcome.RUNTIME_ERROR
    assert other.error_message != first.error_message


def test_cached_verdicts_are_the_fresh_ones_and_settings_part_them(tmp_path):
    folder = str(tmp_path / "kept")
    programs, tests = [STAMP, "def double(n):\n    return 2 * n", "def", "def double(n):\n    return 5"], [CALL] * 4
    fresh = judge(programs, tests, Judging(time_limit=1.0, cache=folder))
    assert judge(programs, tests, Judging(time_limit=1.0, cache=folder, workers=1)) == fresh
    assert [v.outcome for v in fresh] == [v.outcome for v in judge(programs, tests, FAST)]
    assert judge([STAMP], [CALL], Judging(time_limit=1.5, cache=folder))[0].error_message != fresh[0].error_message
    assert judge([STAMP], [ASSERTS], Judging(time_limit=1.0, cache=folder))[0].error_message != fresh[0].error_message


def test_several_processes_share_a_cache(tmp_path):
    code = (
        "import sys; from coderl_jax.config import Judging; from coderl_jax.sandbox import judge; from coderl_jax.types import StdinTests\n"
        "tests = [StdinTests(inputs=('',), outputs=(str(n),)) for n in range(20)]\n"
        "print([v.tests_passed for v in judge([f'print({n})' for n in range(20)], tests, Judging(cache=sys.argv[1], workers=1))])"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [run.communicate(timeout=60)[0] for run in runs] == [f"{[1] * 20}\n"] * 2


def test_threads_may_share_a_judge():
    results: dict[int, Verdict] = {}
    with Judge(FAST) as it:
        threads = [threading.Thread(target=lambda n=n: results.update({n: it.judge([f"print({n})"], [DOUBLE])[0]})) for n in (0, 6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {n: v.tests_passed for n, v in results.items()} == {0: 1, 6: 1}
