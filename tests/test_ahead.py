"""The bench that compiles for a GPU that is not here: what it counts in a compiled program's text."""

import importlib.util
import subprocess
import sys

import pytest

from bench import ahead

# A loop of three layers: a product, its result written to a stack, attention, a norm; before it the stack is filled with zeros.
TEXT = """\
HloModule jit_gradient, is_scheduled=true

%zero () -> bf16[3,8,16] {
  %z = bf16[] constant(0)
  ROOT %zeros = bf16[3,8,16]{2,1,0} broadcast(%z), dimensions={}
}

%product (p0: bf16[8,16], p1: bf16[16,16]) -> bf16[8,16] {
  %p0 = bf16[8,16]{1,0} parameter(0)
  %p1 = bf16[16,16]{1,0} parameter(1)
  ROOT %dot.1 = bf16[8,16]{1,0} dot(%p0, %p1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%write (w0: bf16[3,8,16], w1: bf16[8,16], w2: s32[]) -> bf16[3,8,16] {
  %w0 = bf16[3,8,16]{2,1,0} parameter(0)
  %w1 = bf16[8,16]{1,0} parameter(1)
  %w2 = s32[] parameter(2)
  %none = s32[] constant(0)
  %one = bf16[1,8,16]{2,1,0} bitcast(%w1)
  ROOT %update = bf16[3,8,16]{2,1,0} dynamic-update-slice(%w0, %one, %w2, %none, %none)
}

%norm (n0: bf16[8,16]) -> bf16[8,16] {
  %n0 = bf16[8,16]{1,0} parameter(0)
  ROOT %squares = bf16[8,16]{1,0} multiply(%n0, %n0)
}

%body (carried: (s32[], bf16[8,16], bf16[16,16], bf16[3,8,16])) -> (s32[], bf16[8,16], bf16[16,16], bf16[3,8,16]) {
  %carried = (s32[], bf16[8,16]{1,0}, bf16[16,16]{1,0}, bf16[3,8,16]{2,1,0}) parameter(0)
  %i = s32[] get-tuple-element(%carried), index=0
  %x = bf16[8,16]{1,0} get-tuple-element(%carried), index=1
  %w = bf16[16,16]{1,0} get-tuple-element(%carried), index=2
  %stack = bf16[3,8,16]{2,1,0} get-tuple-element(%carried), index=3
  %y = bf16[8,16]{1,0} fusion(%x, %w), kind=kCustom, calls=%product
  %kept = bf16[3,8,16]{2,1,0} fusion(%stack, %y, %i), kind=kLoop, calls=%write
  %mixed = bf16[8,16]{1,0} custom-call(%y), custom_call_target="__cudnn$fmhaSoftmax"
  %normed = bf16[8,16]{1,0} fusion(%mixed), kind=kLoop, calls=%norm
  ROOT %again = (s32[], bf16[8,16]{1,0}, bf16[16,16]{1,0}, bf16[3,8,16]{2,1,0}) tuple(%i, %normed, %w, %kept)
}

%condition (carried.1: (s32[], bf16[8,16], bf16[16,16], bf16[3,8,16])) -> pred[] {
  %carried.1 = (s32[], bf16[8,16]{1,0}, bf16[16,16]{1,0}, bf16[3,8,16]{2,1,0}) parameter(0)
  ROOT %less = pred[] constant(true)
}

ENTRY %main (a: bf16[8,16], b: bf16[16,16], d: s32[]) -> bf16[8,16] {
  %a = bf16[8,16]{1,0} parameter(0)
  %b = bf16[16,16]{1,0} parameter(1)
  %d = s32[] parameter(2)
  %empty = bf16[3,8,16]{2,1,0} fusion(), kind=kLoop, calls=%zero
  %begin = (s32[], bf16[8,16]{1,0}, bf16[16,16]{1,0}, bf16[3,8,16]{2,1,0}) tuple(%d, %a, %b, %empty)
  %loop = (s32[], bf16[8,16], bf16[16,16], bf16[3,8,16]) while(%begin), body=%body, condition=%condition, known_trip_count=3
  ROOT %result = bf16[8,16]{1,0} get-tuple-element(%loop), index=1
}
"""


def test_bytes_are_counted_by_kind_and_as_often_as_a_loop_turns():
    moved, kernels = ahead.by_kind(TEXT)
    rows, matrix = 8 * 16 * 2, 16 * 16 * 2
    assert moved == {
        "products": 3 * (rows + matrix + rows),
        "attention": 3 * 2 * rows,
        "stacks": 3 * rows + 3 * (rows + rows + 4),
        "else": 3 * 2 * rows,
    }
    assert kernels == 1 + 3 * 4


@pytest.mark.skipif(importlib.util.find_spec("jax_plugins") is not None, reason="the compiler for CUDA may be here")
def test_without_the_compiler_there_is_one_line():
    ran = subprocess.run([sys.executable, "-m", "bench.ahead", "--quick"], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == 'bench.ahead: expected XLA\'s compiler for CUDA, got none; pip install "jax[cuda13]"\n'
