"""What a problem source holds: counts, lengths, tests, and which problems were left out and why.

python -m sample.describe mbpp:mbpp.jsonl#test --tokenizer codet5-base
"""

from collections.abc import Sequence

from coderl_jax import cli
from coderl_jax.stages.sample import DescribeConfig


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(DescribeConfig, describe, argv)


def describe(config: DescribeConfig) -> None:
    """Print a line a fact, then a line a problem that was left out."""
    from coderl_jax.data.describe import description
    from coderl_jax.data.problems import read_source
    from coderl_jax.data.tokenizer import load_tokenizer
    from coderl_jax.report import aligned

    tokenizer = load_tokenizer(config.tokenizer) if config.tokenizer else None
    source = read_source(config.source, config.limit)
    for line in aligned([list(row) for row in description(source, tokenizer, config.lengths)]):
        print(line)
    for row in source.left_out:
        print(f"left out {row.id}: {row.why}")


if __name__ == "__main__":
    main()
