"""Programs -> verdicts. Runs untrusted programs against tests; no JAX in here, and no expected output in a program's process.

from coderl_jax.sandbox import judge
verdicts = judge(["print(int(input()) * 2)"], [StdinTests(inputs=("3",), outputs=("6",))])
"""

from coderl_jax.sandbox.judge import Judge, judge

__all__ = ["Judge", "judge"]
