# Two commands on a fresh machine:  make demo   and   make test
PYTHON ?= python3.11
BIN := .venv/bin
RUN := runs/demo
export OMP_NUM_THREADS := 1
export MUJOCO_GL ?= egl

.DEFAULT_GOAL := help
.PHONY: help demo test lint table bench images-data

help:  ## what can be made
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 13

$(BIN)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[test,lint]"
	touch $@

demo: $(BIN)/.installed  ## demonstrations -> teacher -> student -> rollouts -> report, on `avoiding`
	test -e $(RUN)/demonstrations.zarr || $(BIN)/stillhand collect data=$(RUN)/demonstrations.zarr
	$(MAKE) --no-print-directory -j2 $(RUN)/vdd $(RUN)/em $(RUN)/regression $(RUN)/mip
	$(BIN)/stillhand rollout run=$(RUN)
	$(BIN)/stillhand report run=$(RUN) data=$(RUN)/demonstrations.zarr

# Training continues where it stood, so these are asked for every time; a finished run costs seconds.
.PHONY: $(RUN)/diffusion $(RUN)/vdd $(RUN)/em $(RUN)/regression $(RUN)/mip
$(RUN)/diffusion $(RUN)/em $(RUN)/regression $(RUN)/mip:
	$(BIN)/stillhand train method=$(notdir $@) run=$(RUN) data=$(RUN)/demonstrations.zarr
$(RUN)/vdd: $(RUN)/diffusion
	$(BIN)/stillhand distill method=vdd run=$(RUN) data=$(RUN)/demonstrations.zarr

test: $(BIN)/.installed lint  ## lint, types, import contracts and the whole suite, CPU only
	$(BIN)/pytest -m "not gpu"

lint: $(BIN)/.installed  ## style, types and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

table: $(BIN)/.installed  ## make table NAME=avoiding: a published table from nothing (hours)
	$(BIN)/stillhand table $(NAME)

bench: $(BIN)/.installed  ## speed of data and training on this machine
	$(BIN)/stillhand bench data
	$(BIN)/stillhand bench train

images-data:  ## Fashion-MNIST, from Debian's package dataset-fashion-mnist (31 MB, needs root)
	@test "$$(id -u)" -eq 0 || { echo "not root: run  sudo apt-get install dataset-fashion-mnist,"; \
	  echo "or give a folder with the four IDX files: task=fmnist task.images.folder=FOLDER"; exit 1; }
	apt-get update -qq && apt-get install -y -qq --no-install-recommends dataset-fashion-mnist
