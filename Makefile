# Everything a person runs. Each target makes .venv when it is missing or stale, from the committed lock.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
TRITON := 3.9.0

.DEFAULT_GOAL := help
.PHONY: help demo test test-library test-slow check format bench reports reproduction secrets lock clean

# Real data sets, where they lie ready; tests that need them are skipped elsewhere.
ifneq ($(wildcard ../shared/data),)
export GRADNOISE_DATA ?= $(abspath ../shared/data)
endif

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

$(STAMP): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing from requirements.lock (a few minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock torch hatchling editables
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock --no-build-isolation -e '.[dev]'
	@touch $@

demo: $(STAMP) ## see the whole product do its job, on this machine, in under 5 minutes
	@$(BIN)/gradnoise demo

test: $(STAMP) ## the default test suite
	@$(BIN)/python -m pytest

test-library: .venv-library/.installed ## the library's tests beside torch, numpy and numba alone, the GPU kernel through Triton's interpreter
	@TRITON_INTERPRET=1 .venv-library/bin/python -m pytest --confcutdir=tests/gradnoise tests/gradnoise

.venv-library/.installed: requirements.lock pyproject.toml
	@test -x .venv-library/bin/python || $(PYTHON) -m venv .venv-library
	@.venv-library/bin/python -m pip install --quiet --disable-pip-version-check -c requirements.lock torch numpy numba triton==$(TRITON) \
		hatchling editables pytest pytest-timeout hypothesis scipy
	@.venv-library/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

test-slow: $(STAMP) ## the long tests
	@$(BIN)/python -m pytest -m slow

check: $(STAMP) ## lint, format, types, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(STAMP) ## rewrite the sources in the house format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: .venv/.installed-bench ## every benchmark, side by side, with ratios
	@$(BIN)/python -m benchmarks

.venv/.installed-bench: $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock --no-build-isolation -e '.[bench]'
	@touch $@

REPORTS := demo demo-twice mnist-quick mnist-twice
reports: $(STAMP) ## run the studies in docs/reports anew and write their reports
	@for preset in $(REPORTS); do \
		rm -rf .gradnoise/reports-of/$$preset && \
		$(BIN)/gradnoise demo --preset $$preset --home .gradnoise/reports-of/$$preset && \
		mkdir -p docs/reports && cp .gradnoise/reports-of/$$preset/reports/$$preset.html docs/reports/ || exit 1; \
	done

reproduction: $(STAMP) ## write docs/reproduction.md from the studies of the running service
	@$(BIN)/gradnoise reproduction --output docs/reproduction.md

secrets: ## write .env with a random value for every secret of docker-compose.yml
	@test ! -e .env || { echo ".env exists already: it is left as it is"; exit 1; }
	@umask 077 && $(PYTHON) -c 'import re, secrets; print(re.sub("(?m)=$$", lambda _: "=" + secrets.token_hex(32), open(".env.example").read()), end="")' > .env
	@echo "wrote .env; the token for the first login is its GRADNOISE_ADMIN_TOKEN"

lock: ## resolve the newest versions anew into requirements.lock
	@rm -rf .venv && $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet torch==2.13.0 hatchling editables
	@$(BIN)/python -m pip install --quiet --no-build-isolation -e '.[bench,dev]'
	@$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' > requirements.lock

clean: ## remove the environment and caches
	@rm -rf .venv .venv-library .mypy_cache .pytest_cache .ruff_cache .hypothesis
