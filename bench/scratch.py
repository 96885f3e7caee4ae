"""A model from nothing to MBPP: pretraining, warm start, critics, RL, critical sampling, all on real data.

    python -m bench.scratch --mbpp mbpp.jsonl.gz --practice leetcode.jsonl.gz --out runs/scratch --size laptop    # hours on 2 cores
    python -m bench.scratch --mbpp mbpp.jsonl.gz --practice leetcode.jsonl.gz --out runs/scratch --size gpu

The corpus is the Python of packages from PyPI and of Python's own library. Whatever holds solutions or tests of MBPP's test split is left
out, of the corpus, of the problems that are taught and of those that checkpoints are chosen by: MBPP's own train and validation splits have
some. Each stage is a command that is printed before it runs; interrupted, the same command goes on. What is chosen is chosen on MBPP's
validation split; its test split (11 to 510) is read at the end only, by every row alike: 80 programs a problem, refined and repaired ones
counted. MBPP shows its tests in the statement, so critical sampling runs the very tests that decide.
"""

import dataclasses
import os
import pathlib
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Sequence
from typing import Literal

from bench.curves import Line, drawing, over_steps
from bench.demo import Clock, header
from bench.practice import plain_problems, unlike_the_test
from coderl_jax import cli
from coderl_jax.config import Judging, expect
from coderl_jax.data.problems import load_problems, save_problems
from coderl_jax.files import UserError, existing, read_json, read_jsonl, write_text
from coderl_jax.model.cost import parameters
from coderl_jax.model.hf import shape_of
from coderl_jax.report import aligned, interval_text
from coderl_jax.report.axes import thinned, words
from coderl_jax.report.curves import series_of
from coderl_jax.types import Problem

PACKAGES = (
    "numpy scipy sympy django networkx pandas scikit-learn matplotlib sqlalchemy sphinx twisted nltk".split()
)  # of one version each: what pip finds is written to packages.txt
SAMPLES = 80
LENGTHS = "--max-prompt-tokens 320 --max-new-tokens 192"
DRAW = f"{LENGTHS} --temperature 0.8 --top-p 0.95"
EXPLORE = f"{LENGTHS} --temperature 1.0 --top-p 1.0"
SAFE = "--time-limit 2 --cache OUT/verdicts"
HELPERS, PROGRAMS = "critics and repair model", "test: programs"
INDEPENDENT = {HELPERS, PROGRAMS}  # stages whose commands do not need each other
CURVES = {  # title -> the stage, and what is drawn of it
    "masked spans": ("spans", "loss", "validation_loss"),
    "next tokens": ("next", "loss", "validation_loss"),
    "warm start": ("warm", "loss"),
    "warm start, on MBPP's validation": ("warm", "validation_pass@1"),
    "critic of four outcomes": ("critic", "loss", "holdout_loss"),
    "binary critic": ("binary", "loss", "holdout_loss"),
    "repair model": ("repair", "loss"),
    "RL, losses": ("rl", "ce_loss", "rl_loss"),
    "RL, share of what it drew": ("rl", "compile_error", "runtime_error", "failed_test"),
    "RL, share that passes": ("rl", "sampled_pass", "validation_pass@1"),
}
VALIDATE = "--validation jsonl:OUT/validation.jsonl --validation-temperature 0.8 --validation-samples"


@dataclasses.dataclass(frozen=True)
class Size:
    """What of the work is done.

    Attributes:
      shape: flags of the model's shape.
      vocabulary: entries of the tokenizer.
      documents: of the corpus at most, or None.
      window: tokens of a pretraining window.
      spans: updates of masked span prediction.
      following: updates of next-token prediction.
      batch: windows an update of both.
      warm: updates of the warm start, 32 solutions each.
      helpers: updates of critics and repair model, 16 programs each.
      rounds: rounds of RL, four updates each.
      practised: problems a round.
      drawn: programs of each of them, besides a greedy one.
      update: programs an update of RL.
      samples: programs a test problem.
      problems: of the test split at most, or None.
      compute: what layers compute in.
      together: whether commands that do not need each other run at once.
    """

    shape: str
    vocabulary: int
    documents: int | None
    window: int
    spans: int
    following: int
    batch: int
    warm: int
    helpers: int
    rounds: int
    practised: int
    drawn: int
    update: int
    samples: int
    problems: int | None
    compute: str = "float32"
    together: bool = False


SIZES = {
    "quick": Size(
        shape="--d-model 64 --d-kv 16 --d-ff 128 --heads 4", vocabulary=2000, documents=200, window=256, spans=20, following=20, batch=4,
        warm=20, helpers=10, rounds=2, practised=12, drawn=8, update=32, samples=8, problems=12,
    ),
    "laptop": Size(
        shape="--d-model 160 --d-kv 32 --d-ff 640 --heads 5 --encoder-layers 3 --decoder-layers 3", vocabulary=4000, documents=None,
        window=256, spans=800, following=5000, batch=16, warm=1500, helpers=150, rounds=32, practised=48, drawn=8, update=32,
        samples=SAMPLES, problems=None,
    ),
    "gpu": Size(
        shape="--d-model 512 --d-kv 64 --d-ff 2048 --heads 8 --encoder-layers 6 --decoder-layers 6", vocabulary=16000, documents=None,
        window=384, spans=1000, following=8000, batch=64, warm=1200, helpers=300, rounds=24, practised=128, drawn=16, update=128,
        samples=SAMPLES, problems=None, compute="bfloat16", together=True,
    ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScratchConfig:
    """Train a model from nothing on real data, and measure it on MBPP."""

    mbpp: str
    """MBPP's file."""
    practice: str
    """JSON lines of problems with tests and solutions, such as LeetCodeDataset's: taught and practised beside MBPP's train split."""
    out: str = "runs/scratch"
    """Folder of everything; table.txt and curves.svg are in it."""
    size: Literal["quick", "laptop", "gpu"] = "laptop"
    """quick: minutes, shows that it runs; laptop: hours on 2 cores; gpu: CodeT5-small's shape."""
    sources: str | None = None
    """Folder of Python files to pretrain on; none: packages are fetched from PyPI."""
    prepared: str | None = None
    """The corpus as such a run prepared it, for a machine without network."""
    unconfined: bool = False
    """Run programs without confinement, on a throw-away machine whose kernel offers none; manifests say so."""

    def __post_init__(self):
        for name in (self.mbpp, self.practice, self.prepared):
            if name:
                existing(name, "data")
        expect(not (self.sources and self.prepared), "sources", "none beside --prepared", self.sources)


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(ScratchConfig, scratch, argv)


def scratch(config: ScratchConfig) -> None:
    """Run every stage, print the table and where the time went."""
    out, size = pathlib.Path(config.out), SIZES[config.size]
    out.mkdir(parents=True, exist_ok=True)
    clock = Clock(out / "timing.json")
    if size.together:  # else this process, or the first of those that share a GPU, would take all of its memory
        os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    if not config.prepared:
        corpora = [config.sources] if config.sources else [str(fetched(out / "sources")), sysconfig.get_paths()["stdlib"]]
        clock.stage("corpus", [_filled(corpus(size, corpora), config)], out)
    told = problems(config, out)
    print("\n".join(told), file=sys.stderr)
    for name, commands in stages(size).items():
        together = size.together and name in INDEPENDENT
        clock.stage(name, [_filled(command, config) for command in commands], out, together=together)
    clock.stage("page", ["sample.report OUT --out OUT/report.html"], out)
    logged = curves(out)
    table = "\n".join([header(config), *made(config, out), *told, "", result(out, size, logged), clock.table()])
    write_text(out / "table.txt", table)
    write_text(out / "curves.svg", drawing([over_steps(*panel) for panel in logged]))
    print(table)


def problems(config: ScratchConfig, out: pathlib.Path) -> list[str]:
    """Write what is taught, and what checkpoints are chosen by; a line for each reason why something was left out."""
    told = []

    def unlike(name: str, *sources: str) -> list[Problem]:
        found = [problem for source in sources for problem in load_problems(source)]
        kept = unlike_the_test(found, config.mbpp)
        told.append(f"{name}: {len(found) - len(kept)} of {len(found)} are like one of the test split: left out")
        return kept

    found = unlike("problems", f"mbpp:{config.mbpp}#train", f"jsonl:{config.practice}")
    kept = plain_problems(found, Judging(time_limit=2.0, cache=str(out / "verdicts"), unconfined=config.unconfined))
    told.append(f"problems: {len(found) - len(kept)} of {len(found)} do not become a function with assertions: left out")
    save_problems(out / "problems.jsonl", kept)
    save_problems(out / "validation.jsonl", unlike("validation", f"mbpp:{config.mbpp}#validation"))
    return told


def _filled(command: str, config: ScratchConfig) -> str:
    command = command.replace("MBPP", config.mbpp).replace("PREPARED", config.prepared or "OUT/prepared")
    judges = any(f" {flag} " in f"{command} " for flag in ("--time-limit", "--cache"))
    return command + (" --unconfined" if config.unconfined and judges else "")


def fetched(folder: pathlib.Path) -> pathlib.Path:
    """The Python files of the packages, below `folder`, which is made once."""
    if folder.exists():
        return folder
    partial = folder.with_name("sources.partial")
    wheels = folder.with_name("wheels")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(wheels), *PACKAGES]
    if subprocess.run(command, check=False).returncode:
        raise UserError("sources: expected packages from PyPI, got none; name a folder of Python files with --sources")
    for wheel in sorted(wheels.iterdir()):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(partial, [name for name in archive.namelist() if name.endswith(".py")])
    write_text(folder.with_name("packages.txt"), "".join(f"{wheel.name}\n" for wheel in sorted(wheels.iterdir())))
    partial.rename(folder)
    return folder


def corpus(size: Size, corpora: Sequence[str]) -> str:
    """The command that prepares what is pretrained on."""
    limit = f"--limit {size.documents}" if size.documents else ""
    read = " ".join(f"files:{folder}" for folder in corpora)
    return f"""train.prepare --corpus {read} --exclude mbpp:MBPP#test {limit} --tokenizer-size {size.vocabulary}
        --tokenizer-documents 2000 --out PREPARED"""


def stages(size: Size) -> dict[str, list[str]]:
    """Title -> commands of everything after the corpus."""
    adam = f"--decay-power 1 --beta2 0.98 --compute {size.compute}"
    fit = f"""--batch-size {size.batch} --warmup-steps {max(1, size.spans // 10)} {adam} --dropout 0 --relative-steps --weight-decay 0
        --learning-rate 1e-2 --end-learning-rate 1e-3"""
    pretrain = f"train.pretrain --prepared PREPARED {fit} --sequence-length {size.window} --save-every 500 --measure-every 500"
    learn = f"""--problems jsonl:OUT/problems.jsonl --verdicts OUT/learn/verdicts.jsonl --init OUT/warm {LENGTHS} --batch-size 16
        --steps {size.helpers} --warmup-steps 10 --learning-rate 3e-4 --end-learning-rate 3e-5 {adam} --dropout 0
        --save-every {size.helpers}"""
    schedule = f"--batch-size {size.update} --learning-rate 3e-4 --end-learning-rate 3e-5 --warmup-steps 10 {adam} --dropout 0"
    few = "--limit 24" if size.problems else ""
    drawn = rows(size).values()
    return {
        "masked spans": [f"{pretrain} --objective spans {size.shape} --steps {size.spans} --out OUT/spans"],
        "next tokens": [
            f"""{pretrain} --objective next-tokens --init OUT/spans --max-prompt-tokens {size.window * 3 // 4}
                --max-new-tokens {size.window // 2} --steps {size.following} --out OUT/next"""
        ],
        "warm start": [
            f"""train.finetune --problems jsonl:OUT/problems.jsonl --init OUT/next {LENGTHS} {SAFE} --batch-size 32 --steps {size.warm}
                --learning-rate 5e-4 --end-learning-rate 2e-5 --warmup-steps 50 {adam} --dropout 0.1
                {VALIDATE} 8 --validate-every {max(1, size.warm // 6)} {"--validation-limit 8" if size.problems else ""} --out OUT/warm"""
        ],
        "programs to learn from": [
            f"""sample.generate --actor OUT/warm --problems jsonl:OUT/problems.jsonl {few} --num-samples 8 {EXPLORE}
                --compute {size.compute} --out OUT/learn/programs.jsonl""",
            f"sample.judge --problems jsonl:OUT/problems.jsonl --programs OUT/learn/programs.jsonl {SAFE} --out OUT/learn/verdicts.jsonl",
        ],
        HELPERS: [
            f"train.critic {learn} --balance --out OUT/critic",
            f"train.critic {learn} --balance --classes 2 --out OUT/binary",
            f"train.repair {learn} --out OUT/repair",
        ],
        "RL": [
            f"""train.rl --problems jsonl:OUT/problems.jsonl {few} --supervised jsonl:OUT/problems.jsonl --init OUT/warm --critic OUT/critic
                {EXPLORE} --num-samples {size.drawn} {SAFE} --rounds {size.rounds} --problems-per-round {size.practised}
                --updates-per-round 4 --baseline leave-one-out --negative-weight 0.25 --ce-weight 0.03 {schedule}
                {VALIDATE} 32 {"--validation-limit 8" if size.problems else ""} --validate-every {max(1, size.rounds // 5)} --out OUT/rl"""
        ],
        PROGRAMS: [draw for _, draw, _ in drawn],
        "test: evaluation": [evaluate for _, _, evaluate in drawn],
    }


def rows(size: Size) -> dict[str, tuple[str, str, str]]:
    """Row -> its title, and the commands that draw and that evaluate; all draw the same number of programs."""
    limit = f"--limit {size.problems}" if size.problems else ""
    found = {}
    for name, title in (("warm", "warm start"), ("rl", "RL")):
        for critical in (False, True):
            row = f"{name}_critical" if critical else name
            helped = f"sample.critical --critic OUT/binary --rank-critic OUT/critic --repair OUT/repair {SAFE}"
            command = helped if critical else "sample.generate"
            against = {"warm_critical": "warm", "rl": "warm", "rl_critical": "rl"}.get(row)
            compared = f"--against OUT/test/{against}.report.json" if against else ""
            ks = " ".join(str(k) for k in (1, 10, SAMPLES) if k <= size.samples)
            found[row] = (
                title + (", critical sampling" if critical else ""),
                f"""{command} --actor OUT/{name} --problems mbpp:MBPP#test {limit} --num-samples {size.samples} {DRAW} --seed 1
                    --compute {size.compute} --out OUT/test/{row}.programs.jsonl""",
                f"""sample.evaluate --problems mbpp:MBPP#test {limit} --programs OUT/test/{row}.programs.jsonl {SAFE} --k {ks} --n 1
                    {compared} --out OUT/test/{row}.report.json""",
            )
    return found


def result(out: pathlib.Path, size: Size, logged: Sequence[tuple[str, Sequence[Line]]]) -> str:
    """The table: a line a row, then the paired differences, then what the stages logged, from `curves`."""
    ks = [str(k) for k in (1, 10, SAMPLES) if k <= size.samples]
    metrics = [("pass@k", k) for k in ks] + [("n@k", f"1@{ks[-1]}")]
    names = [f"pass@{k}" if group == "pass@k" else k for group, k in metrics]
    reports = {row: (title, read_json(out / "test" / f"{row}.report.json")) for row, (title, *_) in rows(size).items()}
    lines = [["", *names]]
    for title, report in reports.values():
        lines.append([title, *(interval_text((report[g][k], *report["interval_95"][g][k]), digits=2) for g, k in metrics)])
    problems = next(iter(reports.values()))[1]["counts"]["problems"]
    counted = f"MBPP test, {problems} problems, {size.samples} programs each, percent with 95% intervals"
    told = [counted, "MBPP shows its hidden tests: critical sampling runs the tests that decide, and n@k is pass@k where one is submitted"]
    told += ["", *aligned(lines), "", "difference in points, problem by problem"]
    for title, report in reports.values():
        if "against" in report:
            other = pathlib.Path(report["against"]["report"]).name.removesuffix(".report.json")
            cells = (report["against"][group][k] for group, k in metrics)
            found = (interval_text((cell["difference"], *cell["interval_95"]), digits=2, sign=True) for cell in cells)
            told.append(f"  {title} minus {reports[other][0]}: " + ", ".join(f"{n} {cell}" for n, cell in zip(names, found, strict=True)))
    lines = [[title, *(f"{100 * share:.2f}" for share in report["outcomes"].values())] for title, report in reports.values()]
    told += ["", *aligned([["all programs, percent", *map(words, report["outcomes"])], *lines])]
    told += ["", "over each stage, from its beginning to its end"]
    for title, lines in logged:
        for name, points in lines:
            values = [value for _, value in thinned(points, 8)[0]]
            told.append(f"  {title:<34} {name:<17}" + " ".join(f"{value:7.3f}" for value in values))
    return "\n".join(told) + "\n"


def made(config: ScratchConfig, out: pathlib.Path) -> list[str]:
    """What the stages ran, for a run that was stopped and went on at another commit, and how large model and corpus are."""
    manifests = sorted((read_json(path) for path in out.glob("*/manifest.json")), key=lambda manifest: manifest["started"])
    commits = ", ".join(dict.fromkeys(manifest["commit"] for manifest in manifests))
    corpus = read_json(pathlib.Path(config.prepared or out / "prepared") / "manifest.json")["written"]["train"]
    size = f"{parameters(shape_of(str(out / 'rl'))) / 1e6:.1f} M parameters"
    return [f"stages at {commits}", f"model: {size}; corpus: {corpus['documents']:,} documents, {corpus['tokens']:,} tokens"]


def curves(out: pathlib.Path) -> list[tuple[str, list[Line]]]:
    """Title and lines of each of `CURVES`."""
    found = []
    for title, (stage, *fields) in CURVES.items():
        series = series_of([row | row.get("outcomes", {}) for _, row in read_jsonl(out / stage / "metrics.jsonl")])
        found.append((title, [(words(field), series[field]) for field in fields]))
    return found


if __name__ == "__main__":
    main()
