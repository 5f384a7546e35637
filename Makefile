PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Processes that run tests; each holds both frameworks, some 2 GB.
WORKERS ?= 2

# Environments with the libraries that build transformers' models themselves.
INSIDE := .venv-transformers4 .venv-transformers5

# The one with the runtimes that models are exported to; what the frameworks themselves run is tested beside them.
EXPORTS := .venv-exports
IN_EXPORTS := $(EXPORTS)/bin/python -m pytest -n $(WORKERS) tests/conversion/test_exports.py tests/pipelines/test_exports.py

.PHONY: demo test test-slow test-all harness lint docs peers

demo: $(STAMP)  ## train, convert and compare a small classifier in both frameworks
	$(BIN)/deberta demo

test: lint  ## lint, types and every test but the slow ones
	$(BIN)/python -m pytest -m "not slow and not everything" -n $(WORKERS) --dist loadfile

test-slow: $(STAMP) $(INSIDE:%=%/.installed) $(EXPORTS)/.installed  ## the slow tests alone, and those beside other libraries
	$(BIN)/python -m pytest -m "slow and not everything" -n $(WORKERS) --dist loadfile --ignore tests/inside/consumers
	.venv-transformers4/bin/python -m pytest -n $(WORKERS) --dist loadfile tests/inside/consumers
	TRITON_INTERPRET=1 .venv-transformers4/bin/python -m pytest -n $(WORKERS) -m "not everything" tests/models/test_triton.py
	.venv-transformers5/bin/python -m pytest -n $(WORKERS) --dist loadfile tests/inside
	$(IN_EXPORTS) -m "slow and not everything" -k "onnx or openvino or framework"

test-all: test test-slow  ## every test: also what is left of the matrix of exports
	$(BIN)/python -m pytest -m everything -n $(WORKERS) --dist loadfile
	TRITON_INTERPRET=1 .venv-transformers4/bin/python -m pytest -n $(WORKERS) -m everything tests/models/test_triton.py
	$(IN_EXPORTS) -m everything -k "onnx or openvino"

CASES ?= 2000
KILLS ?= 100
SECONDS_SERVED ?= 600
harness: $(STAMP)  ## damaged files, kills, full disks and threads, for hours: see SECURITY.md
	$(BIN)/python -m tests.fuzz --cases $(CASES)
	$(BIN)/python -m tests.fuzz.kills --kills $(KILLS)
	$(BIN)/python -m tests.fuzz.soak --seconds $(SECONDS_SERVED) --calls 200000

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(STAMP)  ## the site, in build/docs/index.html; a warning is an error
	$(BIN)/python docs/build.py

# TensorFlow's example of NER asks a column for a tensor, as datasets gives one before version 4.
PEERS := .venv-peers
peers: $(STAMP)  ## transformers' own tests and examples on this zoo: see docs/peers.md for the checkouts it takes
	@test -n "$(TRANSFORMERS)$(TRANSFORMERS_TF)$(EXAMPLES_TF)" || { echo "give checkouts: make peers TRANSFORMERS=..., see docs/peers.md" >&2; exit 1; }
	@test -x $(PEERS)/bin/python || $(BIN)/python -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[all]' torch==2.13.0 \
		'transformers==4.57.6' 'datasets<4' 'pandas<3' parameterized scikit-learn psutil
	$(PEERS)/bin/python -m tests.peers $(if $(TRANSFORMERS),--transformers $(TRANSFORMERS)) \
		$(if $(TRANSFORMERS_TF),--transformers-tf $(TRANSFORMERS_TF)) $(if $(EXAMPLES_TF),--examples-tf $(EXAMPLES_TF))

# pip need not compile what nobody imports: the first use compiles the rest.
# The stamp is the last thing written, so that an installation that failed or was interrupted is done again.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("DeBERTa needs Python 3.11 or later, $(PYTHON) is " + sys.version.split()[0] + "; give another one: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	@rm -f $@
	@$(PYTHON) -m venv $(VENV) || { echo "$(PYTHON) cannot make $(VENV); on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "Installing PyTorch, TensorFlow and what goes with them into $(VENV): several minutes where they have to be fetched"
	$(BIN)/pip install --no-compile --disable-pip-version-check --constraint constraints.txt --editable '.[all]'
	@echo "Installed; what comes next starts them for the first time, which takes longer than later"
	@touch $@

$(EXPORTS)/.installed: pyproject.toml constraints.txt
	@rm -f $@
	@$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --no-compile --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0 \
		--editable '.[pt,onnx,openvino]' pytest pytest-xdist
	@touch $@

.venv-transformers%/.installed: pyproject.toml constraints.txt
	@rm -f $@
	@$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --no-compile --quiet --disable-pip-version-check torch==2.13.0 --editable '.[pt,transformers$*]'
	@touch $@
