# Two commands: `make smoke` runs the whole pipeline on real text; `make test` runs the checks and tests.
# Both set everything up first. Needs Python 3.11, pip and git.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
TESTED := $(VENV)/.ready-dev
RUN := $(VENV)/bin/python -m
# Processes that run tests side by side, a file of tests each; many tests start up to four ranks of their own.
TESTERS ?= 2

.PHONY: smoke test golden lint lock clean

smoke: $(READY)
	$(RUN) launch run smoke

# After `make smoke`: are its hashes those of tests/golden/?
golden: $(READY)
	$(RUN) release golden runs/smoke --check tests/golden/smoke.txt

test: lint
	$(RUN) pytest -q -m "not slow" -n $(TESTERS) --dist loadfile

lint: $(TESTED)
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy .

$(READY): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
		|| { echo "error: $(PYTHON) is not Python 3.11; name one: make PYTHON=/path/to/python3.11"; exit 64; }
	@echo "making $(VENV) with the packages of requirements.lock; takes a minute or two"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(VENV)/bin/pip install -qq --require-hashes -r requirements.lock \
		|| { echo "error: pip could not install requirements.lock as it is; see its first lines about torch's CPU build"; exit 66; }
	@touch $(READY)

# What tests need on top: another 0.7 GB that running does without.
$(TESTED): $(READY) requirements-dev.lock
	@echo "adding the packages of requirements-dev.lock"
	@$(VENV)/bin/pip install -qq --require-hashes -r requirements-dev.lock \
		|| { echo "error: pip could not install requirements-dev.lock as it is; see its first lines"; exit 66; }
	@touch $(TESTED)

# Choose the newest versions that pyproject.toml allows, and pin them.
lock:
	$(PYTHON) -m venv --clear $(VENV)-lock
	$(VENV)-lock/bin/pip install -qq --dry-run --ignore-installed --report $(VENV)-lock/report.json '.[dev]'
	$(VENV)-lock/bin/python .ci/lock.py $(VENV)-lock/report.json
	rm -rf $(VENV)-lock build *.egg-info

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
