"""One page from run folders: results with intervals, learning curves, funnel, critics, time, manifests, programs.

    python -m sample.report runs/demo --out runs/demo/report.html
    python -m sample.report runs/seed0 runs/seed1 --out page.html       compared with each other

Beside NAME.verdicts.jsonl it looks for NAME.example_verdicts.jsonl, NAME.scores.jsonl and NAME.CRITIC.scores.jsonl, and for
problems.jsonl up to the folder that was named.
The page is a view: the same command again draws it anew from the files as they are now.
"""

import pathlib
import sys
from collections.abc import Sequence

from coderl_jax import cli
from coderl_jax.files import UserError, write_text
from coderl_jax.stages.sample import ReportConfig


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(ReportConfig, report, argv)


def report(config: ReportConfig) -> None:
    """Write the page. Only a page is ever overwritten."""
    from coderl_jax.report import MARK, page

    if not config.runs:
        raise UserError("RUN: expected one run folder or more, got none; name those to report on")
    out = pathlib.Path(config.out)
    if out.exists() and not (out.is_file() and out.read_bytes().startswith(MARK.encode())):
        raise UserError(f"{out}: --out: expected a new name or an earlier page, got something else; choose another name")
    write_text(out, page(config.runs))
    print(f"{out}: {out.stat().st_size / 1024:,.0f} KiB", file=sys.stderr)


if __name__ == "__main__":
    main()
