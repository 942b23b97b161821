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
# The library with optional packages missing; the rest of its tests is the same in .venv.
LIBRARY := $(addprefix tests/gradnoise/,$(notdir $(wildcard tests/gradnoise/test_*.py)) hook kernels \
	noise processes techniques training/test_single.py training/test_stacked_model.py \
	training/test_trainers.py workloads) --ignore=tests/gradnoise/hook/test_distributed.py
test test-library test-slow chaos: export OMP_NUM_THREADS ?= 1
# Test processes and the processes that they start share compiled modules.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test test-library test-slow chaos check format bench reports reproduction secrets
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
	@$(BIN)/python $(INSTALL) --no-compile torch hatchling editables
	@$(BIN)/python $(INSTALL) --no-compile --no-build-isolation -e '.[dev]'
	@$(BIN)/python -m compileall -qq -j 0 .venv/lib || true # pip would use a single core
	@touch $@

demo: $(STAMP) ## run a whole study on this machine, in about 2 minutes on 2 cores
	@$(BIN)/gradnoise demo

test: $(STAMP) ## run the default test suite, in about 6 minutes on 2 cores
	@$(BIN)/python $(TEST)

test-library: .venv-library/.installed ## test the library with only torch, numpy and numba installed
	@TRITON_INTERPRET=1 .venv-library/bin/python $(TEST) --confcutdir=tests/gradnoise $(LIBRARY)

# Triton's interpreter runs the GPU kernel on the CPU. The packages of .venv are linked; Triton may be
# missing there.
.venv-library/.installed: $(STAMP)
	@$(BIN)/python tests/support/linked_environment.py .venv-library gradnoise numba \
		pytest pytest-timeout pytest-xdist hypothesis scipy
	@$(BIN)/python $(INSTALL) --no-deps --target $$(echo .venv-library/lib/python3*/site-packages) \
		triton==$(TRITON)
	@touch $@

test-slow: $(STAMP) ## run the tests that take long: real services, PostgreSQL, simulations
	@$(BIN)/python $(TEST) --no-loadscope-reorder -m slow

FAULTS ?= 1000
chaos: $(STAMP) ## kill, stop and cut off processes and databases FAULTS times under studies
	@$(BIN)/python tests/support/chaos.py --faults $(FAULTS)

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

REPORTS := demo demo-twice demo-remedies twice-one-search twice-four-searches mnist-quick mnist-twice char-lm char-lm-adamw
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
