# make demo   run the main job on real data and write its report
# make test   the whole gate, as continuous integration runs it
# make check  a fast subset of it
# make flower the part of the gate that needs Flower, in an environment of its own
# make install, make clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO := runs/quickstart
LEDGER := runs/quickstart-ledger
# Test processes side by side; each file stays in one of them.
JOBS ?= 2
TESTS = OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) --dist loadfile

# Flower holds some packages below what the rest is tested with: an environment of its own, laid over .venv.
FLOWER := build/flower-app
FLOWER_STAMP := $(FLOWER)/.installed

.PHONY: install demo test check flower lint clean
.DELETE_ON_ERROR:

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt examples/requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "fedpriv needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement examples/requirements.txt
	@touch $@

# The demo's data are public, so each demo starts from an unspent budget, in a ledger of its own.
demo: install
	rm -rf $(DEMO) $(LEDGER)
	FEDPRIV_HOME=$(LEDGER) $(BIN)/fedpriv run examples/quickstart/fedpriv.toml --run-dir $(DEMO)
	@$(BIN)/python examples/quickstart/compare.py $(DEMO)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint flower
	$(TESTS)

# The tests that need Flower, which the others leave out.  The long ones mostly wait: for a timeout, a
# heartbeat that does not come.  So they begin first, and there is one process more.
flower: $(FLOWER_STAMP)
	OMP_NUM_THREADS=1 $(FLOWER)/bin/python -m pytest -n $$(($(JOBS) + 1)) --dist worksteal --timeout 1500 \
		tests/integration/test_deployed_faults.py tests/integration/test_deployed_return.py \
		tests/integration/test_deployed_local.py tests/integration/test_flower.py \
		tests/integration/test_flower_transport.py \
		tests/unit/flower tests/unit/deployment/test_processes.py fedpriv/flower

$(FLOWER_STAMP): $(STAMP)
	$(PYTHON) -m venv --clear $(FLOWER)
	grep -v '^rich==' constraints.txt > $(FLOWER)/constraints.txt
	$(FLOWER)/bin/python -m pip install --quiet --constraint $(FLOWER)/constraints.txt flwr
	$(BIN)/python -c 'import site; print(*site.getsitepackages(), "$(CURDIR)", sep="\n")' \
		> $$($(FLOWER)/bin/python -c 'import site; print(site.getsitepackages()[0])')/project.pth
	@touch $@

check: lint
	$(TESTS) -m 'not slow'

clean:
	rm -rf $(VENV) build dist runs *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
