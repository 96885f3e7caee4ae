"""Translation from Java to C#, learnt from CodeXGLUE's 10,000 pairs alone, beside copying the Java as it is.

    python -m bench.translation --train train.jsonl.gz --validation valid.jsonl.gz --test test.jsonl.gz --out runs/translation

The model is new and small: no pretraining. The best checkpoint is chosen by BLEU on validation; the test pairs are read at the end only.
"""

import dataclasses
import pathlib
from collections.abc import Sequence

from bench.demo import Clock, header
from coderl_jax import cli
from coderl_jax.data.problems import load_problems
from coderl_jax.files import existing, read_json, write_jsonl, write_text
from coderl_jax.report import aligned

LENGTHS = "--max-prompt-tokens 256 --max-new-tokens 256"
SHAPE = "--d-model 192 --d-kv 32 --d-ff 768 --heads 6 --encoder-layers 3 --decoder-layers 3 --tokenizer-size 4000"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TranslationConfig:
    """A small translation model against the copy baseline."""

    train: str
    """Pairs to learn from, as CodeXGLUE's rows (java, cs)."""
    validation: str
    """Pairs to choose by."""
    test: str
    """Pairs to measure on."""
    out: str = "runs/translation"
    """Folder of everything; table.txt is in it."""
    steps: int = 8000
    """Updates, of 32 pairs each."""

    def __post_init__(self):
        for name in (self.train, self.validation, self.test):
            existing(name, "pairs")


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(TranslationConfig, translation, argv)


def translation(config: TranslationConfig) -> None:
    """Train, translate, copy, compare."""
    out = pathlib.Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    clock = Clock(out / "timing.json")
    train, validation, test = (f"codexglue:{path}#java-cs" for path in (config.train, config.validation, config.test))
    clock.stage(
        "training",
        [
            f"""train.finetune --problems {train} --validation {validation} --validate-every {max(1, config.steps // 16)} --patience 4
                {SHAPE} {LENGTHS} --batch-size 32 --steps {config.steps} --learning-rate 1e-3 --end-learning-rate 5e-5
                --warmup-steps {max(1, config.steps // 20)} --decay-power 1 --beta2 0.98 --save-every 500 --out OUT/model"""
        ],
        out,
    )
    draw = f"sample.generate --actor OUT/model --problems {test} --num-samples 1 --temperature 0 {LENGTHS} --out OUT/model.answers.jsonl"
    clock.stage("translating", [draw], out)
    rows = [{"problem_id": problem.id, "index": 0, "program": problem.statement} for problem in load_problems(test)]
    write_jsonl(out / "copy.answers.jsonl", rows)
    scored = "sample.evaluate --problems {} --programs OUT/{}.answers.jsonl --out OUT/{}.report.json"
    clock.stage("metrics", [scored.format(test, name, name) for name in ("copy", "model")], out)
    scores = {name: read_json(out / f"{name}.report.json")["scores"] for name in ("copy", "model")}
    lines = [["", *scores["copy"]], *([name, *(f"{value:.4f}" for value in found.values())] for name, found in scores.items())]
    chosen = read_json(out / "model" / "manifest.json")["best"]
    told = f"Java to C#, {len(rows)} test pairs; chosen at update {chosen['best_step']}, validation BLEU {chosen['best']}\n"
    table = "\n".join([header(config), told, *aligned(lines), "", clock.table()])
    write_text(out / "table.txt", table)
    print(table)


if __name__ == "__main__":
    main()
