"""The peer of bench.rl_loop: REINFORCE with a greedy baseline in PyTorch and transformers, as one would write it in an afternoon."""

from typing import Any

import torch
import transformers

from coderl_jax.data.problems import load_problems
from coderl_jax.data.prompts import generation_prompt, prompt_tokens
from coderl_jax.data.tokenizer import load_tokenizer
from coderl_jax.model.folder import resolve
from coderl_jax.objectives.returns import REWARDS
from coderl_jax.sandbox import Judge

PROMPTS_TOGETHER = 32


class TorchLoop:
    """One model and its optimizer."""

    def __init__(self, model: str, device: str, dtype: str, size: dict[str, int], judge: Judge, lengths: str):
        """Load the model; `size` and `lengths` are those of `bench.rl_loop`."""
        folder = resolve(model)
        self.tokenizer, self.device, self.size, self.judge = load_tokenizer(folder), device, size, judge
        self.model = transformers.T5ForConditionalGeneration.from_pretrained(folder).to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-6)
        self.autocast = torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16")
        self.problems = load_problems("tiny#practice")
        words = lengths.split()
        self.prompt, self.new = int(words[1]), int(words[3])

    def round(self, number: int) -> None:
        """Generate, judge, update."""
        count = self.size["problems"]
        chosen = [self.problems[(number * count + i) % len(self.problems)] for i in range(count)]
        prompts = [prompt_tokens(self.tokenizer, generation_prompt(p.public()), self.prompt)[0] for p in chosen]
        drawn = []
        for start in range(0, count, PROMPTS_TOGETHER):
            source, mask = self._padded(prompts[start : start + PROMPTS_TOGETHER])
            greedy = self._generate(source, mask, do_sample=False)
            others = self._generate(source, mask, do_sample=True, num_return_sequences=self.size["samples"], top_k=0)
            drawn += [(greedy[i], others[i * self.size["samples"] : (i + 1) * self.size["samples"]]) for i in range(len(source))]
        texts = [[self.tokenizer.decode(self._ids(row)) for row in (greedy, *others)] for greedy, others in drawn]
        running = [[self.judge.submit(text, p.hidden_tests) for text in own] for own, p in zip(texts, chosen, strict=True)]
        rewards = [[REWARDS[job.result().outcome] for job in own] for own in running]
        rows = [
            (prompt, self._ids(program), reward - own[0])
            for prompt, (_, others), own in zip(prompts, drawn, rewards, strict=True)
            for program, reward in zip(others, own[1:], strict=True)
            if reward != own[0]
        ]
        for start in range(0, min(len(rows), self.size["updates"] * self.size["batch"]), self.size["batch"]):
            self._update(rows[start : start + self.size["batch"]])

    def _generate(self, source: torch.Tensor, mask: torch.Tensor, **how: Any) -> list[torch.Tensor]:
        with torch.inference_mode(), self.autocast:
            return list(self.model.generate(input_ids=source, attention_mask=mask, max_new_tokens=self.new, **how)[:, 1:].cpu())

    def _ids(self, row: torch.Tensor) -> list[int]:
        ids = row.tolist()
        return ids[: ids.index(self.tokenizer.eos) + 1] if self.tokenizer.eos in ids else ids

    def _padded(self, rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        width = max(map(len, rows))
        padded = torch.tensor([[*row, *[self.tokenizer.pad] * (width - len(row))] for row in rows], device=self.device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=self.device)
        return padded, mask

    def _update(self, rows: list[tuple[list[int], list[int], float]]) -> None:
        source, mask = self._padded([prompt for prompt, _, _ in rows])
        target, target_mask = self._padded([program for _, program, _ in rows])
        advantage = torch.tensor([advantage for *_, advantage in rows], device=self.device)[:, None]
        with self.autocast:
            logits = self.model(input_ids=source, attention_mask=mask, labels=target).logits
        told = torch.log_softmax(logits.float(), -1).gather(-1, target[..., None])[..., 0]
        loss = -(told * advantage * target_mask).sum() / target_mask.sum()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
