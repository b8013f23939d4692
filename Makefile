# Every target does all set-up by itself: a .venv of its own, locked versions, this project in it.
# Python 3.11 or newer and make are all it needs; PYTHON=… chooses another interpreter, ARGS=… goes to the command.

PYTHON ?= $(shell for one in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$one" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$one" && break; done)
WORKERS ?= 2
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
RUN := .venv/ready-to-run
TEST := .venv/ready-to-test
SITE := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs

.PHONY: run demo test bench docs schema lock clean

run: $(RUN)  ## the whole hub, until Ctrl-C
	@$(BIN)/tabellion up --test-key $(ARGS)

demo: $(RUN)  ## the main job from end to end, on real sockets
	@$(BIN)/python -m tabellion.app.demo $(ARGS)

test: $(TEST)  ## format, lint, types, import rules, tests: what CI runs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(SITE) build --strict
	$(BIN)/pytest -n $(WORKERS) $(ARGS)

bench: $(TEST)  ## a table, and benchmarks/results/*.json
	@$(BIN)/python -m benchmarks $(ARGS)

docs: $(TEST)  ## the documentation as a site, on http://127.0.0.1:8000, made anew when a page changes
	$(SITE) serve --strict $(ARGS)

schema: $(RUN)  ## write migrations/schema.sql anew
	$(BIN)/python -m tabellion.migrations.schema

# Names versions and hashes, and no place to get them from: that is the installing machine's business.
lock: $(RUN)  ## follow pyproject.toml; ARGS=--upgrade moves everything else too
	@$(PIP) install "uv>=0.13,<0.14"
	$(BIN)/python .ci/lock.py $(ARGS)

clean:  ## remove what was built; data directories stay
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUN): requirements.lock pyproject.toml $(BIN)/python
	@echo "Installing Tabellion into .venv …"
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-build-isolation --no-deps --no-index --editable .
	@touch $@

$(TEST): requirements-dev.lock $(RUN)
	@echo "Installing the tools of development into .venv …"
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Tabellion needs Python 3.11 or newer, and found none. Install it (Debian, Ubuntu: apt install python3 python3-venv) or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@rm -rf .venv
	@$(PYTHON) -m venv .venv >.venv.log 2>&1 || { cat .venv.log >&2; rm -rf .venv .venv.log; echo "$(PYTHON) cannot make a virtual environment. Install what it lacks (Debian, Ubuntu: apt install python3-venv), or name another interpreter: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@rm -f .venv.log
