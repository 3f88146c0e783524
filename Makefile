# Two commands set everything up on a fresh Debian 12 or Ubuntu machine, called by root or by an ordinary user:
#   make run     installs what is needed and runs a container, no registry needed
#   make test    runs all tests; root gets unprivileged users made for them
.PHONY: run test check bench test-vm man install clean
.DEFAULT_GOAL := run

run:
	@contrib/setup run
	@contrib/run

# ARGS="-k stop -x" goes to pytest.
test:
	@contrib/setup test
	@contrib/test $(ARGS)

check:
	@contrib/setup check
	@contrib/check

# ARGS="--only run_none,exec -n 30" goes to contrib/bench.py.
bench:
	@contrib/setup bench
	@contrib/bench $(ARGS)

test-vm:
	@contrib/setup test
	@contrib/test-vm $(ARGS)

man:
	@contrib/setup check
	@contrib/man

install:
	@contrib/install

clean:
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
