# The commands of this repository. A target installs .venv from the committed lock if it is missing
# or out of date.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
INSTALL := -m pip install --quiet --disable-pip-version-check -c requirements.lock
TRITON := 3.9.0

# A test process for each logical core, and a whole file for each process, so that its fixtures are
# set up once. More threads in each process would compete for the cores.
TEST := -m pytest -n logical --dist loadfile
test test-library test-slow: export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-library test-slow check format bench reports reproduction secrets
.PHONY: lock clean

# Real data sets, if present; tests that need them are skipped otherwise.
ifneq ($(wildcard ../shared/data),)
export GRADNOISE_DATA ?= $(abspath ../shared/data)
endif

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | \
		sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

$(STAMP): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing from requirements.lock (a few minutes the first time) ..."
	@$(BIN)/python $(INSTALL) torch hatchling editables
	@$(BIN)/python $(INSTALL) --no-build-isolation -e '.[dev]'
	@touch $@

demo: $(STAMP) ## run a whole study on this machine, in under 5 minutes
	@$(BIN)/gradnoise demo

test: $(STAMP) ## run the default test suite, in under 5 minutes on 2 cores
	@$(BIN)/python $(TEST)

test-library: .venv-library/.installed ## test the library with only torch, numpy and numba installed
	@TRITON_INTERPRET=1 .venv-library/bin/python $(TEST) --confcutdir=tests/gradnoise tests/gradnoise

# Triton's interpreter runs the GPU kernel on the CPU.
.venv-library/.installed: requirements.lock pyproject.toml
	@test -x .venv-library/bin/python || $(PYTHON) -m venv .venv-library
	@.venv-library/bin/python $(INSTALL) torch numpy numba triton==$(TRITON) hatchling editables \
		pytest pytest-timeout pytest-xdist hypothesis scipy
	@.venv-library/bin/python $(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

test-slow: $(STAMP) ## run the tests that take long: real services, PostgreSQL, simulations
	@$(BIN)/python $(TEST) -m slow

check: $(STAMP) ## check lint, format, types and import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(STAMP) ## format the sources and apply lint fixes
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: .venv/.installed-bench ## run every benchmark and print ratios and bars
	@$(BIN)/python -m benchmarks

.venv/.installed-bench: $(STAMP)
	@$(BIN)/python $(INSTALL) --no-build-isolation -e '.[bench]'
	@touch $@

REPORTS := demo demo-twice twice-one-search twice-four-searches mnist-quick mnist-twice
reports: $(STAMP) ## run the studies of docs/reports and write their reports
	@for preset in $(REPORTS); do \
		home=.gradnoise/reports-of/$$preset && \
		rm -rf $$home && \
		$(BIN)/gradnoise demo --preset $$preset --home $$home && \
		mkdir -p docs/reports && \
		cp $$home/reports/$$preset.html docs/reports/ || exit 1; \
	done

reproduction: $(STAMP) ## write docs/reproduction.md from the studies of the running service
	@$(BIN)/gradnoise reproduction --output docs/reproduction.md

define WRITE_SECRETS
import re, secrets
template = open(".env.example").read()
print(re.sub("(?m)=$$$$", lambda _: "=" + secrets.token_hex(32), template), end="")
endef
secrets: export WRITE_SECRETS := $(WRITE_SECRETS)
secrets: ## write .env with a random value for every secret of docker-compose.yml
	@test ! -e .env || { echo ".env already exists and was not changed"; exit 1; }
	@umask 077 && $(PYTHON) -c "$$WRITE_SECRETS" > .env
	@echo "wrote .env; the token for the first login is its GRADNOISE_ADMIN_TOKEN"

lock: ## write the newest versions of all dependencies to requirements.lock
	@rm -rf .venv && $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet torch==2.13.0 hatchling editables
	@$(BIN)/python -m pip install --quiet --no-build-isolation -e '.[bench,dev]'
	@$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' > requirements.lock

clean: ## remove the environments and caches
	@rm -rf .venv .venv-library .mypy_cache .pytest_cache .ruff_cache .hypothesis
