# gyre: what there is to do. Every target does its own set-up.

CARGO ?= cargo
PORT ?= 6379
SEEDS ?= 10000
SERVERS_SEEDS ?= 1000
FUZZ_INPUTS ?= 10000000
CRASHES ?= 210
PREFIX ?= /usr/local
# Redis's own test suite: which one, its files or folders (none: all that gyre is held to), and how many at a time.
SUITE ?= 8.0.6
CONFORMANCE ?=
JOBS ?= 1
# What `make bench` compares, as NAME=PROGRAM; none: gyre and the Redis and Valkey servers that are there.
SERVERS ?=
HOST_TARGET = $(shell rustc -vV | sed -n 's/^host: //p')
DIFF_COMMANDS ?= 1000000
PEER_RUNS ?= 20
PEER_SECONDS ?= 10
PEER = target/peer/redis-server
COUNT_SKIPS = tests/common/count_skips.sh

.PHONY: run build test page bench lint conformance install docs fuzz differential replication peer simulate crash-simulation \
	replication-simulation crash asan valgrind \
	redis-8.0 prometheus-parser redis-py setup setup-tools setup-suite oracles apt clean

## Build and start the server on PORT.
run: build
	target/release/gyre --port $(PORT)

build: setup
	$(CARGO) build --release

## Unit, property and whole-server tests, some of them beside a Redis 8.0 and other programs that are installed or built for
## that. GYRE_SKIP_ORACLES=1 does without and passes over those tests; how many is the last line.
test: setup oracles
	$(COUNT_SKIPS) $(CARGO) test

## The live page in a real browser, which is large: GYRE_BROWSER names another Chromium than Debian's.
page: setup
	@command -v $(or $(GYRE_BROWSER),chromium) >/dev/null || $(MAKE) --no-print-directory apt PACKAGES=chromium
	GYRE_BROWSER=$(or $(GYRE_BROWSER),chromium) $(CARGO) test --test page

## fmt and clippy, as CI wants them.
lint: setup
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings

## Speed and memory beside other servers, all in one run.
bench: build setup-tools $(if $(SERVERS),,redis-8.0)
	tests/figures/bench.py $(SERVERS)
	tests/figures/bench.py $(SERVERS) --suite mem

## Redis's own test suite, all but the files on TLS and clusters, held to the list of what may fail.
conformance: build setup-suite
	python3 -m doctest tests/conformance/run.py
	tests/conformance/run.py --suite $(SUITE) --jobs $(JOBS) $(CONFORMANCE)

install: build
	install -D -m 755 target/release/gyre $(DESTDIR)$(PREFIX)/bin/gyre

## Write the generated parts of docs/ anew.
docs: setup
	GYRE_WRITE_DOCS=1 $(CARGO) test --test docs
	$(CARGO) doc --no-deps

## Random and mutated inputs through parser and dispatch, and payloads through RESTORE.
fuzz: setup
	GYRE_FUZZ_INPUTS=$(FUZZ_INPUTS) GYRE_FUZZ_RULES=$(FUZZ_INPUTS) $(CARGO) test --release --test fuzz -- --nocapture
	PROPTEST_CASES=$$(($(FUZZ_INPUTS) / 10)) $(CARGO) test --release --lib payloads

## Random commands of every type to gyre and to Redis 8.0, side by side: DIFF_COMMANDS of them. GYRE_PEER names another
## redis-server 8.0 than that of `make peer`.
differential: setup $(if $(GYRE_PEER),,peer)
	GYRE_PEER=$(or $(GYRE_PEER),$(CURDIR)/$(PEER)) GYRE_DIFF_COMMANDS=$(DIFF_COMMANDS) GYRE_DIFF_FAILURES=20 \
		$(CARGO) test --release --test differential -- --nocapture

## gyre and Redis as each other's replicas while the links between them break: PEER_RUNS of each chain, PEER_SECONDS each.
replication: setup $(if $(GYRE_PEER),,peer)
	GYRE_PEER=$(or $(GYRE_PEER),$(CURDIR)/$(PEER)) GYRE_PEERS_RUNS=$(PEER_RUNS) GYRE_PEERS_SECONDS=$(PEER_SECONDS) \
		$(CARGO) test --release --test replication_peers -- --nocapture

## Redis 8.0 from Debian's source package, for comparisons.
peer: $(PEER)

# The same, but where GYRE_PEER or the PATH has one.
redis-8.0:
	@[ -n "$(GYRE_PEER)" ] || redis-server --version 2>/dev/null | grep -q " v=8\.0\." || $(MAKE) --no-print-directory peer

$(PEER):
	@command -v dpkg-source >/dev/null && command -v c++ >/dev/null || \
		$(MAKE) --no-print-directory apt PACKAGES="dpkg-dev build-essential"
	tests/differential/build_peer.sh $(@D)

## Whole servers on simulated sockets, clocks and disks: SEEDS of them, and SERVERS_SEEDS of three in one network.
simulate: setup
	SEEDS=$(SEEDS) $(CARGO) test --release --test simulation -- --nocapture --skip three_servers --skip replicas_hold --skip users_may
	SEEDS=$(SERVERS_SEEDS) $(CARGO) test --release --test simulation -- --nocapture three_servers
	GYRE_ACL_STEPS=1000000 $(CARGO) test --release --test simulation -- --nocapture users_may

## Servers on a simulated disk that fails, and crashes between any two calls: SEEDS of them, in as many processes as the
## machine has cores.
crash-simulation: SEEDS = 100000
crash-simulation: setup
	$(CARGO) test --release --test simulation --no-run
	@count=$$(getconf _NPROCESSORS_ONLN); each=$$((($(SEEDS) + count - 1) / count)); at=0; failed=0; \
	while [ $$at -lt $$count ]; do \
		FIRST_SEED=$$((at * each + 1)) SEEDS=$$each $(CARGO) test --release --test simulation what_was_promised -- --nocapture & \
		running="$$running $$!"; at=$$((at + 1)); \
	done; \
	for one in $$running; do wait $$one || failed=1; done; exit $$failed

## Primaries and replicas in one simulated network, of which anything may fail, die or change its role: SEEDS of such trees, in
## as many processes as the machine has cores.
replication-simulation: SEEDS = 20000
replication-simulation: setup
	$(CARGO) test --release --test simulation --no-run
	@count=$$(getconf _NPROCESSORS_ONLN); each=$$((($(SEEDS) + count - 1) / count)); at=0; failed=0; \
	while [ $$at -lt $$count ]; do \
		FIRST_SEED=$$((at * each + 1)) SEEDS=$$each $(CARGO) test --release --test simulation replicas_hold -- --nocapture & \
		running="$$running $$!"; at=$$((at + 1)); \
	done; \
	for one in $$running; do wait $$one || failed=1; done; exit $$failed

## The modules with unsafe code, and the whole server, under AddressSanitizer. Packed pointers hide memory from the
## leak checker (the tests count their own drops), so it is off.
asan: setup oracles
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address ASAN_OPTIONS=detect_leaks=0 CARGO_TARGET_DIR=target/asan \
		$(COUNT_SKIPS) $(CARGO) test --target $(HOST_TARGET) --features sanitizer --lib --tests

## Kill servers -9 in the middle of their work, CRASHES times in all, and look at what they kept.
crash: setup
	CRASHES=$(CRASHES) $(CARGO) test --release --test crash -- --nocapture

## A short server run under valgrind.
valgrind: setup
	@command -v valgrind >/dev/null || $(MAKE) --no-print-directory apt PACKAGES=valgrind
	$(CARGO) test --release --test valgrind -- --ignored --nocapture

## A Rust toolchain cannot be installed from here; a C compiler (for jemalloc) can.
setup:
	@command -v $(CARGO) >/dev/null || { echo "gyre needs a Rust toolchain of 1.88 or later: https://rustup.rs"; exit 1; }
	@command -v cc >/dev/null || $(MAKE) --no-print-directory apt PACKAGES="gcc libc6-dev make"

setup-tools:
	@command -v redis-cli >/dev/null && command -v redis-benchmark >/dev/null || $(MAKE) --no-print-directory apt PACKAGES=redis-tools
	@command -v python3 >/dev/null || $(MAKE) --no-print-directory apt PACKAGES=python3

# What the test suite of Redis needs.
setup-suite:
	@command -v python3 >/dev/null && command -v tclsh >/dev/null && command -v dpkg-source >/dev/null && command -v c++ >/dev/null || \
		$(MAKE) --no-print-directory apt PACKAGES="python3 tcl dpkg-dev build-essential"

# The programs that say to tests what is right. What Python needs may be there for another one than the first.
oracles: $(if $(filter-out 0,$(GYRE_SKIP_ORACLES)),,setup-tools redis-8.0 prometheus-parser redis-py)

prometheus-parser:
	@python3 -c 'import prometheus_client' 2>/dev/null || /usr/bin/python3 -c 'import prometheus_client' 2>/dev/null || \
		$(MAKE) --no-print-directory apt PACKAGES=python3-prometheus-client

redis-py:
	@python3 -c 'import redis' 2>/dev/null || /usr/bin/python3 -c 'import redis' 2>/dev/null || \
		$(MAKE) --no-print-directory apt PACKAGES=python3-redis

apt:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q $(PACKAGES); \
	elif command -v sudo >/dev/null && command -v apt-get >/dev/null && sudo -n true 2>/dev/null; then \
		sudo apt-get update -q && sudo DEBIAN_FRONTEND=noninteractive apt-get install -y -q $(PACKAGES); \
	else \
		echo "Cannot install $(PACKAGES) here (neither root nor sudo, or no apt-get): please install it and try again."; exit 1; \
	fi

clean:
	$(CARGO) clean
