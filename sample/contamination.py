"""Contamination: which documents of one source hold solutions or tests of another.

python -m sample.contamination files:sources mbpp:mbpp.jsonl#test
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from coderl_jax import cli
from coderl_jax.stages.sample import ContaminationConfig


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(ContaminationConfig, contamination, argv)


def contamination(config: ContaminationConfig) -> None:
    """Print how many documents hold how many of the benchmark's texts, then a line a find."""
    import dataclasses

    from coderl_jax.data.contamination import Benchmark, Found
    from coderl_jax.data.corpus import counted, read_corpus
    from coderl_jax.files import write_jsonl

    rules, reasons = config.filter, Counter()
    benchmark = Benchmark(_texts(config), rules.overlap_words, rules.overlap_share)
    found: list[Found] = []
    searched = 0
    for document in counted(read_corpus(config.documents, rules.suffixes, rules.max_bytes), rules, reasons):
        found += benchmark.found_in(document)
        searched += 1
    documents, texts = {f.document for f in found}, {f.text for f in found}
    print(f"{searched:,} documents of {config.documents} searched, {sum(reasons.values()):,} left out")
    print(f"{len(benchmark.names):,} texts of {config.benchmark} looked for, {benchmark.too_short:,} too short to tell from chance")
    print(f"{len(documents):,} documents hold {len(texts):,} of the texts")
    for f in sorted(found, key=lambda f: -f.share):
        print(f"{f.share:4.0%}  {f.document}  holds  {f.text}")
    if config.out:
        write_jsonl(config.out, map(dataclasses.asdict, found))


def _texts(config: ContaminationConfig) -> Iterator[Any]:
    """Solutions and tests of a problem source; the documents of a corpus."""
    from coderl_jax.data.contamination import benchmark_texts
    from coderl_jax.data.corpus import Document, read_corpus
    from coderl_jax.data.problems import NAMES, load_problems

    if config.benchmark.partition("#")[0].partition(":")[0] in NAMES:
        return benchmark_texts(load_problems(config.benchmark))
    rows = read_corpus(config.benchmark, config.filter.suffixes, config.filter.max_bytes)
    return (row for row in rows if isinstance(row, Document))


if __name__ == "__main__":
    main()
