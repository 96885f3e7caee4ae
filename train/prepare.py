"""Prepare data: a corpus or problems become array_record files of token ids, once, for any number of runs and hosts.

python -m train.prepare --corpus files:sources --tokenizer Salesforce/codet5-base --exclude mbpp:mbpp.jsonl#test --out prepared
"""

import dataclasses
import itertools
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from coderl_jax import cli
from coderl_jax.stages.train import PrepareConfig


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(PrepareConfig, prepare, argv)


def prepare(config: PrepareConfig) -> None:
    """Write the prepared folder, and say what it holds and what was left out."""
    from coderl_jax.data.prepared import write_prepared
    from coderl_jax.files import UserError, open_output, remove, write_jsonl

    names = {f"corpus {i}": name for i, name in enumerate(config.corpus)} | {f"exclude {i}": n for i, n in enumerate(config.filter.exclude)}
    inputs = {"problems": config.problems or "none", "tokenizer": config.tokenizer or "trained", **names}
    output = open_output(config.out, config, inputs, folder=True)
    if output.finished:
        print(f"{config.out} is finished", file=sys.stderr)
        return
    reasons: Counter = Counter()
    found: list = []
    kind = "examples" if config.problems else "documents"
    try:
        tokenizer = _tokenizer(config)
        rows = _examples(config, tokenizer) if config.problems else _documents(config, tokenizer, reasons, found)
        validated = not config.problems and config.validation_share > 0
        written = write_prepared(output.partial, kind, rows, tokenizer, validated)
    except UserError:
        remove(output.partial)  # half a corpus is of no use: the next attempt begins anew
        print("\n".join(_left_out(reasons)), file=sys.stderr)
        raise
    if found:
        write_jsonl(output.partial / "contaminated.jsonl", map(dataclasses.asdict, found))
    counts = {split: {kind: number, "tokens": tokens} for split, (number, tokens) in written.items()}
    output.finish({"written": counts, "left_out": dict(reasons.most_common())})
    for split, (number, tokens) in written.items():
        print(f"{split}: {number:,} {kind}, {tokens:,} tokens")
    print("\n".join(_left_out(reasons)))


def _left_out(reasons: Counter) -> list[str]:
    return [f"left out: {number:,} {why}" for why, number in reasons.most_common()]


def documents_of(config: PrepareConfig, reasons: Counter, found: list) -> Iterator[Any]:
    """The documents that are pretrained on: fit, no repeats, nothing of the excluded benchmarks; at most `limit`."""
    from coderl_jax.data.contamination import Benchmark, benchmark_texts, uncontaminated
    from coderl_jax.data.corpus import counted, read_corpus
    from coderl_jax.data.duplicates import without_duplicates
    from coderl_jax.data.problems import load_problems

    rules = config.filter
    read = itertools.chain.from_iterable(read_corpus(source, rules.suffixes, rules.max_bytes) for source in config.corpus)
    documents = without_duplicates(counted(read, rules, reasons), rules.near_duplicates, reasons)
    if rules.exclude:
        texts = itertools.chain.from_iterable(benchmark_texts(load_problems(source)) for source in rules.exclude)
        benchmark = Benchmark(texts, rules.overlap_words, rules.overlap_share)
        documents = uncontaminated(documents, benchmark, reasons, found)
    return itertools.islice(documents, config.limit)


def _tokenizer(config: PrepareConfig) -> Any:
    from coderl_jax.data.tokenizer import load_tokenizer, train_tokenizer

    if config.tokenizer:
        return load_tokenizer(config.tokenizer)
    texts = (document.text for document in documents_of(config, Counter(), []))
    return train_tokenizer(itertools.islice(texts, config.tokenizer_documents), config.tokenizer_size, sentinels=True)


def _documents(config: PrepareConfig, tokenizer: Any, reasons: Counter, found: list) -> Iterator[tuple[str, dict[str, Any]]]:
    from tqdm import tqdm

    from coderl_jax.data.corpus import share_of

    for document in tqdm(documents_of(config, reasons, found), unit="document", desc="prepared"):
        split = "validation" if share_of(document.name) < config.validation_share else "train"
        yield split, {"name": document.name, "licence": ", ".join(document.licences), "tokens": tokenizer.encode(document.text)}


def _examples(config: PrepareConfig, tokenizer: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    from coderl_jax.data.problems import load_problems
    from train.examples import solution_examples

    for example in solution_examples(load_problems(config.problems, config.limit), tokenizer, config.lengths):
        yield "train", {"source": example.source, "target": example.target}


if __name__ == "__main__":
    main()
