# The commands of the project. Works with GNU Make 3.81 (macOS) and later; without make: `python3 -m stack run`.
# Another interpreter: `make run PYTHON=python3.12`.

PYTHON ?= python3
# `make run SYSTEMS=all` starts all APIs at once; also `none`, or a list by comma. Only as an argument: an exported
# variable of that name may be anybody's (VIGIE_START is ours).
CHOSEN = $(if $(filter command,$(firstword $(origin SYSTEMS))),--systems '$(SYSTEMS)')
VENV := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help run dev stop test quick test-heavy check bench clean lock words environment env test-compose

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):[^#]*## /  make \1|/' | column -t -s '|'

run:  ## install what is missing, start the console and the services it watches (SYSTEMS=all: every API at once)
	@$(PYTHON) -m stack run $(CHOSEN)

dev:  ## the same, with pages reloaded when their files change
	@$(PYTHON) -m stack run --watch $(CHOSEN)

stop:  ## stop the console and its services
	@$(PYTHON) -m stack down --console

# The environment with the packages that tests and checks need; `run` leaves them in place.
environment:
	@$(PYTHON) -m stack env --dev

# Tests wait for servers and browsers more than they compute: three at a time suit two cores. A file stays together
# (tests/conftest.py has the order, and what else stays together).
WORKERS ?= 3
# The pytest plugins of these three packages are used by no test, and would be loaded by every process.
PLUGINS := -p no:faker -p no:schemathesis -p no:typeguard
PARALLEL := -n $(WORKERS) --dist loadfile $(PLUGINS)
# What one process compiles is kept for the next: a run of tests starts hundreds.
CACHED := PYTHONDONTWRITEBYTECODE=
# What pytest makes of the asserts of all files is written once, beside the checks, where each process would make it;
# a test file that cannot be imported ends the run there.
test: environment  ## everything: the checks, then all tests (WORKERS=n files at a time)
	@$(MAKE) check & checks=$$!; \
		listing=$$($(CACHED) $(VENV)/python -m pytest --collect-only -q $(PLUGINS) 2>&1) || \
		{ echo "$$listing" | tail -60; wait; exit 1; }; wait $$checks
	$(CACHED) $(VENV)/python -m pytest $(PARALLEL)

QUICK := -m "not browser and not heavy and not slow"
quick: environment  ## tests without browser, other environments and what takes seconds
	$(CACHED) $(VENV)/python -m pytest $(PARALLEL) $(QUICK)

# Another Python beside the one of .venv, in an environment of its own; UNDER names the interpreter.
UNDER ?= python$*
quick-%: environment  ## the same on another Python: make quick-3.13
	$(VENV)/uv venv --quiet --allow-existing --no-project --python $(UNDER) .venv-$*
	$(VENV)/uv pip sync --quiet --require-hashes --python .venv-$*/bin/python requirements-dev.txt
	$(CACHED) .venv-$*/bin/python -m pytest $(PARALLEL) $(QUICK)

# Suites that need environments of their own (MLflow, Prefect); `make test` runs them only when what they test changed.
test-heavy: environment  ## the suites with environments of their own, and note in tests/heavy.json what passed
	$(VENV)/python -m pytest -m heavy --heavy

check: environment  ## style, types, the import rule, circles among files and long functions
	$(VENV)/python -m ruff check .
	$(VENV)/python -m ruff format --check .
	$(VENV)/python -m mypy
	$(VENV)/python -c "from importlinter.cli import lint_imports_command; lint_imports_command()"
	$(VENV)/python tests/shape.py

env:  ## write .env with generated passwords for `docker compose up`; what is there stays
	@$(PYTHON) -m stack.compose

# Needs Docker with Compose 2.20. Ends what it started; the volumes of its own project go with it.
test-compose: environment  ## bring the full stack up in containers and look at every service
	$(VENV)/python -m pytest tests/compose_up.py

bench: environment  ## each claim of speed, both sides measured in one run
	@for script in benchmarks/*.py; do echo "== $$script"; $(VENV)/python "$$script" || exit 1; done

clean:  ## remove the environment and the tools' caches; your runs in var/ and reports/ stay
	@$(PYTHON) -m stack down --console
	rm -rf .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis test-artifacts
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The locks name no package index and no machine: they are the same wherever they are made.
COMPILE := $(VENV)/uv pip compile --universal --generate-hashes --no-emit-index-url --python-version 3.11 \
	--custom-compile-command "make lock" --quiet

lock:  ## make the locks again from pyproject.toml (needs the environment)
	$(COMPILE) pyproject.toml -o requirements.txt
	$(COMPILE) pyproject.toml --group dev -c requirements.txt -o requirements-dev.txt
	cp requirements.txt stack/prefect/requirements.txt
	$(COMPILE) stack/prefect/requirements.in -o stack/prefect/requirements.txt
	$(COMPILE) stack/mlflow/requirements.in -o stack/mlflow/requirements.txt

words: environment  ## bring the catalogues of texts up to date with the code, and compile them
	$(VENV)/python -m tests.catalogue
