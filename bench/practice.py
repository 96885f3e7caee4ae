"""What a model that is tested on MBPP may be taught: no problem of the test, and all in MBPP's form.

MBPP asks by a sentence and three assertions for a function. LeetCode's problems ask by a page of examples for a method of `class Solution`,
and their solutions begin with star imports of nine modules: taught as they are, a small model spends its few updates on imports and on a
form that MBPP never asks for. So they become a short statement, assertions, and a function that stands alone. All programs are written as
`ast.unparse` writes them: one style, no comments, fewer tokens.
"""

import ast
import builtins
import dataclasses
import importlib
import re
from collections.abc import Sequence

from coderl_jax.config import Judging
from coderl_jax.data.contamination import Benchmark, benchmark_texts
from coderl_jax.data.corpus import Document
from coderl_jax.data.mbpp import with_tests
from coderl_jax.data.problems import load_problems
from coderl_jax.sandbox import judge
from coderl_jax.syntax import parsed
from coderl_jax.types import AssertTests, CallTests, Outcome, Problem

TESTS = 3
MODULES = ("math", "collections", "itertools", "functools", "heapq", "bisect", "string", "operator")
"""Where a name that a solution takes from a star import is looked for, in this order."""


def unlike_the_test(problems: Sequence[Problem], mbpp: str) -> list[Problem]:
    """The problems that ask for no test problem and hold, in statement, tests and solutions, no solution and no tests of one."""
    test = load_problems(f"mbpp:{mbpp}#test")
    benchmark, asked = Benchmark(benchmark_texts(test), n=10, share=0.5), {_asked(problem) for problem in test}

    def like(problem: Problem) -> bool:
        texts = [Document(problem.id, problem.statement), *benchmark_texts([problem])]
        return _asked(problem) in asked or any(benchmark.found_in(text) for text in texts)

    return [problem for problem in problems if not like(problem)]


def _asked(problem: Problem) -> tuple[str, ...]:
    """The words of a statement's first line, but for those that say nothing of the task."""
    words = re.findall(r"[a-z0-9]+", problem.statement.partition("\n")[0].lower())
    return tuple(word for word in words if word not in ("a", "an", "the", "given", "write", "python", "function", "to"))


def plain_problems(problems: Sequence[Problem], judging: Judging) -> list[Problem]:
    """Problems in MBPP's form: call-based ones rewritten, others kept with their solutions in one style.

    A solution stays if it passes its tests where it stands alone, a problem if it has such a solution.
    """
    rewritten = [found for problem in problems if (found := plain(problem))]
    programs = [(problem, program) for problem in rewritten for program in problem.solutions]
    verdicts = judge([program for _, program in programs], [problem.hidden_tests for problem, _ in programs], judging)
    passing: dict[str, list[str]] = {problem.id: [] for problem in rewritten}
    for (problem, program), verdict in zip(programs, verdicts, strict=True):
        if verdict.outcome == Outcome.PASSED:
            passing[problem.id].append(program)
    return [dataclasses.replace(problem, solutions=tuple(passing[problem.id])) for problem in rewritten if passing[problem.id]]


def plain(problem: Problem) -> Problem | None:
    """The problem in MBPP's form, not yet judged; None where its tests or solutions cannot be written so."""
    match problem.hidden_tests:
        case CallTests() as calls:
            tests = AssertTests(setup="", asserts=_asserts(calls))
            statement = with_tests(" ".join(problem.statement.partition("Example 1")[0].split()), tests.asserts)
            solutions = [_in_one_style(solution, calls.fn_name) for solution in problem.solutions]
        case AssertTests() as tests if problem.starter_code is None:
            statement = problem.statement
            solutions = [_in_one_style(solution) for solution in problem.solutions]
        case _:
            return None
    kept = tuple(dict.fromkeys(solution for solution in solutions if solution))
    if not kept:
        return None
    return dataclasses.replace(problem, statement=statement, starter_code=None, example_tests=tests, hidden_tests=tests, solutions=kept)


def _asserts(tests: CallTests) -> tuple[str, ...]:
    calls = zip(tests.inputs[:TESTS], tests.outputs[:TESTS], strict=True)
    return tuple(f"assert {tests.fn_name}({', '.join(map(repr, given))}) == {expected!r}" for given, expected in calls)


def _in_one_style(program: str, method: str | None = None) -> str | None:
    """The program, or the function that its `method` becomes; None if it is no Python or there is no such function."""
    try:
        tree = parsed(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if method:
        tree = _function(tree, method)
    return ast.unparse(tree) if tree else None


def _function(tree: ast.Module, name: str) -> ast.Module | None:
    """The method `name` of `class Solution` as a function, after the imports it needs; None if it needs the class or the module."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Solution"]
    methods = [node for node in classes[-1].body if isinstance(node, ast.FunctionDef)] if classes else []
    if len(methods) != 1 or methods[0].name != name or methods[0].decorator_list:
        return None
    function = methods[0]
    taken = function.args.args.pop(0).arg if function.args.args else ""
    for node in ast.walk(function):
        match node:
            case ast.Name(id=used) if used == taken:
                return None
            case ast.FunctionDef():
                node.returns = None
            case ast.arg():
                node.annotation = None
    imports = _imports(function)
    return None if imports is None else ast.Module([*imports, function], [])


def _imports(function: ast.FunctionDef) -> list[ast.stmt] | None:
    """Imports of the names that the function takes from outside; None if some are of no module known here."""
    names = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
    bound = {node.id for node in names if isinstance(node.ctx, ast.Store)} | {function.name}
    bound |= {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}
    bound |= {node.name for node in ast.walk(function) if isinstance(node, ast.FunctionDef)}
    free = sorted({node.id for node in names} - bound - set(dir(builtins)))
    found: list[ast.stmt] = []
    for name in free:
        module = next((module for module in MODULES if hasattr(importlib.import_module(module), name)), None)
        if name in MODULES:
            found.append(ast.Import([ast.alias(name)]))
        elif module:
            found.append(ast.ImportFrom(module, [ast.alias(name)], 0))
        else:
            return None
    return found
