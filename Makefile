# Two commands on a fresh machine:  make demo   and   make test
PYTHON ?= python3.11
BIN := .venv/bin
RUN := runs/demo
export OMP_NUM_THREADS := 1
export MUJOCO_GL ?= egl

.DEFAULT_GOAL := help
.PHONY: help demo test test-gpu lint table bench fuzz images-data

help:  ## what can be made
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 13

$(BIN)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

# Simulators of other projects are half of a gigabyte, so they come with what needs them.
$(BIN)/.complete: $(BIN)/.installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[test,lint]"
	touch $@

demo: $(BIN)/.installed  ## demonstrations -> teacher -> students -> rollouts -> report on `avoiding`, and digits
	test -e $(RUN)/demonstrations.zarr || $(BIN)/stillhand collect data=$(RUN)/demonstrations.zarr
	$(MAKE) --no-print-directory -j2 $(TRAINED)
	$(BIN)/stillhand rollout run=$(RUN)
	$(BIN)/stillhand report run=$(RUN) data=$(RUN)/demonstrations.zarr pictures=$(RUN)/digits

# Training continues where it stood, so these are asked for every time; a finished run costs seconds.
# In this order two cores end together: about 450 s each.
TRAINED := $(addprefix $(RUN)/,sid mip regression vdd digits em)
STUDENTS := $(RUN)/sid $(RUN)/vdd
ALONE := $(addprefix $(RUN)/,diffusion mip regression em)
.PHONY: $(TRAINED) $(ALONE)
$(ALONE):
	$(BIN)/stillhand train method=$(notdir $@) run=$(RUN) data=$(RUN)/demonstrations.zarr
$(STUDENTS): $(RUN)/diffusion
	$(BIN)/stillhand distill method=$(notdir $@) run=$(RUN) data=$(RUN)/demonstrations.zarr
$(RUN)/digits:
	$(BIN)/stillhand train task=digits run=$@
	$(BIN)/stillhand distill task=digits method=sid run=$@
	$(BIN)/stillhand generate task=digits run=$@ only=[teacher-35,teacher-9,teacher-1,teacher-1-low,sid]

test: $(BIN)/.complete lint  ## lint, types, import contracts and the whole suite, CPU only
	$(BIN)/pytest -n 2 --dist loadfile -m "not gpu"

test-gpu: $(BIN)/.complete  ## what needs a CUDA device (with a CUDA build of torch), and the speed of the kernels there
	$(BIN)/pytest -m gpu
	$(BIN)/stillhand bench kernels
	$(BIN)/stillhand bench steps

lint: $(BIN)/.complete  ## style, types and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

table: $(BIN)/.complete  ## make table NAME=avoiding: a published table from nothing (hours)
	$(BIN)/stillhand table $(NAME)

bench: $(BIN)/.installed  ## speed of data and training on this machine
	$(BIN)/stillhand bench data
	$(BIN)/stillhand bench train

fuzz: $(BIN)/.complete  ## 10,000 damaged files for every format of demonstrations (half an hour)
	for form in robomimic d4rl replay minari lerobot lerobot-3; do folder=$$(mktemp -d) && \
	  timeout 1800 $(BIN)/python tests/datasets/fuzz.py $$form 10000 0 $$folder && rm -r $$folder || exit 1; done

images-data:  ## Fashion-MNIST, from Debian's package dataset-fashion-mnist (31 MB, needs root)
	@test "$$(id -u)" -eq 0 || { echo "not root: run  sudo apt-get install dataset-fashion-mnist,"; \
	  echo "or give a folder with the four IDX files: task=fmnist task.images.folder=FOLDER"; exit 1; }
	apt-get update -qq && apt-get install -y -qq --no-install-recommends dataset-fashion-mnist
