# `make demo` and `make test` each work on a fresh machine that has Python 3.11 or newer.

VENV := .venv/bin
INSTALLED := .venv/installed

# Workflows are loaded anew for each that starts: where no bytecode is kept, each is compiled, too.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo up test lint bench constraints clean

demo: $(INSTALLED)
	$(VENV)/smartfloor demo

up: $(INSTALLED)
	$(VENV)/smartfloor up

test: lint
	$(VENV)/pytest -n 2 --dist worksteal

lint: $(INSTALLED)
	$(VENV)/ruff check
	$(VENV)/ruff format --check
	$(VENV)/mypy
	$(VENV)/lint-imports

bench: $(INSTALLED)
	$(VENV)/python -m tests.benchmarks

$(INSTALLED): pyproject.toml constraints.txt infra/setup.sh
	@infra/setup.sh
	@touch $@

# Resolves the newest versions that pyproject.toml allows and pins every one of them.
constraints:
	python3.11 -m venv --clear build/resolve
	build/resolve/bin/pip install -q -e '.[dev]'
	build/resolve/bin/pip freeze --exclude-editable > constraints.txt
	rm -rf build/resolve

# Not .smartfloor: the shop's ledger is in it.
clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
