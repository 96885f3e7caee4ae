"""RUN FOLDER -> PAGE: reads the files that other rooms wrote, and nothing else; no other room needs this one.

result_table(folder) -> plain text        page(folders) -> one self-contained HTML page
"""

from coderl_jax.report.page import MARK, page
from coderl_jax.report.table import aligned, interval_text, result_table

__all__ = ["MARK", "aligned", "interval_text", "page", "result_table"]
