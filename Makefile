# What a fresh machine needs beside the Rust toolchain, a C compiler and apt is
# installed by the targets themselves. See CONTRIBUTING.md.

CARGO ?= cargo
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
RELEASE := target/release

.PHONY: run demo build check test reliability fuzz bench fmt lint unit need-build need-test need-llama need-bench clean

## run: build, then the quickstart plan on an embedded cluster against the embedded simulator
run: build
	$(RELEASE)/squall run examples/quickstart.yaml --simulate

## demo: a controller process and three agent processes in three regions, one plan, one result
demo: build
	deploy/demo

## build: the release binaries
build: need-build
	$(CARGO) build --release --locked -p squall-controller -p squall-agent --bins

## check: the inner loop: format, lints as errors, unit tests
check: lint unit

fmt:
	$(CARGO) fmt --all

lint: need-build
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

unit: need-build
	$(CARGO) test --workspace --exclude squall-tests --locked

## test: everything that must pass before a change lands
test: need-build need-test need-llama lint
	# All targets at once: the same features as the tests, so nothing is built twice.
	$(CARGO) build --workspace --all-targets --locked
	$(CARGO) test --workspace --locked

## reliability: every fault on a real cluster, and the table of docs/reliability.md from what was seen
reliability: need-build need-test
	$(CARGO) build --workspace --bins --locked
	SQUALL_RELIABILITY_PAGE=$(CURDIR)/docs/reliability.md $(CARGO) test -p squall-tests --test faults --locked

## fuzz: libFuzzer on every decoder, a minute each (SECONDS_EACH, or fuzz/guided TARGET); make test replays the corpus
fuzz: need-build
	@command -v c++ >/dev/null || $(SUDO) deploy/install-packages g++
	fuzz/guided

## bench: side by side with peers in one run, ratios as a table
bench: need-build need-bench
	bench/run

need-build:
	@command -v protoc >/dev/null && [ -e /usr/include/google/protobuf/descriptor.proto ] || \
		$(SUDO) deploy/install-packages protobuf-compiler libprotobuf-dev

need-test:
	@[ -x /usr/sbin/nginx ] && command -v openssl >/dev/null && command -v etcd >/dev/null && \
		command -v ip >/dev/null || $(SUDO) deploy/install-packages nginx-light openssl etcd-server iproute2

# llama.cpp's server, which models are called of in tests: compiled once, some minutes.
need-llama:
	@python3 -c 'import ensurepip' 2>/dev/null && command -v cmake >/dev/null && command -v ninja >/dev/null && \
		command -v c++ >/dev/null || $(SUDO) deploy/install-packages python3 python3-venv cmake ninja-build g++
	@deploy/llama-server/install

# oha comes as source; wrk2 and hey are measured too where they are on the PATH.
need-bench: need-test
	@command -v wrk >/dev/null && command -v taskset >/dev/null || $(SUDO) deploy/install-packages wrk util-linux
	@[ -x target/bench-tools/python/bin/python ] || bench/peers/install
	@[ -x target/bench-tools/bin/oha ] || command -v oha >/dev/null || \
		$(CARGO) install oha --locked --root target/bench-tools

clean:
	$(CARGO) clean
