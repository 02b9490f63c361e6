# Two commands are enough: `make demo` and `make test`. Both create the environment when needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Number of worker processes for the tests.
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow check format picture gallery lock wheel clean benchmark-quality closure image image-cpu

help:
	@echo "make demo     from nothing to a trained network, boosted trees and their ROC curves (about 10 minutes on 2 cores)"
	@echo "make test     style, types and tests"
	@echo "make install  only the environment ($(VENV))"
	@echo "make benchmark-quality  networks against boosted trees on fei_hadronic_b0 (hours; docs/models.md)"
	@echo "make gallery  docs/gallery.md with every figure, of the quickstart run (some minutes)"
	@echo "make closure  tests that weighted, kept events are unbiased (some minutes; experiments/closure)"
	@echo "make image    container image for GPU nodes; make image-cpu for others (docs/containers.md)"
	@echo "make wheel    build the wheel and the source archive into dist/"
	@echo "make format   put the code into its canonical form"
	@echo "make clean    remove the environment and everything that was built"

install: $(STAMP)

# Reinstalls only when the dependencies change.
$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: Python >= 3.11 is needed; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "installing into $(VENV): about 4 GB, some minutes, once"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet -c requirements.lock -e '.[all]'
	@touch $(STAMP)

# A network and boosted trees on the same sample; what is trained already is kept.
DEMO := data/demo
demo: $(STAMP)
	test -f $(DEMO)/resnet/done.json || $(BIN)/python -m smartbkg_tf.train experiment=quickstart run_dir=$(DEMO)/resnet
	test -f $(DEMO)/trees/done.json || $(BIN)/python -m smartbkg_tf.train experiment=quickstart model=trees run_dir=$(DEMO)/trees
	$(BIN)/python -m smartbkg_tf.evaluate runs=[$(DEMO)/resnet,$(DEMO)/trees] output=$(DEMO)/report overwrite=true

test: check
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "not slow"

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

check: $(STAMP)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

format: $(STAMP)
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

# Every step keeps what stands there, so that a stopped run goes on.
QUALITY := data/fei_b0_benchmark
NETWORKS := treenet trees treenet_trees resnet transformer gatgap gcn treenet_without_sums
TREES := event visible decay two_stage skim candidates
SEEDS := 1
benchmark-quality: $(STAMP)
	$(BIN)/python -m smartbkg_tf.produce event_type=mixed n_events=780000 seed=1 workers=$(JOBS) output=$(QUALITY)/tables
	test -d $(QUALITY)/sample || $(BIN)/python -m benchmarks.fei_b0.sample --tables '$(QUALITY)/tables/*.h5' --output $(QUALITY)/sample
	test -d $(QUALITY)/dataset || $(BIN)/python -m smartbkg_tf.preprocess input='$(QUALITY)/sample/*.h5' output=$(QUALITY)/dataset
	test -d $(QUALITY)/dataset_skim || $(BIN)/python -m smartbkg_tf.preprocess features=benchmarks.fei_b0.skim_features.SkimReplay input='$(QUALITY)/sample/*.h5' output=$(QUALITY)/dataset_skim workers=$(JOBS)
	test -d $(QUALITY)/dataset_candidates || $(BIN)/python -m smartbkg_tf.preprocess features=benchmarks.fei_b0.candidate_set.SkimCandidates max_particles=200 input='$(QUALITY)/sample/*.h5' output=$(QUALITY)/dataset_candidates workers=$(JOBS)
	test -f $(QUALITY)/reruns.npz || $(BIN)/python -m benchmarks.fei_b0.reruns --sample $(QUALITY)/sample --workers $(JOBS) --output $(QUALITY)/reruns.npz
	for name in $(TREES); do $(BIN)/python -m benchmarks.fei_b0.trees $$name --sample $(QUALITY)/sample --runs $(QUALITY)/runs --seeds $(SEEDS) || exit 1; done
	for name in $(NETWORKS); do $(BIN)/python -m benchmarks.fei_b0.run $$name --dataset $(QUALITY)/dataset --runs $(QUALITY)/runs --seeds $(SEEDS) || exit 1; done
	$(BIN)/python -m benchmarks.fei_b0.run treenet_skim --dataset $(QUALITY)/dataset_skim --runs $(QUALITY)/runs --seeds $(SEEDS)
	$(BIN)/python -m benchmarks.fei_b0.run treenet_candidates --dataset $(QUALITY)/dataset_candidates --runs $(QUALITY)/runs --seeds $(SEEDS)
	$(BIN)/python -m benchmarks.fei_b0.average treenet_and_trees --runs $(QUALITY)/runs --members treenet/seed_1 trees_two_stage/seed_1
	$(BIN)/python -m benchmarks.fei_b0.average treenet_candidates_and_trees --runs $(QUALITY)/runs --members treenet_candidates/seed_1 trees_candidates/seed_1
	$(BIN)/python -m benchmarks.fei_b0.table --runs $(QUALITY)/runs --reruns $(QUALITY)/reruns.npz --output $(QUALITY)/results

# Exact versions for make install, CI and the image; UPGRADE=1 moves them all.
lock: $(STAMP)
	$(BIN)/uv pip compile pyproject.toml --extra all --extra gpu --universal --python-version 3.11 \
	  --no-annotate --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade) --quiet -o requirements.lock

# docs/gallery.md: every figure, of the quickstart run; it is trained where it is not there yet.
GALLERY := data/gallery
gallery: $(STAMP)
	test -f $(GALLERY)/run/done.json || $(BIN)/python -m smartbkg_tf.train experiment=quickstart run_dir=$(GALLERY)/run
	$(BIN)/python -m tests.gallery $(GALLERY)/run $(GALLERY)/report

CLOSURE := data/closure
closure: $(STAMP)
	for part in training:1 events:14; do $(BIN)/python -m smartbkg_tf.produce event_type=mixed n_events=100000 skim='[fei_hadronic_b0,low_multiplicity]' \
	  seed=$${part#*:} workers=$(JOBS) output=$(CLOSURE)/$${part%:*}_tables || exit 1; done
	for part in training events; do test -d $(CLOSURE)/$$part || $(BIN)/python -m smartbkg_tf.preprocess input="$(CLOSURE)/$${part}_tables/*.h5" output=$(CLOSURE)/$$part || exit 1; done
	$(BIN)/python -m smartbkg_tf.train experiment=closure/resnet data.path=$(CLOSURE)/training run_dir=$(CLOSURE)/run
	$(BIN)/python -m benchmarks.closure --run $(CLOSURE)/run --dataset $(CLOSURE)/events --observables $(CLOSURE)/events_tables/observables/all.parquet --predictions $(CLOSURE)/predictions

# docs/reference.md
picture: $(STAMP)
	$(BIN)/python -m tests.architecture

wheel: $(STAMP)
	rm -rf dist
	$(BIN)/python -m build

# Container images (docs/containers.md); ENGINE=podman for the other engine.
ENGINE ?= docker
IMAGE_FILES := Dockerfile .dockerignore $(shell sed -n 's/^!//p' .dockerignore)
COMMIT = $(shell git rev-parse HEAD)$(shell test -z "$$(git status --porcelain -- $(IMAGE_FILES))" || echo +dirty)
BUILD_IMAGE = $(ENGINE) build --build-arg COMMIT=$(COMMIT) --build-arg UID=$$(id -u) --build-arg GID=$$(id -g)

image:
	$(BUILD_IMAGE) -t smartbkg-tf .

image-cpu:
	$(BUILD_IMAGE) --build-arg EXTRAS=train,generate,onnx,distributed,search -t smartbkg-tf:cpu .

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
