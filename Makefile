# Two commands do everything: `make demo` and `make test`. Each sets up its own environment once.
# For those who change something: `make check` before every commit, `make format` to have it put right.
PYTHON ?= python3
DEMO := .venv-demo
TEST := .venv-test
OUT ?= demo-output
CT ?=

.PHONY: demo check format test test-slow test-gpu test-timing bench coverage fuzz train-starter clean

# Stamps are newer than pyproject.toml when the environment is complete, so that later runs need no network.
$(DEMO)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/python -m pip install --quiet -c constraints.txt torch
	$(DEMO)/bin/python -m pip install --quiet -c constraints.txt -e ".[dicom,pictures]"
	touch $@

$(TEST)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(TEST)
	$(TEST)/bin/python -m pip install --quiet -c constraints.txt torch
	$(TEST)/bin/python -m pip install --quiet -c constraints.txt -e ".[dicom,pictures,training,cluster,openvino,gzip,slicer,dev]"
	touch $@

# Without CT a phantom is made and scored against its own truth; with CT=file.nii.gz or a DICOM folder, yours.
demo: $(DEMO)/ready
ifeq ($(strip $(CT)),)
	$(DEMO)/bin/python -m Testing.demo --out "$(OUT)"
else
	$(DEMO)/bin/liverseg segment "$(CT)" --out "$(OUT)"
endif

# Style and types of the whole repository; seconds once mypy has its cache, half a minute without.
check: $(TEST)/ready
	$(TEST)/bin/ruff check .
	$(TEST)/bin/ruff format --check .
	$(TEST)/bin/mypy

format: $(TEST)/ready
	$(TEST)/bin/ruff check --fix .
	$(TEST)/bin/ruff format .

# This environment has all extras, so a test that cannot run for want of one is a failure and not a skip.
test test-slow test-gpu test-timing coverage: export LIVERSEG_REQUIRE ?= cluster,dicom,gzip,loggers,notebooks,openvino,pictures,training,slicer,quality

# Two processes share the files of tests; JOBS=1 for a debugger. One thread each: threads of two processes that wait for
# each other in the same cores take several times as long.
JOBS ?= 2
test: export OMP_NUM_THREADS ?= 1
test: $(TEST)/ready
	$(TEST)/bin/python -m pytest -q -n "$(JOBS)" --dist loadfile

test-slow: $(TEST)/ready
	$(TEST)/bin/python -m pytest -q -m slow

test-gpu: $(TEST)/ready
	$(TEST)/bin/python -m pytest -q -m gpu

# Asserts seconds on the clock: for a machine that does nothing else.
test-timing: $(TEST)/ready
	$(TEST)/bin/python -m pytest -q -m timing

# The engine beside MONAI's pipeline and nnU-Net's predictor, about a quarter of an hour; BENCH=--quick takes minutes.
# Longer scans add their rows to the table: make bench BENCH="--shape 512x512x300 --model SegResNet --repeat 1".
BENCH ?=
bench: $(TEST)/ready
	$(TEST)/bin/python -m Testing.benchmarks $(BENCH)

# Which lines the tests reach in this process; what workers and commands run in processes of their own is not counted.
coverage: $(TEST)/ready
	$(TEST)/bin/python -m pytest -q --cov --cov-report=term:skip-covered --cov-report=html:coverage

# Damaged and hostile files, for some minutes; the same SEED makes the same ones, COUNT=1000000 takes hours.
SEED ?= 1
fuzz: $(TEST)/ready
	$(TEST)/bin/python -m Testing.fuzz --seed "$(SEED)" $(if $(COUNT),--count "$(COUNT)")

# Makes the starter model again; DATA is the folder that the recipe's sources are relative to (hours on a CPU).
train-starter: $(TEST)/ready
	$(TEST)/bin/python -m Training prepare liver2d_starter --data "$(DATA)" --out prepared/starter
	$(TEST)/bin/python -m Training train liver2d_starter --data prepared/starter --run runs/starter
	$(TEST)/bin/python -m Training export runs/starter --out runs/starter/package

clean:
	rm -rf $(DEMO) $(TEST) demo-output coverage .coverage
