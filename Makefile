# The handful of commands a person types. `make retrain` and `make test` set everything up by themselves.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Given after `make`, and only there: a variable of the same name in the environment means something else.
SOURCE :=
TEXT :=
LABEL :=
TEST :=
EFFORT :=
ARGS :=

.PHONY: setup retrain test quick check up down serve stop status ui doctor audit lock requirements help

help:
	@echo "make retrain       train, judge and deploy a model; without SOURCE on the embedded data"
	@echo "                   [SOURCE=file TEXT=column LABEL=column TEST=file EFFORT=quick|standard|thorough ARGS='--no-deploy ...']"
	@echo "make up, down      start or stop everything: Prefect's server, a worker, schedules and the service"
	@echo "make serve, stop   start or stop the service alone"
	@echo "make status        say what runs"
	@echo "make ui            say where Prefect's pages are"
	@echo "make doctor        say what is wrong with this machine"
	@echo "make test, quick   run all tests, or the tests of logic in under a minute"
	@echo "make check         run linters and types"
	@echo "make audit         look for known vulnerabilities of the live version; needs the network"
	@echo "make setup         install everything; the first command does so by itself"
	@echo "make lock          pin the packages anew"

setup: $(READY)

# The mark is written last: an interrupted set-up is taken up again by the next command.
$(READY): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null \
		|| { echo "Python 3.11 is needed; name it with: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "setting up $(VENV) (once, some minutes)"
	@rm -f $(READY)
	@$(BIN)/python -c 'import sys' 2>/dev/null || { rm -rf $(VENV); $(PYTHON) -m venv $(VENV); }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-input --no-deps --require-hashes -r requirements.lock
	@touch $(READY)

# Make gives the shell these variables in its environment, where an apostrophe in a name is no quote.
retrain: $(READY)
	@$(BIN)/python -m flows.system server >/dev/null
	@$(BIN)/python -m flows.retrain $(if $(SOURCE),--source "$$SOURCE") $(if $(TEXT),--text-column "$$TEXT") \
		$(if $(LABEL),--label-column "$$LABEL") $(if $(TEST),--test-source "$$TEST") $(if $(EFFORT),--effort "$$EFFORT") $(ARGS)

# On as many workers as there are CPUs; see tests/conftest.py for what is shared out, and for what is quick.
PARALLEL := -n auto --dist loadfile --no-loadscope-reorder --durations 10

test: $(READY)
	@$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

quick: $(READY)
	@$(BIN)/python -m pytest $(PARALLEL) --quick -r fE $(ARGS)

check: $(READY)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports --no-logo && $(BIN)/pyright

up down status ui: $(READY)
	@$(BIN)/python -m flows.system $@

serve: $(READY)
	@$(BIN)/python -m tasks.deployment start

stop: $(READY)
	@$(BIN)/python -m tasks.deployment stop

doctor: $(READY)
	@$(BIN)/python -m flows.doctor

# Known vulnerabilities of what the live version runs on; needs the network and the extra `audit`.
audit: $(READY)
	@$(BIN)/python -m flows.audit $(ARGS)

lock: $(READY)
	@$(BIN)/uv pip compile pyproject.toml --group dev --generate-hashes --no-annotate --no-emit-index-url \
		--python-version 3.11 --custom-compile-command "make lock" --quiet -o requirements.lock

# What the bento needs to serve, as a hashed part of the lock file.
requirements: $(READY)
	@$(BIN)/python -m tasks.release.requirements
