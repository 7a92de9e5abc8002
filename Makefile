# xraytune: `make search` sets the environment up on first use, then searches. `make help` lists every target.

SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
# TensorFlow's wheels exist for these Pythons; PYTHON=/path/to/python chooses another of them.
PYTHONS := $(PYTHON) python3 python3.13 python3.12 python3.11
FITS := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

# Every variable of make's command line reaches the commands as it was typed: nothing in a value is expanded, neither
# by make nor by a shell. Which variables a command has follows from its own options (search/cli/make_variables.py);
# those of the environment count too. ARGS="--option value" is passed on as it is.
OWN := PYTHON EXTRAS ONLY PART VENV SHELL MAKEFLAGS
LINE := $(foreach v,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $v))),$(filter-out $(OWN),$v)))
$(foreach v,$(LINE),$(eval override export $v := $$(value $v)))
export XRAYTUNE_MAKE_VARIABLES := $(LINE)
export XRAYTUNE_MAKE_GOALS := $(MAKECMDGOALS)
COMMAND = exec $(BIN)/python -m search.cli.make_variables

.PHONY: help
help: ## list every target
	@echo 'make search [DATA=folder] [TRIALS=40] [TIME=30m] [STUDY=mine] …   (every option of search.run --help, ARGS="--any option")'
	@echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 28

# ── set-up ──────────────────────────────────────────────────────────────────────────────────────────────────────────
# A stamp a set of extras: the second call starts at once; a changed pyproject.toml installs again. Bytecode is compiled
# once, here: where Python may not write it (PYTHONDONTWRITEBYTECODE, a read-only folder) every process that imports
# TensorFlow would compile it again, for ten seconds and more.

define install # $1 = extras
	@set -e; $(call make_venv); \
	extras='$(subst $() ,$(comma),$(strip $1 $(subst $(comma), ,$(EXTRAS))))'; target=".$${extras:+[$$extras]}"; \
	echo "Installing xraytune$${extras:+ with $$extras} into $(VENV) (once) …"; \
	index=$$($(BIN)/python -m pip config get global.index-url 2>/dev/null || true); \
	if [ -n "$$index" ] && [ -z "$$UV_DEFAULT_INDEX$$UV_INDEX_URL" ]; then export UV_DEFAULT_INDEX="$$index"; fi; \
	uv=$$(command -v uv || true); \
	if [ -z "$$uv" ] && $(BIN)/python -m pip install --quiet uv 2>/dev/null; then uv=$(BIN)/uv; fi; \
	if [ -z "$$uv" ] || ! "$$uv" pip install --quiet --compile-bytecode --python $(BIN)/python --editable "$$target"; then \
	  echo "uv could not; installing with pip (about a minute) …"; \
	  $(BIN)/python -m pip install --quiet --editable "$$target"; \
	fi
endef
comma := ,

define make_venv
	if ! [ -x $(BIN)/python ]; then \
	  for candidate in $(PYTHONS); do \
	    if "$$candidate" -c '$(FITS)' 2>/dev/null; then chosen="$$candidate"; break; fi; \
	  done; \
	  if [ -z "$$chosen" ]; then \
	    echo "xraytune needs Python 3.11, 3.12 or 3.13 with venv; none of these is it: $(PYTHONS)." >&2; \
	    echo "Install one (Debian: apt install python3 python3-venv) or name it: make setup PYTHON=/path/to/python3.12" >&2; \
	    exit 2; \
	  fi; \
	  "$$chosen" -m venv $(VENV); \
	fi
endef

$(VENV)/.ready: pyproject.toml
	$(call install,)
	@touch $@

$(VENV)/.ready-dev: pyproject.toml
	$(call install,dev dicom onnx serve)
	@touch $(VENV)/.ready $@

$(VENV)/.ready-jax: $(VENV)/.ready-dev
	$(call install,dev dicom onnx serve jax)
	@touch $@

.PHONY: setup
setup: ## install into .venv (EXTRAS=cuda,dicom,onnx,serve,jax,postgres,mysql,mlflow adds those)
	@$(if $(EXTRAS),rm -f $(VENV)/.ready)
	@$(MAKE) --no-print-directory $(VENV)/.ready
	@echo "Ready: $(BIN)/python ($$($(BIN)/python --version))"

# ── the work ────────────────────────────────────────────────────────────────────────────────────────────────────────

.PHONY: search
search: $(VENV)/.ready ## search for the best classifier of DATA (none: a demonstration on synthetic images)
	@$(COMMAND) search

.PHONY: verify
verify: $(VENV)/.ready ## check DATA: damage, leaks, duplicates, shortcuts (POSITIVE, FIT, QUARANTINE … as search)
	@DATA="$${DATA:-demo}" $(COMMAND) verify

.PHONY: leaderboard
leaderboard: $(VENV)/.ready ## a study's trials, best first (STUDY=mine, else the latest)
	@$(COMMAND) leaderboard

.PHONY: dashboard
dashboard: $(VENV)/.ready ## optuna-dashboard on 127.0.0.1, read-only
	@$(COMMAND) dashboard

.PHONY: retrain
retrain: $(VENV)/.ready ## train the final model, evaluate it on the test set, write the report (STUDY=mine, FINAL=ensemble …)
	@$(COMMAND) retrain

.PHONY: evaluate
evaluate: $(VENV)/.ready ## a saved model on labelled data of another hospital (MODEL=results/mine/winner DATA=folder)
	@$(COMMAND) evaluate

.PHONY: shift
shift: $(VENV)/.ready ## differences between images without labels (FOLDER) and the training images of MODEL
	@$(COMMAND) shift

.PHONY: report
report: $(VENV)/.ready ## write the report of a final model again (STUDY=mine, else the latest)
	@$(COMMAND) report

.PHONY: predict
predict: $(VENV)/.ready ## classify IMAGES (a file or folder) with MODEL (results/mine/winner)
	@$(COMMAND) predict

.PHONY: serve
serve: $(VENV)/.ready ## a page on 127.0.0.1 that classifies one image with MODEL (make setup EXTRAS=serve)
	@$(COMMAND) serve

.PHONY: export
export: $(VENV)/.ready ## MODEL (results/mine/winner) as ONNX
	@$(COMMAND) export

.PHONY: show-augmentation
show-augmentation: $(VENV)/.ready ## a picture of DATA under each augmentation
	@$(COMMAND) show-augmentation

# ── tests, in tiers ─────────────────────────────────────────────────────────────────────────────────────────────────

PYTEST := $(BIN)/python -m pytest

.PHONY: lint
lint: $(VENV)/.ready-dev ## style, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

.PHONY: test
test: lint ## lint, types and the first tier of tests (needs nothing outside the clone)
	$(PYTEST) -m 'not long' -n 2 --dist loadfile tests/unit tests/contracts
	$(PYTEST) -m 'not long' -n 2 --dist loadgroup tests/e2e

.PHONY: test-long
test-long: $(VENV)/.ready-dev ## slow tests that make test leaves out
	$(PYTEST) -m long -n 2 --dist loadfile tests/unit tests/contracts tests/e2e

.PHONY: test-faults
test-faults: $(VENV)/.ready-dev ## real faults: kills, full disks, lost nodes (ONLY=file for one)
	$(PYTEST) -n 2 $(or $(ONLY),tests/faults)

FUZZ_SECONDS ?= 600

.PHONY: test-fuzz
test-fuzz: $(VENV)/.ready-dev ## random and damaged inputs for ten minutes (FUZZ_SECONDS=30 FUZZ_SEED=1)
	FUZZ_SECONDS='$(FUZZ_SECONDS)' FUZZ_SEED='$(FUZZ_SEED)' $(PYTEST) tests/fuzz

.PHONY: test-whole
test-whole: $(VENV)/.ready-dev ## whole searches: each option, a user's own space
	$(PYTEST) -n 2 --dist loadfile tests/whole

.PHONY: test-slow
test-slow: $(VENV)/.ready-dev ## many samples of the space, large networks
	$(PYTEST) tests/slow

BACKEND_TESTS := $(addprefix tests/unit/,xraytune/models xraytune/training spaces)

.PHONY: test-jax
test-jax: $(VENV)/.ready-jax ## networks and training under KERAS_BACKEND=jax
	KERAS_BACKEND=jax $(PYTEST) -W 'ignore:__array__ implementation:DeprecationWarning' $(BACKEND_TESTS) tests/contracts/test_hypermodels.py tests/backends

.PHONY: test-real
test-real: $(VENV)/.ready-dev ## on real X-rays and weights: XRAYTUNE_DATA, XRAYTUNE_WEIGHTS
	$(PYTEST) -n 2 --dist loadfile tests/real

.PHONY: test-browser
test-browser: $(VENV)/.ready-dev ## report and dashboard in Chromium
	$(PYTEST) tests/browser

.PHONY: test-notebooks
test-notebooks: $(VENV)/.ready-dev ## notebooks/quickstart.ipynb in a real kernel, and the stop button in every phase
	$(PYTEST) tests/notebooks

MLFLOW_SERVER := $(VENV)/mlflow-server

$(VENV)/.ready-servers: $(VENV)/.ready-dev
	$(call install,dev dicom onnx serve mlflow)
	@$(BIN)/python -m venv $(MLFLOW_SERVER) && $(MLFLOW_SERVER)/bin/python -m pip install --quiet mlflow
	@touch $@

.PHONY: test-servers
test-servers: $(VENV)/.ready-servers ## MLflow on a real server, installed into a separate environment
	XRAYTUNE_MLFLOW=$(or $(XRAYTUNE_MLFLOW),$(MLFLOW_SERVER)/bin/mlflow) $(PYTEST) tests/servers

$(VENV)/.ready-databases: $(VENV)/.ready-dev
	$(call install,dev dicom onnx postgres mysql)
	@touch $@

.PHONY: test-databases
test-databases: $(VENV)/.ready-databases ## studies on a real PostgreSQL and MariaDB (Debian: postgresql, mariadb-server)
	$(PYTEST) tests/databases

.PHONY: test-systems
test-systems: $(VENV)/.ready-dev ## Dockerfile's steps in a Debian root, a real Slurm (needs root, mmdebstrap, slurm-wlm, munge)
	$(PYTEST) tests/systems

.PHONY: bench
bench: $(VENV)/.ready-dev ## timings as ratios, appended to results/bench.jsonl (ONLY=name for one; ONLY=peers: KerasTuner and Ray Tune, in steps of an hour)
	@exec $(BIN)/python -m $(if $(filter peers,$(ONLY)),tests.benchmarks.peers $(if $(MINUTES),--minutes $(MINUTES)),tests.benchmarks.run $(ONLY))

.PHONY: gpu-check
gpu-check: $(VENV)/.ready-dev ## images per second and shared trials on this machine's GPU, in ten minutes (KERAS_BACKEND=jax; ARGS=--rehearse)
	@exec $(BIN)/python -m tests.benchmarks.gpu.gpu_check $(ARGS)

.PHONY: performance
performance: $(VENV)/.ready-dev ## write docs/performance.md from results/bench.jsonl and docs/bench.jsonl
	@exec $(BIN)/python -m tests.benchmarks.page

.PHONY: evidence
evidence: $(VENV)/.ready-dev ## measurements for docs/evidence: one PART of networks, doses, finals, decision, crops, refinements, refer, shift, sites, searches, simulate, portfolio, page, confirm (resumable)
	@exec $(BIN)/python -m tests.evidence.run $(or $(PART),networks)

.PHONY: curves
curves: $(VENV)/.ready-dev ## real learning curves for the simulator (resumable; MINUTES=55 one unit, TIMING=1 quiet timings, TABLE=1 the table)
	@exec $(BIN)/python -m tests.evidence.curves.run $(if $(MINUTES),--minutes $(MINUTES)) $(if $(TIMING),--timing) $(if $(TABLE),--table)

.PHONY: reference
reference: $(VENV)/.ready-dev ## write docs/options.md, the table of docs/spaces.md and the type stub from the code
	@exec $(BIN)/python -m tests.reference

# ── the package ─────────────────────────────────────────────────────────────────────────────────────────────────────

# The exact versions of all dependencies with their hashes, and no address: pip takes them from wherever it is set to.
LOCKED := --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade \
  $(addprefix --extra ,dicom onnx postgres mysql)

.PHONY: lock
lock: $(VENV)/.ready-dev ## write requirements.lock (and -cuda): exact versions of all dependencies with their hashes
	@set -e; index=$$($(BIN)/python -m pip config get global.index-url 2>/dev/null || true); \
	if [ -n "$$index" ] && [ -z "$$UV_DEFAULT_INDEX$$UV_INDEX_URL" ]; then export UV_DEFAULT_INDEX="$$index"; fi; \
	echo hatchling | $(BIN)/uv pip compile $(LOCKED) pyproject.toml - -o requirements.lock; \
	echo hatchling | $(BIN)/uv pip compile $(LOCKED) --extra cuda pyproject.toml - -o requirements-cuda.lock

.PHONY: licences
licences: $(VENV)/.ready-dev ## write docs/licences.md: the licences of all dependencies
	@exec $(BIN)/python -m tests.licences

.PHONY: wheel
wheel: $(VENV)/.ready-dev ## build dist/xraytune-….whl
	$(BIN)/python -m hatchling build -t wheel

.PHONY: clean
clean: ## remove the environment and the tools' caches; results stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
