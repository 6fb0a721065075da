# `make demo` and `make test` set up `.venv` first; VENV=… puts it elsewhere, PYTHON=… chooses its Python.
PYTHON ?= python3
VENV ?= .venv
BIN := $(abspath $(VENV))/bin
DEMO := examples/conv_seq_classifier

.PHONY: demo test lint clean

demo: $(VENV)/.installed
	@cd $(DEMO) && $(BIN)/python make_raw_data.py
	@cd $(DEMO) && for dtype in train valid test; do \
	    paste - - -d' ' < raw_data/$$dtype.fa > data/tmp.tsv && \
	    $(BIN)/python embedH5.py data/tmp.tsv raw_data/$$dtype.target data/$$dtype.h5 || exit 1; \
	done
	@cd $(DEMO) && $(BIN)/python ../../main.py -f conv_model.py -d data -r results -ep 20 -bs 100 \
	    --hyper --eval --predict ../raw_data/unlabelled.fa

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n auto -rs

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/.installed: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed requirements-test.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-test.txt
	touch $@

clean:
	rm -rf $(VENV) examples/*/raw_data examples/*/data examples/*/results
