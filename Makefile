# Everything this project can do, in one command each: `make help` lists them.
# Each target first puts what it needs in place. CARGO=... takes another cargo.

CARGO ?= cargo
TOOLS := bash integration/tools.sh

# tests/*.rs, by name: `cargo test` without names would run the integration test with them.
UNIT_TESTS := $(patsubst tests/%.rs,--test %,$(wildcard tests/*.rs)) \
              $(patsubst tests/%/main.rs,--test %,$(wildcard tests/*/main.rs))

.DEFAULT_GOAL := run
.NOTPARALLEL:
.PHONY: run test simulate deploys compat fuzz demo bench hostile-registries build dist lint deny fmt tools programs build-deps \
        cargo cargo-lints \
        clean-tools clean help

run: build-deps ## build and start with the sample catalog, by examples/bridge.toml (the default)
	$(CARGO) run --locked --bin xds-bridge -- run --config examples/bridge.toml

test: lint tools ## what lint checks, and all tests, also against the real etcd, Consul and Envoy
	$(CARGO) test --locked --lib --bins $(UNIT_TESTS)
	$(CARGO) test --locked --doc
	$(CARGO) test --locked --test integration -- --test-threads=3
	@$(TOOLS) untested

# docs/testing.md. What is found is printed as a history in words; a seed is played again by SEED=... SECONDS=1.
SECONDS ?= 600

simulate: build-deps ## bridges, registry and clients on a virtual clock, for SECONDS (600) from SEED on (the time)
	SIM_SECONDS=$(SECONDS) SIM_SEED=$(SEED) $(CARGO) test --locked --profile simulation --test simulation -- \
	    --nocapture --ignored fresh_histories_hold

# Some forty minutes, with room for little else on two cores. Its rows go into docs/deploys.md.
DEPLOY_ROUNDS ?= 20

deploys: tools ## rolling deploys under load in each way and with each trouble, 20 rounds each (DEPLOY_ROUNDS=...)
	DEPLOY_ROUNDS=$(DEPLOY_ROUNDS) $(CARGO) test --locked --test integration -- --test-threads=3 --nocapture deploys:: \
	    >target/deploys.log 2>&1; failed=$$?; grep -E '^(\||test .* \.\.\. |failures|thread )' target/deploys.log; exit $$failed

# Each release in integration/tools, one program at a time, and a fleet of all Envoys. COMPAT="consul-1.8.7 fleet": only these.
compat: build-deps tools ## the tests against each version of Consul, etcd and Envoy (COMPAT=...: some); fills docs/compatibility.md
	$(CARGO) run --locked --example compat -- $(COMPAT)

# As cargo-fuzz builds, with the stable compiler: the flags are LLVM's, and libFuzzer brings a main.
FUZZ_SECONDS ?= 600
FUZZ_MAX_LEN ?= 600
FUZZ_TARGETS ?= $(patsubst integration/fuzz/fuzz_targets/%.rs,%,$(wildcard integration/fuzz/fuzz_targets/*.rs))
FUZZ_HOST = $(shell rustc -vV | sed -n 's/^host: //p')
FUZZ_FLAGS := --cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1 $(addprefix -Cllvm-args=-sanitizer-coverage-,\
              level=4 inline-8bit-counters pc-table trace-compares)

fuzz: build-deps ## each fuzz target (or FUZZ_TARGETS) for FUZZ_SECONDS (600); what is found is kept in target/fuzz
	RUSTFLAGS="$(FUZZ_FLAGS)" $(CARGO) build --release --locked --manifest-path integration/fuzz/Cargo.toml \
	    --target $(FUZZ_HOST) --target-dir target/fuzz
	for target in $(FUZZ_TARGETS); do \
	    mkdir -p target/fuzz/found/$$target; \
	    target/fuzz/$(FUZZ_HOST)/release/$$target -max_total_time=$(FUZZ_SECONDS) -max_len=$(FUZZ_MAX_LEN) -print_final_stats=1 \
	        -artifact_prefix=target/fuzz/found/$$target- target/fuzz/found/$$target integration/fuzz/corpus/$$target \
	        || exit 1; \
	done

demo: build-deps programs ## a real Envoy follows the real registries, step by step (DEMO=rollout: commits that are rolled out)
	$(CARGO) build --locked --bin xds-bridge --example demo
	DEMO=$(DEMO) $(CARGO) run --locked --example demo

# The binary is built by itself: with the example it would share features that only tests turn on.
bench: build-deps programs ## memory, latency, streams, load on registries, of a release build (BENCH=--quick: less; BENCH=registries: one)
	$(CARGO) build --release --locked --bin xds-bridge
	$(CARGO) run --release --locked --example load -- $(BENCH)

# Half an hour; by hand, not a part of `make test`.
hostile-registries: build-deps ## 96 hostile answers of Consul and etcd: the bridge lives in 300 MiB (HOSTILE="etcd watch": only some)
	$(CARGO) build --release --locked --bin xds-bridge
	$(CARGO) run --release --locked --example hostile -- $(HOSTILE)

build: build-deps ## the release binary, target/release/xds-bridge
	$(CARGO) build --release --locked --bin xds-bridge

# What packages are made of: the program, its man pages and completions, the unit, a configuration to start from.
DIST = target/dist/xds-bridge-$(VERSION)-$(shell uname -m)

# A package that cannot be made on this machine is named at the end, and fails nothing: STATIC= makes no static program.
STATIC ?= yes
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)

dist: build ## a tar.gz, a Debian package and a static program, with man pages, completions, unit and SBOM, in target/dist
	CARGO="$(CARGO)" packaging/files.sh target/release/xds-bridge $(CURDIR)/$(DIST)
	tar -C $(dir $(DIST)) -czf $(DIST).tar.gz $(notdir $(DIST))
	cp $(DIST)/xds-bridge.cdx.json $(DIST).cdx.json
	@made="$(DIST).tar.gz $(DIST).cdx.json"; missing=; \
	deb=$$(packaging/deb.sh $(DIST) target/dist) && made="$$made $$deb" || \
	    { [ $$? = 3 ] || exit 1; missing="$$missing a Debian package;"; }; \
	if [ -n "$(STATIC)" ]; then \
	    CARGO="$(CARGO)" packaging/static.sh $(DIST)-static && made="$$made $(DIST)-static" || \
	        { [ $$? = 3 ] || exit 1; missing="$$missing a static program;"; }; \
	fi; \
	echo "$$made" | tr ' ' '\n'; [ -z "$$missing" ] || echo "NOT MADE, see above:$$missing" >&2

lint: build-deps cargo-lints deny ## formatting, lints, links of documentation comments, dependencies
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items

# Without the advisories, which change by themselves: a commit passes today and tomorrow.
deny: cargo ## which crates we use, their licences and where they come from, by .deny.toml
	@$(TOOLS) deny
	target/tools/bin/cargo-deny --locked check --hide-inclusion-graph \
	    -D unmatched-skip -D unnecessary-skip bans licenses sources

fmt: cargo cargo-lints ## format the sources
	$(CARGO) fmt

tools: programs cargo ## etcd, etcdctl, etcdutl, consul, envoy and gRPC's own clients into target/tools/bin
	@$(TOOLS) clients

programs:
	@$(TOOLS) fetch

build-deps: cargo ## protoc and a C compiler (installed on Debian as root; else it says what to install)
	@$(TOOLS) build-deps

cargo:
	@command -v $(CARGO) >/dev/null || { \
	    echo "make: $(CARGO) is missing. Install Rust 1.90 or newer with rustup (on Debian 13 and later:" >&2; \
	    echo "make: apt-get install rustup && rustup default stable), put cargo on the PATH or set CARGO." >&2; \
	    exit 1; }

cargo-lints: cargo
	@$(CARGO) fmt --version >/dev/null 2>&1 && $(CARGO) clippy --version >/dev/null 2>&1 || { \
	    echo "make: rustfmt or clippy is missing: rustup component add rustfmt clippy" >&2; \
	    exit 1; }

clean-tools: ## remove target/tools
	rm -rf target/tools

clean: cargo ## remove all of target
	$(CARGO) clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20
