"""Do our models say what PyTorch's say? Random weights of CodeT5's shapes, made by transformers, loaded by both.

    pip install torch==2.13.0                                          # the CPU build is enough
    python -m bench.parity --out bench/results/parity.txt              # small and base 100 greedy programs, large logits only

For every shape a checkpoint is written as the hub keeps it and loaded with `coderl_jax.model.hf`; compared are logits of a padded,
teacher-forced batch, a critic's logits, and greedy programs of 128 tokens. Exit status 1 where a bound is missed.
"""

import dataclasses
import gc
import pathlib
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.demo import SHIPPED, header
from coderl_jax import cli
from coderl_jax.config import Lengths, Sampling
from coderl_jax.files import write_text

SHAPES = {  # CodeT5's: d_model, d_ff, layers, heads; bound on the logits, absolute; greedy programs
    "small": (512, 2048, 6, 8, 1e-4, 100),
    "base": (768, 3072, 12, 12, 1e-4, 100),
    "large": (1024, 4096, 24, 16, 1e-3, 0),
}
VOCABULARY, NEW_TOKENS, ROWS = 32100, 128, 4
EOS = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParityConfig:
    """Our models beside transformers' on PyTorch."""

    out: str = "bench/results/parity.txt"
    """Result, a text file."""
    shapes: tuple[str, ...] = tuple(SHAPES)
    """Shapes: small, base, large."""


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(ParityConfig, parity, argv)


def parity(config: ParityConfig) -> None:
    """Compare every shape, print and keep a line each."""
    lines, missed = [], False
    for name in config.shapes:
        bound, programs = SHAPES[name][-2:]
        with tempfile.TemporaryDirectory() as folder:
            seconds, found = compare(name, pathlib.Path(folder), programs)
        gc.collect()
        line = f"{name:<6} logits {found['actor']:.1e}, critic logits {found['critic']:.1e} (bound {bound:.0e}); "
        line += f"greedy programs identical: {found['equal']} of {programs}; loaded in {seconds:.1f} s"
        missed |= max(found["actor"], found["critic"]) > bound or found["equal"] != programs
        lines.append(line)
        print(line, flush=True)
    note = f"Largest absolute difference from transformers on PyTorch, float32, {ROWS} rows; programs of {NEW_TOKENS} tokens."
    write_text(config.out, "\n".join([header(config), note, *lines]) + "\n")
    sys.exit(missed)


def compare(name: str, folder: pathlib.Path, programs: int) -> tuple[float, dict[str, Any]]:
    """(seconds that loading takes, largest differences and the number of equal programs) for a shape."""
    model, head = reference(name, folder)
    rng = np.random.default_rng(0)
    source = rng.integers(5, 32000, (ROWS, 200)).astype(np.int32)
    mask = np.arange(200) < np.array([200, 150, 80, 1])[:, None]
    target = rng.integers(5, 32000, (ROWS, 64)).astype(np.int32)
    logits, critic_logits = answers(model, head, source, mask, target)
    prompts = [rng.integers(5, 32000, rng.integers(20, 120)).astype(np.int32) for _ in range(programs)]
    written = greedy(model, prompts)
    del model
    began = time.perf_counter()
    ours = load(folder / "actor", "actor")
    seconds = time.perf_counter() - began
    from coderl_jax.model.critic import critic_logits as our_critic_logits
    from coderl_jax.model.t5 import sequence_logits

    found = {"actor": largest(sequence_logits(ours.graphdef, ours.params, source, mask, target), logits)}
    found["equal"] = sum(a == b for a, b in zip(our_greedy(ours, prompts), written, strict=True))
    del ours
    critic = load(folder / "critic", "critic")
    found["critic"] = largest(our_critic_logits(critic.graphdef, critic.params, source, mask, target), critic_logits)
    return seconds, found


def reference(name: str, folder: pathlib.Path) -> tuple[Any, dict[str, Any]]:
    """A model of transformers with a critic's head, both written as the hub keeps them: safetensors, and `pytorch_model.bin`."""
    import torch
    import transformers

    d_model, d_ff, layers, heads, *_ = SHAPES[name]
    torch.manual_seed(0)
    shape = transformers.T5Config(
        vocab_size=VOCABULARY, d_model=d_model, d_kv=64, d_ff=d_ff, num_layers=layers, num_heads=heads, eos_token_id=EOS,
        decoder_start_token_id=0, pad_token_id=0,
    )  # fmt: skip
    model = transformers.T5ForConditionalGeneration(shape).eval()
    with torch.no_grad():
        for block in (*model.encoder.block, *model.decoder.block):
            for layer in block.layer:
                layer.layer_norm.weight.uniform_(0.5, 1.5)
    model.save_pretrained(folder / "actor")
    head = {
        "error_head.0.weight": torch.randn(128, d_model) * d_model**0.5,  # the states it reads are scaled down by as much
        "error_head.0.bias": torch.randn(128),
        "error_head.2.weight": torch.randn(4, 128) * 128**-0.5,
        "error_head.2.bias": torch.randn(4),
    }
    (folder / "critic").mkdir()
    torch.save({**model.state_dict(), **head}, folder / "critic" / "pytorch_model.bin")
    (folder / "critic" / "config.json").write_text((folder / "actor" / "config.json").read_text())
    return model, head


def answers(model: Any, head: dict[str, Any], source: np.ndarray, mask: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """PyTorch's logits, and the critic's: Linear - ReLU - Linear on the scaled states of the decoder."""
    import torch

    with torch.no_grad():
        out = model(
            input_ids=torch.from_numpy(source).long(), attention_mask=torch.from_numpy(mask).long(),
            labels=torch.from_numpy(target).long(), output_hidden_states=True,
        )  # fmt: skip
        states = out.decoder_hidden_states[-1] * model.config.d_model**-0.5
        inner = torch.relu(states @ head["error_head.0.weight"].T + head["error_head.0.bias"])
        return out.logits.numpy(), (inner @ head["error_head.2.weight"].T + head["error_head.2.bias"]).numpy()


def greedy(model: Any, prompts: list[np.ndarray]) -> list[list[int]]:
    """PyTorch's greedy programs, up to the end token."""
    import torch

    written = []
    for start in range(0, len(prompts), 25):
        chosen = prompts[start : start + 25]
        width = max(map(len, chosen))
        source = torch.tensor(np.array([np.pad(prompt, (0, width - len(prompt))) for prompt in chosen])).long()
        mask = torch.tensor([[1] * len(prompt) + [0] * (width - len(prompt)) for prompt in chosen])
        with torch.no_grad():
            rows = model.generate(input_ids=source, attention_mask=mask, do_sample=False, num_beams=1, max_new_tokens=NEW_TOKENS)
        written += [row[: row.index(EOS) + 1] if EOS in row else row for row in rows[:, 1:].tolist()]
    return written


def our_greedy(model: Any, prompts: list[np.ndarray]) -> list[list[int]]:
    """Ours, by the sampler that every command uses."""
    from coderl_jax.data.tokenizer import load_tokenizer
    from coderl_jax.rollout.sampler import Request, Sampler

    sampling = Sampling(num_samples=1, temperature=0.0, rows_per_batch=25)
    tokenizer = load_tokenizer(SHIPPED)  # only its end token matters
    sampler = Sampler(model.graphdef, model.shape, tokenizer, Lengths(max_new_tokens=NEW_TOKENS), sampling)
    requests = [Request(problem_id=str(i), prompt=tuple(map(int, prompt)), prefixes=((),)) for i, prompt in enumerate(prompts)]
    found = dict(sampler.sample(model.params, requests, 0))
    return [list(found[i][0].tokens) for i in range(len(prompts))]


def load(folder: pathlib.Path, kind: str) -> Any:
    """Our model of a folder, its parameters in place."""
    import jax

    from coderl_jax.model import hf

    model = hf.load(str(folder), kind=kind)
    jax.block_until_ready(model.params)
    return model


def largest(ours: Any, theirs: np.ndarray) -> float:
    """The largest absolute difference."""
    return float(np.abs(np.asarray(ours, np.float64) - theirs).max())


if __name__ == "__main__":
    main()
