# Every command of the project; `make help` prints them.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PROTO_VENV := .venv-protos
VLLM_VENV := .venv-vllm
PEERS_VENV := .venv-peers
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-unit test-integration test-e2e test-vllm test-deploy helm-schema test-faults check format train-smoke bench bench-decode peers bench-serve bench-jobs bench-scale bench-plan protos release-protos samples clean

help: ## Print this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

# Two stages of one environment: what the platform needs to run, and on top what its tests and checks need.
$(VENV)/.run: pyproject.toml sdk/python/pyproject.toml constraints.txt requirements-wheels.txt
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed; name it with PYTHON=..."; exit 1; }
	@echo "installing the platform into $(VENV)"
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --no-deps --requirement requirements-wheels.txt
	$(PIP_INSTALL) --editable sdk/python --editable '.[local]'
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(PIP_INSTALL) --editable sdk/python --editable '.[dev]'
	@touch $@

demo: $(VENV)/.run ## Start the platform, ask about real recordings, print the answers, stop
	$(BIN)/python -m services.local.demo

test: $(VENV)/.dev ## Run every test: unit, integration, e2e, deploy
	$(BIN)/pytest tests --durations=10

test-unit: $(VENV)/.dev ## Run the tests that start no server
	$(BIN)/pytest tests/unit

test-integration: $(VENV)/.dev ## Run the tests of one true server at a time
	$(BIN)/pytest tests/integration

test-e2e: $(VENV)/.dev ## Run the tests of the whole platform
	$(BIN)/pytest tests/e2e

# For the variable see tests/conftest.py.
test-faults: $(VENV)/.dev ## Kill processes at random while 200 jobs are worked on; print what was lost
	GRPC_ENABLE_FORK_SUPPORT=0 $(BIN)/python -m tests.faults.storm

# Its own environment: vLLM pins other versions than the platform. What it takes of torch's family beside torch does not
# load with the build for the CPU, and is not needed.
$(VLLM_VENV)/.done: requirements-vllm.txt pyproject.toml sdk/python/pyproject.toml
	@echo "installing vLLM into $(VLLM_VENV), which takes minutes and 4 GB"
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/pip install --quiet --disable-pip-version-check --requirement requirements-vllm.txt \
		--editable sdk/python --editable .
	$(VLLM_VENV)/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

test-vllm: $(VLLM_VENV)/.done ## Run the engines' tests on vLLM too, in an environment of its own
	$(VLLM_VENV)/bin/pytest tests/unit/decoder/test_engine_conformance.py --durations=10

test-deploy: $(VENV)/.dev ## Run the tests of charts, images and manifests
	$(BIN)/pytest tests/deploy

helm-schema: $(VENV)/.dev ## Write the services' settings into the chart's schema of values
	$(BIN)/python -m tests.deploy.settings_schema

check: $(VENV)/.dev ## Check format, lint, types and the contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	cd protos && ../$(BIN)/buf lint && ../$(BIN)/buf format --diff --exit-code
	cd protos && ../$(BIN)/buf breaking --against released.binpb

format: $(VENV)/.dev ## Format the code and the contract
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	cd protos && ../$(BIN)/buf format --write

train-smoke: $(VENV)/.dev ## Train auricle-mini a little through all three stages; fails unless it learns
	$(BIN)/python -W ignore -m services.training.smoke

bench: $(VENV)/.dev ## Measure encoder, decoder, whole path and preprocess; JSON in bench-results/
	$(BIN)/python -m tests.load.bench

bench-scale: $(VENV)/.dev ## Measure how encoder and decoder scale apart, on simulated devices
	$(BIN)/python -m tests.load.bench_scale --json bench-results/bench_scale.json

bench-plan: $(VENV)/.dev ## Measure how far the planner is off, on simulated devices
	$(BIN)/python -m tests.load.bench_plan --json bench-results/bench_plan.json

bench-jobs: $(VENV)/.dev ## Measure jobs of 10 and 60 minutes with 1 and 2 workers, and what the job machinery costs
	$(BIN)/python -m tests.load.bench_jobs --json bench-results/bench_jobs.json

# vLLM runs without torch.compile, which takes over ten minutes to start on a CPU.
bench-decode: $(VENV)/.dev ## Measure decoding against transformers and, after make peers, vLLM and llama.cpp
	@mkdir -p bench-results
	$(BIN)/python -m tests.load.bench_decoder --peers --vllm-eager --batches 1 4 8 16 --json bench-results/bench_decoder.json
	$(BIN)/python -m tests.load.bench_decode_weights --json bench-results/bench_decode_weights.json
	$(BIN)/python -m tests.load.bench_priority --json bench-results/bench_priority.json

# llama.cpp is built from source for this machine's processor.
$(PEERS_VENV)/.done: requirements-peers.txt
	@echo "building llama.cpp into $(PEERS_VENV), which takes minutes"
	$(PYTHON) -m venv $(PEERS_VENV)
	CMAKE_ARGS=-DLLAVA_BUILD=OFF $(PEERS_VENV)/bin/pip install --quiet --disable-pip-version-check --no-binary llama-cpp-python \
		--requirement requirements-peers.txt
	@touch $@

peers: $(VLLM_VENV)/.done $(PEERS_VENV)/.done ## Build the environments of vLLM and llama.cpp, for bench-decode and bench-serve

bench-serve: $(VENV)/.dev ## Measure the whole platform under load through the SDK, beside transformers and, after make peers, vLLM
	$(BIN)/python -m tests.load.bench_serve --peers --vllm-eager --json bench-results/bench_serve.json

# Its own environment: grpcio-tools 1.67.1 writes stubs that protobuf 6 and 7 load, but wants protobuf 5 itself.
$(PROTO_VENV)/.done: requirements-protos.txt
	$(PYTHON) -m venv $(PROTO_VENV)
	$(PROTO_VENV)/bin/pip install --quiet --disable-pip-version-check --requirement requirements-protos.txt
	@touch $@

protos: $(PROTO_VENV)/.done ## Generate the SDK's stubs from protos/
	$(PROTO_VENV)/bin/python -m grpc_tools.protoc --proto_path=protos --python_out=sdk/python --pyi_out=sdk/python \
		--grpc_python_out=sdk/python protos/auricle/v1/*.proto
	@for stub in sdk/python/auricle/v1/*_pb2_grpc.py; do grep -q 'class .*Stub' $$stub || rm $$stub; done

release-protos: $(VENV)/.dev ## Make the present contract the one that later ones may not break
	cd protos && ../$(BIN)/buf build --output released.binpb

samples: $(VENV)/.dev ## Make the sample recordings again (needs flite)
	$(BIN)/python docs/samples/make_samples.py

clean: ## Remove the environments and caches
	rm -rf $(VENV) $(PROTO_VENV) $(VLLM_VENV) $(PEERS_VENV) .pytest_cache .mypy_cache .ruff_cache bench-results eval-results
