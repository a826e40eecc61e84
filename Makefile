# make help says what there is. CI runs the same targets.
PYTHON ?= python3
BIN    := .venv/bin
STUDY  ?=
OUT    ?= demo-output
JOBS   ?= 2
SYSTEM := dcmtk orthanc orthanc-dicomweb orthanc-gdcm postgresql tesseract-ocr
SYSTEM += slurm-wlm munge default-jre-headless chromium chromium-driver
DEV    := torch,demo,libjpeg,kfp,remote,network,ocr,map,monitor,provenance,serve,spark,dev
# podman and buildah without a registry: docs/containers.md
SYSTEM_CONTAINER := podman buildah runc netavark aardvark-dns iptables uidmap catatonit golang-github-containers-common debootstrap git
IMAGE  ?=
ENGINES ?= $(HOME)/.cache/claimed_med/engines
ELSEWHERE := container or slurm or airflow or elyra or cwl
OCR    := rapidocr-onnxruntime==1.4.4  # without its dependencies: it asks for the OpenCV that needs a desktop
ROC    := roc-validator==0.13.0  # validates crates; in an environment of its own, since it wants an older rich

.DEFAULT_GOAL := help
.PHONY: help demo test test-engines check format generate bench docs soak image container system system-container engines clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/.demo ## run the main job on a made study, or on yours: make demo STUDY=/path
	@study="$(STUDY)"; \
	if [ -z "$$study" ]; then study=$$($(BIN)/claimed-med data make brain-mr) || exit $$?; fi; \
	$(BIN)/claimed-med pipeline run segment_and_report --set path="$$study" --out "$(OUT)" || exit $$?; \
	echo; echo "What was made (open the pictures; the DICOM files go to any viewer or PACS):"; \
	find "$(OUT)" \( -name picture.png -o -name segmentation.dcm -o -name report.dcm -o -name capture.dcm \) | sort | sed 's/^/  /'; \
	echo "Where a file came from, and whether anything changed since:"; \
	echo "  $(BIN)/claimed-med lineage show FILE"; echo "  $(BIN)/claimed-med lineage verify $(OUT)"

test: .venv/.dev ## run all tests but the slow ones and those of other engines
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup --no-loadscope-reorder -m "not slow and not gpu and not ($(ELSEWHERE))"

test-engines: .venv/.dev engines ## run pipelines for real in containers and on Slurm, Airflow, Elyra and cwltool
	$(BIN)/python -m pytest -m "($(ELSEWHERE)) and not slow and not gpu"

soak: .venv/.dev engines ## run every test, load, kill series and all images among them
	$(BIN)/python -m pytest -m "not gpu"

check: .venv/.dev ## lint, format, types, import layers, generated files up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/claimed-med generate --check

format: .venv/.dev ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

generate: .venv/.dev ## write component.yaml, reference pages, README table, stub and compiled pipelines
	$(BIN)/claimed-med generate

docs: .venv/.dev ## run every code block of the documentation, and the notebook
	$(BIN)/python -m pytest tests/conformance/test_docs.py tests/conformance/test_notebook.py

bench: .venv/.bench ## measure; results in benchmarks/results
	$(BIN)/python benchmarks/run.py

image: .venv/.dev ## build container images with their bills of materials: all, or make image IMAGE=cpu
	$(BIN)/python docker/build.py $(IMAGE)

container: .venv/.dev ## run the tests that build and run the container image of the core
	$(BIN)/python -m pytest -m "container and not slow"

system: ## install the servers and tools that tests talk to, with apt-get as root (Debian)
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $(SYSTEM)

system-container: ## install what builds and runs container images, with apt-get as root (Debian)
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $(SYSTEM_CONTAINER)

# Airflow, Elyra and cwltool clash with our packages: each has an environment of its own, made anew when its list changes.
engines: $(foreach one,airflow elyra cwl,$(ENGINES)/$(one)/.made) ## install the engines that tests run pipelines on

$(ENGINES)/%/.made: tests/engines/%.txt
	rm -rf "$(@D)"
	$(PYTHON) -m venv "$(@D)"
	"$(@D)/bin/python" -m pip install --quiet --no-deps --requirement $<
	@touch "$@"

clean: ## remove caches and demo output; keeps .venv
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache "$(OUT)"

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.demo: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[torch,demo,libjpeg]"
	@touch $@

.venv/.dev: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[$(DEV)]"
	$(BIN)/python -m pip install --quiet --no-deps $(OCR)
	$(PYTHON) -m venv .venv/roc && .venv/roc/bin/python -m pip install --quiet $(ROC)
	@touch $@

.venv/.bench: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[$(DEV),bench]"
	$(BIN)/python -m pip install --quiet --no-deps $(OCR)
	@touch $@
