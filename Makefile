# One command each. `scripts/setup dev` makes the virtual environment that they use.

bin = $(or $(ENVUP_VENV),.venv)/bin
code = core/envup providers provisioners tests benchmarks examples

.PHONY: setup format lint types test bench ci

setup:
	scripts/setup dev

format:
	$(bin)/ruff format $(code)
	$(bin)/ruff check --fix $(code)

lint:
	$(bin)/ruff check $(code)
	$(bin)/ruff format --check $(code)

types:
	$(bin)/mypy
	MYPYPATH=core:examples/providers/envup-nspawn $(bin)/mypy --package envup_nspawn
	MYPYPATH=core:examples/provisioners/envup-ansible $(bin)/mypy --package envup_ansible

test:
	scripts/test

bench:
	scripts/setup bench
	$(bin)/python benchmarks/run.py

ci:
	.ci/run
