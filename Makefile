# xraytune: `make search` sets the environment up on first use, then searches. `make help` lists every target.

SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
# TensorFlow's wheels exist for these Pythons; PYTHON=/path/to/python chooses another of them.
PYTHONS := $(PYTHON) python3 python3.13 python3.12 python3.11
FITS := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

# Options of search.run by their Makefile variables. A variable that is not set is not passed.
VALUES := DATA:data SPACE:space TRIALS:trials TIME:time STUDY:study BETA:beta SEED:seed FAMILIES:families \
  OBJECTIVE:objective OBJECTIVES:objectives POSITIVE:positive FIT:fit SAMPLER:sampler PRUNER:pruner CONCURRENCY:concurrency \
  GPUS_PER_TRIAL:gpus-per-trial CPUS_PER_TRIAL:cpus-per-trial TRIAL_TIMEOUT:trial-timeout TRIAL_MEMORY:trial-memory WEIGHTS_DIR:weights-dir \
  RESULTS:results CACHE:cache CACHE_LIMIT:cache-limit PRECISION:precision STORAGE:storage ADDRESS:address WARM_START:warm-start PATIENCE:patience TARGET:target FAILURES:failures \
  RECIPES:recipes PATIENT_REGEX:patient-regex LABEL:label NEGATIVE:negative UNCERTAIN:uncertain MAX_EPOCHS:max-epochs
SWITCHES := RESUME:resume RAY_DASHBOARD:ray-dashboard DETERMINISTIC:deterministic QUARANTINE:quarantine VERBOSE:verbose
# Removed options, passed on because the command says what replaces them.
REMOVED := XLA:xla
# What the other commands take of these, and their own.
VERIFY := LABEL:label NEGATIVE:negative UNCERTAIN:uncertain POSITIVE:positive FIT:fit SEED:seed PATIENT_REGEX:patient-regex
RETRAIN := STUDY:study FINAL:final THRESHOLD:threshold FINALISTS:finalists FOLDS:folds SEEDS:seeds REFITS:refits TIME:time WORKERS:workers \
  DATA:data WEIGHTS_DIR:weights-dir RESULTS:results STORAGE:storage CACHE:cache CACHE_LIMIT:cache-limit
EVALUATE := LABEL:label NEGATIVE:negative UNCERTAIN:uncertain PATIENT_REGEX:patient-regex OUT:out
KEPT := RESULTS:results STORAGE:storage
valued = $(if $($(word 1,$(subst :, ,$1))),--$(word 2,$(subst :, ,$1)) '$($(word 1,$(subst :, ,$1)))')
switched = $(if $(filter-out 0 no false,$($(word 1,$(subst :, ,$1)))),--$(word 2,$(subst :, ,$1)))
passed = $(foreach v,$1,$(call valued,$v)) $(foreach s,$2,$(call switched,$s))
# FIX="cnn/blocks=3 head/dropout=0.2" holds hyperparameters at one value.
OPTIONS = $(call passed,$(VALUES),$(SWITCHES) $(REMOVED)) $(foreach f,$(FIX),--fix '$f')

.PHONY: help
help: ## list every target
	@echo "make search [DATA=folder] [TRIALS=40] [TIME=30m] [STUDY=mine] …   ($(words $(VALUES) $(SWITCHES) FIX) options: python -m search.run --help)"
	@echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

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
	$(call install,dev dicom onnx)
	@touch $(VENV)/.ready $@

$(VENV)/.ready-jax: $(VENV)/.ready-dev
	$(call install,dev dicom onnx jax)
	@touch $@

.PHONY: setup
setup: ## install into .venv (EXTRAS=cuda,dicom,onnx,jax,postgres,mysql adds those)
	@$(if $(EXTRAS),rm -f $(VENV)/.ready)
	@$(MAKE) --no-print-directory $(VENV)/.ready
	@echo "Ready: $(BIN)/python ($$($(BIN)/python --version))"

# ── the work ────────────────────────────────────────────────────────────────────────────────────────────────────────

.PHONY: search
search: $(VENV)/.ready ## search for the best classifier of DATA (none: a demonstration on drawn phantoms)
	@exec $(BIN)/python -m search.run $(OPTIONS)

.PHONY: verify
verify: $(VENV)/.ready ## check DATA: damage, leaks, duplicates, shortcuts (POSITIVE, FIT, QUARANTINE … as search)
	@exec $(BIN)/python -m search.verify $(if $(DATA),'$(DATA)',demo) $(call passed,$(VERIFY),QUARANTINE:quarantine)

.PHONY: dashboard
dashboard: $(VENV)/.ready ## optuna-dashboard on 127.0.0.1, read-only
	@exec $(BIN)/python -m search.dashboard $(call passed,$(KEPT))

.PHONY: leaderboard
leaderboard: $(VENV)/.ready ## a study's trials, best first (STUDY=mine, else the latest)
	@exec $(BIN)/python -m search.leaderboard $(if $(STUDY),'$(STUDY)') $(call passed,$(KEPT))

.PHONY: retrain
retrain: $(VENV)/.ready ## retrain the winner, open the test set, write the report (STUDY=mine, else the latest; FINAL=ensemble …)
	@exec $(BIN)/python -m search.retrain best $(call passed,$(RETRAIN),COMPARE_RECIPES:compare-recipes TTA:tta) $(filter-out 0 1 no yes false true,$(TTA))

.PHONY: evaluate
evaluate: $(VENV)/.ready ## a saved model on labelled data of another hospital (MODEL=results/mine/winner DATA=folder)
	@exec $(BIN)/python -m search.evaluate $(if $(MODEL),'$(MODEL)') $(if $(DATA),'$(DATA)') $(call passed,$(EVALUATE),INCLUDE_SEEN:include-seen QUARANTINE:quarantine)

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
	$(PYTEST) -n 2 --dist loadfile tests/unit tests/contracts
	$(PYTEST) tests/e2e

.PHONY: test-faults
test-faults: $(VENV)/.ready-dev ## every fault caused for real: kills, full disks, lost nodes (ONLY=file for one)
	$(PYTEST) -n 2 $(or $(ONLY),tests/faults)

.PHONY: test-whole
test-whole: $(VENV)/.ready-dev ## whole searches: what each option does, a space of one's own
	$(PYTEST) tests/whole

.PHONY: test-slow
test-slow: $(VENV)/.ready-dev ## many draws of the space, large networks
	$(PYTEST) tests/slow

BACKEND_TESTS := $(addprefix tests/unit/,xraytune/models xraytune/training spaces)

.PHONY: test-jax
test-jax: $(VENV)/.ready-jax ## networks and training under KERAS_BACKEND=jax
	KERAS_BACKEND=jax $(PYTEST) -W 'ignore:__array__ implementation:DeprecationWarning' $(BACKEND_TESTS) tests/contracts/test_hypermodels.py tests/backends

.PHONY: test-real
test-real: $(VENV)/.ready-dev ## on real X-rays and weights: XRAYTUNE_DATA, XRAYTUNE_WEIGHTS
	$(PYTEST) tests/real

.PHONY: test-browser
test-browser: $(VENV)/.ready-dev ## report and dashboard in Chromium
	$(PYTEST) tests/browser

.PHONY: bench
bench: $(VENV)/.ready-dev ## timings as ratios, appended to results/bench.jsonl (ONLY=name for one)
	@exec $(BIN)/python -m tests.benchmarks.run $(ONLY)

.PHONY: performance
performance: $(VENV)/.ready-dev ## write docs/performance.md from results/bench.jsonl and what docs/bench.jsonl keeps
	@exec $(BIN)/python -m tests.benchmarks.page

.PHONY: evidence
evidence: $(VENV)/.ready-dev ## which score picks what generalises: one PART of networks, doses, finals, decision, crops, searches, page, confirm (resumable)
	@exec $(BIN)/python -m tests.evidence.run $(or $(PART),networks)

.PHONY: clean
clean: ## remove the environment and the tools' caches; results stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
