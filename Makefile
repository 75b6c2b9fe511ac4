# `make run` sets everything up and runs the main job; `make test` does the same for the tests, `make docs`
# for the site in build/site.
# Needs Python 3.11 or newer (PYTHON=...) and make; everything else is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test docs debian clean

run: $(VENV)/installed
	$(BIN)/al-engine run configs/ethanol.yaml

test: debian $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist loadgroup

docs: $(VENV)/installed-docs
	$(BIN)/mkdocs build --strict

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "al-engine needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

# The install is editable, so a change of the code needs no new one.
$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/installed-test: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@ $(VENV)/installed

$(VENV)/installed-docs: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@ $(VENV)/installed

# A browser, a database server and a queue, for the tests that need them; those are skipped without.
debian:
	@if command -v chromium >/dev/null && ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && \
	  command -v sbatch >/dev/null; then \
	  true; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	    chromium postgresql slurm-wlm munge >/dev/null || echo "Debian packages could not be installed: tests are skipped"; \
	else \
	  echo "chromium, postgresql or slurm is missing (apt-get install chromium postgresql slurm-wlm munge):" \
	    "tests are skipped"; \
	fi

clean:
	rm -rf $(VENV) build *.egg-info
