# make help says what there is. CI runs the same targets.
PYTHON ?= python3
BIN    := .venv/bin
STUDY  ?=
OUT    ?= demo-output
JOBS   ?= 2
SYSTEM := dcmtk orthanc orthanc-dicomweb orthanc-gdcm tesseract-ocr
DEV    := torch,demo,libjpeg,kfp,remote,network,ocr,dev
OCR    := rapidocr-onnxruntime==1.4.4  # without its dependencies: it asks for the OpenCV that needs a desktop

.DEFAULT_GOAL := help
.PHONY: help demo test check format generate bench docs soak system clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/.demo ## run the main job on a made study, or on yours: make demo STUDY=/path
	@study="$(STUDY)"; \
	if [ -z "$$study" ]; then study=$$($(BIN)/claimed-med data make brain-mr) || exit $$?; fi; \
	$(BIN)/claimed-med pipeline run segment_and_report --set path="$$study" --out "$(OUT)" || exit $$?; \
	echo; echo "What was made (open the pictures; the DICOM files go to any viewer or PACS):"; \
	find "$(OUT)" \( -name picture.png -o -name segmentation.dcm -o -name report.dcm -o -name capture.dcm \) | sort | sed 's/^/  /'; \
	echo "Where a file came from, and whether anything changed since:"; \
	echo "  $(BIN)/claimed-med lineage show FILE"; echo "  $(BIN)/claimed-med lineage verify $(OUT)"

test: .venv/.dev ## run all tests but the slow ones
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -m "not slow and not gpu and not container and not slurm"

soak: .venv/.dev ## run the slow tests too
	$(BIN)/python -m pytest -m "not gpu and not container and not slurm"

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

system: ## install the servers and tools that tests talk to, with apt-get as root (Debian)
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $(SYSTEM)

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
	@touch $@

.venv/.bench: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[$(DEV),bench]"
	$(BIN)/python -m pip install --quiet --no-deps $(OCR)
	@touch $@
