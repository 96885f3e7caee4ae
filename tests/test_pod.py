"""The pod bench: what it counts in a compiled program's text, its times by hand, layouts it must refuse."""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, NamedSharding

from bench import hlo, pod, pod_collectives, pod_kernels, pod_rates, pod_report
from bench.pod_programs import replicated, whole_inside
from coderl_jax.files import UserError

# A loop of 24 layers that counts by 2 up to 48: a product of 8 x 32 by 32 x 16, whose weights are gathered from four chips.
TEXT = """\
HloModule jit_step, is_scheduled=true

%fused (p0: bf16[8,32], p1: bf16[32,16]) -> bf16[8,16] {
  %p0 = bf16[8,32]{1,0:T(8,128)(2,1)} parameter(0)
  %p1 = bf16[32,16]{1,0:T(8,128)(2,1)S(1)} parameter(1)
  ROOT %convolution.1 = bf16[8,16]{1,0:T(8,128)(2,1)} convolution(%p0, %p1), dim_labels=bf_io->bf
}

%begin (q0: bf16[8,16]) -> (bf16[8,16], bf16[32,16]) {
  %q0 = bf16[8,16]{1,0} parameter(0)
  %all-gather.1 = bf16[32,16]{1,0:S(1)} all-gather(%q0), channel_id=7, replica_groups=[2,4]<=[8], dimensions={0}
  ROOT %custom-call.1 = (bf16[8,16]{1,0}, bf16[32,16]{1,0:S(1)}) custom-call(%all-gather.1), custom_call_target="AsyncCollectiveStart"
}

%async_collective_fusion.2 (q1: bf16[8,16]) -> bf16[32,16] {
  %q1 = bf16[8,16]{1,0} parameter(0)
  ROOT %all-gather.2 = bf16[32,16]{1,0:S(1)} all-gather(%q1), channel_id=7, replica_groups=[2,4]<=[8], dimensions={0}
}

%body (carried: (s32[], bf16[8,32], bf16[8,16])) -> (s32[], bf16[8,32], bf16[8,16]) {
  %two = s32[]{:T(128)} constant(2)
  %carried = (s32[]{:T(128)}, bf16[8,32]{1,0}, bf16[8,16]{1,0}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%carried), index=0
  %x = bf16[8,32]{1,0:T(8,128)(2,1)} get-tuple-element(%carried), index=1
  %w = bf16[8,16]{1,0} get-tuple-element(%carried), index=2
  %next = s32[]{:T(128)} add(%i, %two)
  %begun = (bf16[8,16]{1,0}, bf16[32,16]{1,0:S(1)}) fusion(%w), kind=kCustom, calls=%begin
  %gathered = bf16[32,16]{1,0:S(1)} fusion(%w), kind=kCustom, calls=%async_collective_fusion.2
  %y = bf16[8,16]{1,0} fusion(%x, %gathered), kind=kOutput, calls=%fused, backend_config={"window_config":{"estimated_cycles":"100"}}
  ROOT %again = (s32[]{:T(128)}, bf16[8,32]{1,0}, bf16[8,16]{1,0}) tuple(%next, %x, %y)
}

%condition (carried.1: (s32[], bf16[8,32], bf16[8,16])) -> pred[] {
  %most = s32[]{:T(128)} constant(48)
  %carried.1 = (s32[]{:T(128)}, bf16[8,32]{1,0}, bf16[8,16]{1,0}) parameter(0)
  %i.1 = s32[]{:T(128)} get-tuple-element(%carried.1), index=0
  ROOT %less = pred[]{:T(512)} compare(%i.1, %most), direction=LT
}

ENTRY %main (a: bf16[8,32], b: bf16[8,16]) -> f32[1024] {
  %zero = s32[]{:T(128)} constant(0)
  %a = bf16[8,32]{1,0} parameter(0)
  %b = bf16[8,16]{1,0} parameter(1)
  %start = (s32[]{:T(128)}, bf16[8,32]{1,0}, bf16[8,16]{1,0}) tuple(%zero, %a, %b)
  %loop = (s32[]{:T(128)}, bf16[8,32]{1,0}, bf16[8,16]{1,0}) while(%start), condition=%condition, body=%body
  %g = f32[1024]{0:S(1)} iota(), iota_dimension=0
  ROOT %sum = f32[1024]{0:S(1)} all-reduce(%g), channel_id=9, replica_groups={{0,1,2,3,4,5,6,7}}, to_apply=%fused
}
"""
PLACES = [(x, y, 0) for x in range(2) for y in range(4)]


def test_operations_bytes_and_cycles_count_once_a_trip_of_the_loop():
    module = hlo.parse(TEXT)
    assert hlo.uncounted_loops(module) == []
    assert hlo.flops(module) == 24 * 2 * 8 * 32 * 16
    assert hlo.cycles(module) == 24 * 100
    # x is read, y is written; the gathered weights and the sum stay in faster memory. The counter is read, added to, written.
    assert hlo.traffic(module) == 24 * (2 * (8 * 32 + 8 * 16) + 3 * 4)


def test_the_part_of_an_array_is_that_of_the_instructions_that_touch_it():
    module = hlo.parse(TEXT)
    assert hlo.part_with(module, [(32, 8)]) == (24 * 2 * (8 * 32 + 8 * 16), 24 * 100)
    assert hlo.part_with(module, [(1024,)]) == (0, 0)


def test_a_loop_that_does_not_say_how_often_it_runs_is_named():
    module = hlo.parse(TEXT.replace("constant(48)", "parameter(1)"))
    assert hlo.uncounted_loops(module) == ["loop"]
    assert hlo.flops(module) == 2 * 8 * 32 * 16


def test_a_loop_that_the_host_ends_counts_as_often_as_it_is_told():
    silent = TEXT.replace("constant(48)", "parameter(1)")
    assert hlo.flops(hlo.parse(hlo.with_trips(silent, 5))) == 5 * 2 * 8 * 32 * 16
    assert hlo.with_trips(TEXT, 5) == TEXT


# The backward pass of a kernel over 8 texts of 600 tokens, 16 heads, with a bias.
KERNEL = """\
ENTRY %main (l: s32[8], q: bf16[8,16,600,64], b: f32[16,600,600]) -> bf16[8,16,600,64] {
  %l = s32[8]{0} parameter(0)
  %q = bf16[8,16,600,64]{3,2,1,0} parameter(1)
  %b = f32[16,600,600]{2,1,0} parameter(2)
  ROOT %x = bf16[8,16,600,64]{3,2,1,0} custom-call(%l, %q, %q, %q, %q, %b), custom_call_target="tpu_custom_call", \
operand_layout_constraints={s32[8]{0}, bf16[8,16,600,64]{3,2,1,0}, bf16[8,16,512,64]{3,2,1,0}, bf16[8,16,512,64]{3,2,1,0}, \
bf16[8,16,600,64]{3,2,1,0}, f32[16,600,512]{2,1,0}}, metadata={op_name="jit(f)/attention_backward/pallas_call"}, \
backend_config={"custom_call_config":{"body":"AA","cost_estimate":{"flops":"1234","transcendentals":"5","bytes_accessed":"99"}}}
}
"""


def test_a_kernel_counts_what_it_says_of_itself_and_the_length_of_its_schedule(monkeypatch):
    asked = []
    monkeypatch.setattr(pod_kernels, "cycles", lambda chip, call: asked.append((chip, call)) or 77)
    module = hlo.parse(pod_kernels.with_cycles(KERNEL, "v5e"))
    assert asked == [("v5e", pod_kernels.Call("attention_backward", b=8, h=16, t=600, s=512, c=64, biased=True))]
    assert (hlo.cycles(module), hlo.flops(module), hlo.traffic(module)) == (77, 1234, 99)
    assert pod_kernels.with_cycles(TEXT, "v5e") == TEXT
    constraints = "s32[64]{0}, bf16[64,3,16,64]{3,2,1,0}, bf16[64,64,32]{2,1,0}, f32[64,16,512]{2,1,0}, bf16[64,16,64,512]{3,2,1,0}"
    step = f'custom-call(), operand_layout_constraints={{{constraints}}}, metadata={{op_name="while/own_attention/pallas_call"}}'
    assert pod_kernels.call_of(step) == ("own_attention", 64, 16, 1, 512, 64, True)


def test_products_written_as_convolutions_count_without_their_padding():
    # Four products of 5 x 3 by 3 x 2, the axis of four written as a window of which one position in four is no padding.
    line = """
ENTRY %main (a: f32[4,5,3], b: f32[4,3,2]) -> f32[4,5,2] {
  %a = f32[4,5,3]{2,1,0} parameter(0)
  %b = f32[4,3,2]{2,1,0} parameter(1)
  ROOT %c = f32[4,5,2]{2,1,0} convolution(%a, %b), window={size=4 stride=3 pad=0_0 lhs_dilate=4}, dim_labels=0bf_0io->0bf
}
"""
    assert hlo.flops(hlo.parse(line)) == 4 * 2 * 5 * 3 * 2


def test_collectives_count_once_where_they_begin_and_say_whether_they_are_hidden():
    gather, total = pod_collectives.collectives(hlo.parse(TEXT))
    assert (gather.kind, gather.sent, gather.times, gather.group, gather.hidden) == ("all-gather", 3 / 4 * 1024, 24, (0, 1, 2, 3), True)
    assert (total.kind, total.sent, total.times, total.hidden) == ("all-reduce", 2 * 7 / 8 * 4096, 1, False)
    assert pod_collectives.volume([gather, total]) == {"all-gather": 24 * 768, "all-reduce": 7168}
    # The gather goes along one axis of four chips, the sum along both; only axes of four chips or more close to rings here.
    assert pod_collectives.seconds(gather, PLACES, closed_from=4, link=100.0) == 24 * 768 / 200
    assert pod_collectives.seconds(total, PLACES, closed_from=4, link=100.0) == 7168 / 300
    # Half of a ring is a line; every second chip of it goes round, on links shared with the others.
    half, second = (dataclasses.replace(gather, group=group, times=1) for group in ((0, 1), (0, 2)))
    assert pod_collectives.seconds(half, PLACES, closed_from=4, link=100.0) == 768 / 100
    assert pod_collectives.seconds(second, PLACES, closed_from=4, link=100.0) == 768 / (100 * 2 / 2)


@pytest.mark.parametrize(
    ("written", "group"),
    [
        ("replica_groups={{0,2},{1,3}}, dimensions={0}", (0, 2)),
        ("replica_groups=[4,2]<=[2,4]T(1,0), dimensions={0}", (0, 4)),
        ("replica_groups=mesh['axis_0'=2,'axis_1'=4] {'axis_1'}, dimensions={0}", (0, 1, 2, 3)),
        ("replica_groups=mesh['axis_0'=4,'axis_1'=1,'axis_2'=2], device_ids=([2,4]T(1,0)) {'axis_2'}, dimensions={0}", (0, 4)),
    ],
)
def test_groups_are_read_in_every_way_that_they_are_written(written, group):
    line = f"""
ENTRY %main (a: f32[256]) -> f32[512] {{
  %a = f32[256]{{0}} parameter(0)
  ROOT %all-gather.1 = f32[512]{{0}} all-gather(%a), channel_id=1, {written}
}}
"""
    assert pod_collectives.collectives(hlo.parse(line))[0].group == group


def test_a_step_is_the_longest_of_what_goes_on_together_and_what_waits():
    chip = pod_rates.Rates(peak=100.0, bandwidth=10.0, memory=1.0, link=1.0, closed_from=4, multipliers=1)
    step = pod_rates.Step(flops=300.0, traffic=50.0, cycles=0.0, sent={}, hidden=4.0, open=1.0, parts={}, uncounted=())
    found = pod_rates.estimate(step, 150.0, chip)
    assert found["seconds"]["step"] == 5.0 + 1.0  # compute 3, memory 5, hidden 4
    assert found["limit"] == "memory"
    assert found["utilisation"] == 150 / (100 * 6)
    assert found["expected_utilisation"] == 150 / (100 * 6)  # no cycles: what memory takes, and the open collectives


def row(topology, chips, **more):
    """A row as the bench keeps it, of a step that sends for 2 s and computes for 4."""
    step = pod_rates.Step(400.0, 50.0, 0.0, {"all-gather": 3e9}, 0.5, 1.5, {"attention's scores": (25.0, 0.0)}, ())
    chip = pod_rates.Rates(peak=100.0, bandwidth=100.0, memory=1e9, link=1.0, closed_from=4, multipliers=1)
    memory = {"arguments": 1e9, "results": 0.0, "temporaries": 5e8, "program": 0.0, "all": 1.5e9}
    work = {"program": "train", "topology": topology, "chips": chips, "mesh": {"data": 2, "fsdp": 4, "tensor": 1}, "rows": 8}
    counts = {"prompt_tokens": 600, "program_tokens": 512, "dropout": 0.0, "useful_flops": 300.0, "arithmetic_flops": 500.0}
    return {**work, **counts, "memory": memory, "memory_limit": 1e9, "whole": [], **pod_rates.estimate(step, 300.0, chip), **more}


def test_the_report_says_what_fits_what_limits_and_how_it_scales():
    found = pod_report.text([row("v5e:4x4", 16, whole=["gradient: wi [2, 3]"]), row("v5e:2x4", 8)], pod.PodConfig())
    assert "1.50 of 1 GB, DOES NOT FIT" in found
    assert "80.0% of what model.cost counts" in found
    assert "utilisation  54.5%" in found  # 300 / (100 x (4 + 1.5))
    assert "limited by compute" in found
    assert "attention's scores: 50% of bytes" in found
    assert "WHOLE        gradient: wi [2, 3]" in found
    assert [line.split()[0] for line in found.splitlines() if line.endswith("50%")] == ["8", "16"]  # sent / compute, by chips
    assert pod_report.scaling_svg([row("v5e:4x4", 16), row("v5e:2x4", 8)]).count("<circle") == 4


def test_the_clock_is_that_at_which_all_multipliers_reach_the_peak():
    assert pod_rates.CHIPS["v5e"].clock == pytest.approx(1.5e9, rel=0.01)
    assert pod_rates.CHIPS["v5p"].clock == pytest.approx(1.75e9, rel=0.01)


def test_a_layout_that_keeps_whole_what_it_should_split_is_named():
    mesh = AbstractMesh((2, 4, 1), ("data", "fsdp", "tensor"))

    def leaf(*axes):
        return jax.ShapeDtypeStruct((1024, 512), jnp.float32, sharding=NamedSharding(mesh, jax.P(*axes)))

    small = jax.ShapeDtypeStruct((1024,), jnp.float32, sharding=NamedSharding(mesh, jax.P()))
    named = [("split", leaf("fsdp")), ("whole", leaf()), ("norm", small)]
    assert replicated(named, mesh, ("fsdp", "tensor")) == ["whole [1024, 512]"]
    assert replicated(named, mesh, ("tensor",)) == []  # nothing there could split them
    text = "%x = bf16[16,2,300]{2,1,0} parameter(0)"
    assert whole_inside(text, {"logits": (2, 16, 300), "cache": (2, 64, 300)}, mesh) == ["logits [2, 16, 300]"]


def test_without_tpus_compiler_the_bench_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "libtpu", None)
    with pytest.raises(UserError, match=r'expected TPU\'s compiler, libtpu, got none; pip install "jax\[tpu\]"'):
        pod.require_compiler()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason='needs TPU\'s compiler: pip install "jax[tpu]"')
def test_the_real_programs_compile_for_a_pod_and_split_everything(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    command = [sys.executable, "-m", "bench.pod", "--quick", "--out", str(tmp_path / "pod")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=850)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads((tmp_path / "pod.json").read_text())
    assert [row["program"] for row in rows] == ["train", "critic", "sample"]
    for row in rows:
        # How long tokens are drawn the host says: that loop's text counts one token, and the bench as many as there may be. Within it
        # the nucleus is looked for until it is found.
        assert row["program"] == "sample" or not row["uncounted_loops"]
        assert row["memory"]["all"] < row["memory_limit"]
        # XLA leaves out what it need not compute twice, and the bench counts what it computes; dropout is no product.
        assert 0.8 < row["flops"] / row["arithmetic_flops"] < 1.2
