# demo, test, lint: each sets up what it needs and says so. Needs make, Python >= 3.11 and pip; nothing is installed
# outside this folder. The environment is .venv, on Python 3.13 where uv finds or can fetch one. With PYTHON=COMMAND it
# is on that Python; a .venv on another one is made anew.

PYTHON ?= python3
PYTEST_ARGS ?=
BENCH_ARGS ?=
UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
BIN := .venv/bin
# Each worker and each command that a test starts would compile all modules again.
unexport PYTHONDONTWRITEBYTECODE
# Tests wait as long as they compute, so three for each core.
WORKERS := $(shell echo $$((3 * $$(nproc 2>/dev/null || echo 2))))
# Each worker takes 2 s of CPU time to import and collect its tests: more than waiting costs in a run of 20 s.
FEWER_WORKERS := $(shell echo $$((2 * $$(nproc 2>/dev/null || echo 2))))

# Whether PYTHON was given; then `anew`, if .venv is on another Python.
IS_GIVEN := $(filter command environment,$(firstword $(origin PYTHON)))
WHICH := import sys; print(sys.base_prefix, sys.version)
ANEW := $(if $(and $(IS_GIVEN),$(wildcard $(BIN)/python)),$(shell \
	[ "$$($(BIN)/python -c '$(WHICH)' 2>&1)" = "$$($(PYTHON) -c '$(WHICH)' 2>&1)" ] || echo anew))
OLDEST_PYTHON := $(shell sed -n 's/^requires-python = ">=\(.*\)"/\1/p' pyproject.toml)
EXECUTABLE := import sys; print(sys.executable)
IS_USABLE = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < tuple(map(int, "$(OLDEST_PYTHON)".split("."))))' \
	2>/dev/null || { echo "$(PYTHON) is no Python >= $(OLDEST_PYTHON): name one with PYTHON=COMMAND"; exit 1; }
WITHOUT_OMNIGENT = $$($(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 12))' || \
	echo "; tests with a real Omnigent need 3.12 or newer")

.PHONY: help demo test test-aiohttp test-python anew bench lint format lock cassettes clean

help:
	@echo "make demo       the whole trip on a shipped cassette: serve, record, show, verify"
	@echo "make test       all tests, with a real Omnigent server where Python >= 3.12 is there"
	@echo "make test-aiohttp  the servers' tests on the oldest Python and aiohttp of pyproject.toml, and on newer aiohttp"
	@echo "make test-python   the other tests of the commands, the servers and the pytest plugin on the oldest Python of pyproject.toml"
	@echo "make bench      what it costs, beside the same without it; over an hour, or BENCH_ARGS='throughput --rounds 1'"
	@echo "make lint       ruff, mypy, import contracts"
	@echo "make format     let ruff format the code"
	@echo "make lock       resolve requirements-dev.lock anew"
	@echo "make cassettes  record the shipped cassettes and the example's again, from a real Omnigent"
	@echo "make clean      remove .venv, .tools and caches"
	@echo "With PYTHON=COMMAND, .venv is made on that Python."

demo: .venv/.runtime
	@echo "==> omnirecord demo"
	@$(BIN)/omnirecord demo

test: .venv/.dev
ifeq ($(strip $(PYTEST_ARGS)),)
	@echo "==> tests"
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not timed"
	@echo "==> tests that hold the clock to milliseconds, alone"
	@$(BIN)/python -m tests.support.awake $(BIN)/python -m pytest -m timed $$(grep -rl 'mark\.timed' tests --include='test_*.py')
else
	@echo "==> tests"
	@$(BIN)/python -m pytest $(PYTEST_ARGS)
endif

# Each aiohttp is in an environment without Omnigent, at the other versions of requirements-dev.lock: the oldest of
# pyproject.toml, the newest 3.13, which many packages require, and the newest of all. If the latter is the one of
# requirements-dev.lock, `make test` has run these tests on it. On the newest, they run once more without the fast path: a
# copy of aiohttp has other private names. Beside the oldest aiohttp, Python and the other dependencies are the oldest of
# pyproject.toml, too, and more tests run. On other versions, only those files run that use private names.
AIOHTTP := $(shell sed -n 's/^ *"\(aiohttp>=[^"]*\)".*/\1/p' pyproject.toml)
AIOHTTP_OLDEST := $(shell sed -n 's/^ *"aiohttp>=\([0-9.]*\),.*/\1/p' pyproject.toml)
AIOHTTP_PRIVATE := tests/recorder/proxy tests/server
AIOHTTP_SERVERS := $(AIOHTTP_PRIVATE) tests/replayer/test_server.py tests/replayer/omnigent_ui/test_session_updates.py
OLDEST_TESTS := $(AIOHTTP_SERVERS) tests/ui/test_control.py tests/pytest_plugin/test_plugin.py \
	tests/wire tests/contract tests/replayer/matching
AIOHTTP_OWN := aiohttp|aiohappyeyeballs|aiosignal|attrs|frozenlist|multidict|propcache|yarl
AIOHTTP_PYTEST := .tools/aiohttp/bin/python -m pytest -q -n $(FEWER_WORKERS) --dist loadfile -m

test-aiohttp: $(UV)
	@mkdir -p .tools && rm -f .tools/oldest.txt
	@grep -vE '^ +--hash|^($(AIOHTTP_OWN))==' requirements-dev.lock | sed 's/ \\$$//' > .tools/without-aiohttp.txt
	@resolve() { echo "$$1" | $(UV) pip compile --quiet --no-header --no-annotate --no-deps -; }; \
	newest=$$(resolve '$(AIOHTTP)') && before=$$(resolve 'aiohttp>=3.13,<3.14') || exit 1; \
	$(UV) pip compile --quiet --resolution lowest-direct --python-version $(OLDEST_PYTHON) --no-header --no-annotate --output-file .tools/oldest.txt pyproject.toml || exit 1; \
	make_environment() { $(UV) venv --quiet --clear --python "$$1" .tools/aiohttp; }; \
	python="$$([ -x $(BIN)/python ] && echo $(BIN)/python || echo $(PYTHON))"; \
	make_environment $(OLDEST_PYTHON) 2>/dev/null || make_environment "$$python" || exit 1; \
	with="--requirements .tools/oldest.txt" tests="$(OLDEST_TESTS)"; \
	for version in "aiohttp==$(AIOHTTP_OLDEST)" "$$before" "$$newest"; do \
		$(UV) pip install --quiet --python .tools/aiohttp --constraint .tools/without-aiohttp.txt --editable ".[lake]" "$$version" \
			anthropic freezegun httpx httpx-sse hypothesis openai proxy.py pytest pytest-aiohttp pytest-timeout pytest-xdist trustme && \
		if [ -n "$$with" ]; then $(UV) pip install --quiet --python .tools/aiohttp $$with; fi || exit 1; \
		if grep -q "^$$version " requirements-dev.lock; then \
			echo "==> $$version is in requirements-dev.lock: make test runs the servers' tests on it"; continue; \
		fi; \
		echo "==> the servers' tests on $$version and $$(.tools/aiohttp/bin/python --version)" && \
		$(AIOHTTP_PYTEST) "not timed and not slow" $$tests || exit 1; \
		if [ -n "$$with" ]; then make_environment "$$python" || exit 1; fi; \
		with= tests="$(AIOHTTP_PRIVATE)"; \
	done; \
	echo "==> the servers' tests on $$newest without the fast path"; \
	rm -rf .tools/renamed && mkdir .tools/renamed && \
	PYTHONPATH=$$(.tools/aiohttp/bin/python -m tests.support.renamed_aiohttp .tools/renamed) \
		$(AIOHTTP_PYTEST) "not timed and not slow and not fast_path" $(AIOHTTP_SERVERS)

# The environment is .tools/python, from requirements-dev.lock; Omnigent needs a newer Python. `make test-aiohttp` runs
# OLDEST_TESTS on the oldest Python. On a given Python, they run here.
PYTHON_TESTS := tests/cli tests/server $(wildcard tests/replayer/test_*.py) tests/replayer/omnigent_ui tests/recorder \
	tests/pytest_plugin tests/end_to_end/hostile tests/test_surface.py

TESTED_PYTHON := $(if $(IS_GIVEN),$(PYTHON),$(OLDEST_PYTHON))
ELSEWHERE := $(if $(IS_GIVEN),,$(addprefix --ignore=,$(OLDEST_TESTS)))

test-python: $(UV)
	@mkdir -p .tools
	@$(UV) venv --quiet --clear --python $(TESTED_PYTHON) .tools/python 2>.tools/python.log || { \
		echo "no Python $(TESTED_PYTHON) to be had, so no test ran; uv says why in .tools/python.log"; \
		[ -z "$$CI" ]; exit; }; \
	$(UV) pip sync --quiet --python .tools/python --require-hashes requirements-dev.lock && \
	$(UV) pip install --quiet --python .tools/python --no-deps --editable . && \
	echo "==> tests of the commands, the servers and the pytest plugin on $$(.tools/python/bin/python --version)" && \
	.tools/python/bin/python -m pytest -q -n $(WORKERS) --dist loadfile -m "not (slow or real or timed or browser)" \
		$(ELSEWHERE) $(PYTHON_TESTS)

bench: .venv/.dev
	@echo "==> benchmarks"
	@$(BIN)/python -m benchmarks $(BENCH_ARGS)

lint: .venv/.dev
	@echo "==> ruff"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@echo "==> mypy"
	@$(BIN)/mypy
	@echo "==> import contracts"
	@$(BIN)/lint-imports --no-cache

format: .venv/.dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

cassettes: .venv/.dev
	@$(BIN)/python -m cassettes.record
	@$(BIN)/python -m examples.record
	@$(BIN)/python -m cassettes.webui cassettes/corpus web_ui web_ui_old_session

lock: $(UV)
	$(UV) pip compile --quiet --universal --generate-hashes --no-header --no-annotate --upgrade \
		--python-version 3.11 --extra lake --group dev --group real pyproject.toml --output-file requirements-dev.lock

clean:
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis dist

.tools/bin/uv:
	@$(IS_USABLE)
	@$(PYTHON) -m pip --version >/dev/null 2>&1 || { \
		echo "$(PYTHON) has no pip, which fetches uv: install pip (Debian: python3-pip) or uv"; exit 1; }
	@echo "==> fetching uv into .tools"
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target .tools uv

.venv/bin/python: $(ANEW) | $(UV)
ifeq ($(IS_GIVEN),)
	@echo "==> making .venv on Python 3.13"
	@$(UV) venv --quiet --clear --python 3.13 .venv 2>/dev/null || { \
		$(IS_USABLE); \
		echo "    no Python 3.13 to be had: taking $(PYTHON)$(WITHOUT_OMNIGENT)"; \
		$(UV) venv --quiet --clear --python "$$($(PYTHON) -c '$(EXECUTABLE)')" .venv; }
else
	@$(IS_USABLE)
	@echo "==> making .venv on $(PYTHON)$(WITHOUT_OMNIGENT)"
	@$(UV) venv --quiet --clear --python "$$($(PYTHON) -c '$(EXECUTABLE)')" .venv
endif

.PHONY: anew
anew:
	@echo "==> .venv is on another Python than $(PYTHON)"

.venv/.runtime: pyproject.toml requirements-dev.lock $(ANEW) | .venv/bin/python
	@echo "==> installing omnirecord into .venv, at the versions of requirements-dev.lock"
	@$(UV) pip install --quiet --python .venv --constraint requirements-dev.lock --editable .
	@touch $@

.venv/.dev: requirements-dev.lock .venv/.runtime
	@echo "==> installing the development tools and Omnigent into .venv, from requirements-dev.lock"
	@$(UV) pip sync --quiet --python .venv --require-hashes requirements-dev.lock
	@$(UV) pip install --quiet --python .venv --no-deps --editable .
	@touch $@
