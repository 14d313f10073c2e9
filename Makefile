# Two commands on a fresh machine: `make demo` and `make test`.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
BENCH_STAMP := .venv/.bench-installed
AUDIT := .venv/audit
MLFLOW_STAMP := .venv-bench/.installed
MLFLOW_SERVER_STAMP := .venv-mlflow/.installed

MINUTES ?= 30
SCALE ?= mini
OUT ?= figures-output

.PHONY: venv env gpus trial demo figures up test check format faults fuzz audit bench bench-together bench-fisher bench-fisher-late bench-load bench-scale bench-page bench-mirror bench-order bench-storing

venv: $(STAMP)  ## installs into .venv

# These two need a shell and no Python: they are for machines that have a container engine only.
env:  ## .env for docker-compose.yml, with random secrets; again: adds what is missing
	@sh deploy/env.sh

# COUNT=8: GPUs 1 to 7, beside the compose file's own
gpus:  ## docker-compose.gpus.yml: one more worker for each further GPU of this machine
	@sh deploy/gpus.sh '$(or $(COUNT),1)'

demo: venv  ## a small experiment from start to figure, in some minutes
	$(BIN)/python -m deploy.demo

# SCALE=mini|half|paper, ONLY='fig1a fig1c' (all without it), OUT=DIR, ARGS='--workers 4 ...'
figures: venv  ## every figure of the paper: at the small scale two hours on two shared cores
	$(BIN)/python -m deploy.figures --scale '$(SCALE)' --only '$(ONLY)' --out '$(OUT)' $(ARGS)

# ARGS='--port 8123 --workers 2'
up: venv  ## local mode, until Ctrl-C: http://127.0.0.1:8000
	$(BIN)/python -m deploy.local up $(ARGS)

# Three at a time: on two cores two leave 28 % of them idle, three 16 %, and four take longer again.
# In the order of their folders: those that take longest come first.
test: check $(MLFLOW_SERVER_STAMP)  ## everything that CI runs
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder --durations 25

# CASES=10000, SEED=1 (another one each time without it): it goes round all kinds, 15 to 20 minutes
fuzz: venv  ## schemathesis against the real service, every kind of token
	HUBEL_FUZZ_CASES=$(or $(CASES),10000) $(if $(SEED),HUBEL_FUZZ_SEED=$(SEED)) \
	  $(BIN)/python -m pytest tests/integration/test_fuzz.py -s

# MINUTES=30, ARGS='--seed 7', ARGS='--seed 7 --only "Redis away"'
faults: venv  ## every fault that is thought of, drawn and counted: nothing lost, nothing wrong
	$(BIN)/python -m tests.faults.run --minutes '$(MINUTES)' $(ARGS)

# ARGS='--file docker-compose.yml --file deploy/seaweedfs.yml' where that is the store
trial: venv  ## the compose file on a container engine, with kills, restarts, upgrade and backup
	$(BIN)/python -m tests.engine.trial $(ARGS)

check: venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.offline

format: venv
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Needs a network that lets pip-audit ask the public databases, and so is no part of `make test`.
audit: $(AUDIT)/bin/pip-audit  ## is a version in constraints.txt known to be vulnerable?
	$(BIN)/python -m deploy.audit $(AUDIT)/bin/pip-audit

# An environment of its own: what audits is not what is audited.
$(AUDIT)/bin/pip-audit: $(STAMP)
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --constraint constraints.txt pip-audit

# ARGS='--networks all_cnn:1 --rounds 3 --service 0' to try it
bench: $(STAMP)  ## how fast we train, beside a plain loop and beside the bound: a quarter of an hour
	$(BIN)/python -m tests.bench.train --out tests/bench/TRAIN.md $(ARGS)

bench-together: $(STAMP)  ## several runs on one device: processes, threads, stacked: some minutes
	$(BIN)/python -m tests.bench.together --out tests/bench/TOGETHER.md $(ARGS)

# DATA=images.npz (uint8, NHWC; without it generated gratings), ARGS='--networks mlp:0.5 ...'
bench-fisher: $(BENCH_STAMP)  ## what a Fisher trace costs, beside other libraries: an hour or two
	$(BIN)/python -m tests.bench.fisher --data '$(DATA)' $(ARGS)

bench-fisher-late: $(BENCH_STAMP)  ## the figure of what stated errors are worth
	$(BIN)/python -m tests.bench.late --data '$(DATA)' $(ARGS)

# ARGS='--experiments 500 --rounds 1 --minutes 1' to try it
bench-load: $(STAMP) $(MLFLOW_STAMP)  ## 10,000 experiments, 100 pollers, beside MLflow: half an hour
	$(BIN)/python -m tests.bench.load --out tests/bench/LOAD.md $(ARGS)

# ARGS='--segments 2000 --workers 64 --rounds 1' to try it
bench-scale: $(STAMP)  ## thousands of simulated workers, 100,000 segments: a quarter of an hour
	$(BIN)/python -m tests.bench.scale --out tests/bench/SCALE.md $(ARGS)

# ARGS="--presets fig1a --measured 8:1" to try it
bench-order: $(STAMP)  ## how long a sweep takes on 1 to 8 workers, against the bound: a quarter of an hour
	$(BIN)/python -m tests.bench.order --out tests/bench/ORDER.md $(ARGS)

bench-page: $(STAMP)  ## from opening an experiment's page to its last curve: a minute
	$(BIN)/python -m tests.bench.page --out tests/bench/PAGE.md $(ARGS)

bench-storing: $(STAMP)  ## what storing costs a training, and from a POST to training: ten minutes
	$(BIN)/python -m tests.bench.storing --out tests/bench/STORING.md $(ARGS)

bench-mirror: $(STAMP) $(MLFLOW_SERVER_STAMP)  ## what the mirror to MLflow costs: some minutes
	$(BIN)/python -m tests.bench.mirror --out tests/bench/MIRROR.md $(ARGS)

# torch by itself first: the resolver then takes it as given. The stamp comes last, so that an
# installation that broke off is taken up again.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Hubel needs Python 3.11 or newer, and $(PYTHON) is `$(PYTHON) --version 2>&1`: make PYTHON=python3.12 ..." >&2; \
	  exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

$(BENCH_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,bench]'
	touch $(BENCH_STAMP)

# MLflow's dependencies clash with ours: it has an environment of its own.
$(MLFLOW_STAMP):
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install --quiet mlflow==3.17.2 psycopg2-binary
	touch $(MLFLOW_STAMP)

# What its server alone needs, of a fifth of the size: half a minute.
$(MLFLOW_SERVER_STAMP):
	$(PYTHON) -m venv .venv-mlflow
	.venv-mlflow/bin/pip install --quiet mlflow-skinny==3.17.2 \
	  aiohttp alembic flask flask-cors numpy pandas sqlalchemy
	touch $(MLFLOW_SERVER_STAMP)
