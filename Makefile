# Both targets make .venv and install into it by themselves.
PYTHON ?= $(firstword $(shell command -v python3.11 python3.12 python3.13 python3))
FROM ?= shipped
BIN = .venv/bin
# glibc then asks the kernel for huge pages: an update on a CPU, which fills fresh memory, takes a sixth less time.
export GLIBC_TUNABLES = glibc.malloc.hugetlb=1
STAMP = .venv/.installed

demo: $(STAMP)  ## the whole loop on built-in problems: runs/demo/table.txt and runs/demo/report.html
	$(BIN)/python -m bench.demo --start $(FROM) --install-seconds $$(cat $(STAMP)) --out runs/demo

test: $(STAMP)  ## all tests
	$(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

warmstart: $(STAMP)  ## make the shipped primer and warm start again (about 35 minutes on 2 cores)
	$(BIN)/python -m bench.warmstart

$(STAMP): requirements.txt setup.cfg pyproject.toml
	command -v $(PYTHON) > /dev/null || { echo "make: expected $(PYTHON) on the PATH; set PYTHON=/path/to/python (3.11 or later)"; exit 2; }
	began=$$(date +%s) && $(PYTHON) -m venv .venv && \
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]' && \
	echo $$(($$(date +%s) - began)) > $(STAMP)

.PHONY: demo test lint warmstart
