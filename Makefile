# gyre: what there is to do. Every target does its own set-up.

CARGO ?= cargo
PORT ?= 6379
SEEDS ?= 10000
FUZZ_INPUTS ?= 10000000
CRASHES ?= 210
PREFIX ?= /usr/local
# The workshop's tools beside this repository: Redis's own test suite, and the side-by-side benchmark.
SHARED ?= ../shared
CONFORMANCE ?= unit/type integration/aof integration/aof-multi-part integration/convert-ziplist-hash-on-load \
	integration/convert-ziplist-zset-on-load integration/convert-zipmap-hash-on-load \
	integration/corrupt-dump integration/corrupt-dump-fuzzer integration/dismiss-mem integration/logging \
	integration/rdb integration/redis-benchmark unit/aofrw unit/auth unit/bitfield unit/bitops \
	unit/client-eviction unit/dump unit/expire unit/functions unit/geo unit/hyperloglog unit/info \
	unit/info-command unit/info-keysizes unit/introspection unit/introspection-2 unit/keyspace \
	unit/latency-monitor unit/lazyfree unit/limits unit/maxmemory unit/memefficiency unit/multi \
	unit/networking unit/obuf-limits unit/oom-score-adj unit/other unit/pause unit/protocol unit/pubsub \
	unit/querybuf unit/quit unit/replybufsize unit/scan unit/scripting unit/shutdown unit/slowlog unit/sort \
	unit/tracking unit/violations integration/redis-cli
HOST_TARGET = $(shell rustc -vV | sed -n 's/^host: //p')
DIFF_COMMANDS ?= 1000000
PEER = target/peer/redis-server

.PHONY: run build test bench lint conformance install docs fuzz differential peer simulate crash asan valgrind setup setup-tools clean

## Build and start the server on PORT.
run: build
	target/release/gyre --port $(PORT)

build: setup
	$(CARGO) build --release

## Unit, property and whole-server tests.
test: setup setup-tools
	$(CARGO) test

## fmt and clippy, as CI wants them.
lint: setup
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings

## Speed and memory beside redis-server, all in one run.
bench: build setup-tools
	@command -v redis-server >/dev/null || { echo "bench: redis-server is not installed (apt-get install redis-server)"; exit 1; }
	python3 $(SHARED)/bench/bench.py gyre=target/release/gyre redis=$$(command -v redis-server)
	python3 $(SHARED)/bench/bench.py gyre=target/release/gyre redis=$$(command -v redis-server) --suite mem

## Redis 8.0.6's own test suite: the files of CONFORMANCE, all but those of replication, ACL, TLS and clusters.
conformance: build setup-tools
	python3 $(SHARED)/conformance/run.py --server target/release/gyre $(CONFORMANCE)

install: build
	install -D -m 755 target/release/gyre $(DESTDIR)$(PREFIX)/bin/gyre

## Write the generated parts of docs/ anew.
docs: setup
	GYRE_WRITE_DOCS=1 $(CARGO) test --test docs
	$(CARGO) doc --no-deps

## Random and mutated inputs through parser and dispatch, and payloads through RESTORE.
fuzz: setup
	GYRE_FUZZ_INPUTS=$(FUZZ_INPUTS) $(CARGO) test --release --test fuzz -- --nocapture
	PROPTEST_CASES=$$(($(FUZZ_INPUTS) / 10)) $(CARGO) test --release --lib payloads

## Random commands of every type to gyre and to Redis 8.0, side by side: DIFF_COMMANDS of them. GYRE_PEER names another
## redis-server 8.0 than that of `make peer`.
differential: setup $(if $(GYRE_PEER),,peer)
	GYRE_PEER=$(or $(GYRE_PEER),$(CURDIR)/$(PEER)) GYRE_DIFF_COMMANDS=$(DIFF_COMMANDS) GYRE_DIFF_FAILURES=20 \
		$(CARGO) test --release --test differential -- --nocapture

## Redis 8.0 from Debian's source package, for comparisons.
peer: $(PEER)

$(PEER):
	@command -v dpkg-source >/dev/null && command -v c++ >/dev/null || \
		$(MAKE) --no-print-directory apt PACKAGES="dpkg-dev build-essential"
	tests/differential/build_peer.sh $(@D)

## Whole servers on simulated sockets and clocks: SEEDS of them.
simulate: setup
	SEEDS=$(SEEDS) $(CARGO) test --release --test simulation -- --nocapture

## The rooms with unsafe code, and the whole server, under AddressSanitizer. Packed pointers hide memory from the
## leak checker (the tests count their own drops), so it is off.
asan: setup
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address ASAN_OPTIONS=detect_leaks=0 CARGO_TARGET_DIR=target/asan \
		$(CARGO) test --target $(HOST_TARGET) --features sanitizer --lib --tests

## Kill servers -9 in the middle of their work, CRASHES times in all, and look at what they kept.
crash: setup
	CRASHES=$(CRASHES) $(CARGO) test --release --test crash -- --nocapture

## A short server run under valgrind.
valgrind: setup setup-tools
	$(CARGO) test --release --test valgrind -- --ignored --nocapture

## A Rust toolchain cannot be installed from here; a C compiler (for jemalloc) can.
setup:
	@command -v $(CARGO) >/dev/null || { echo "gyre needs a Rust toolchain of 1.88 or later: https://rustup.rs"; exit 1; }
	@command -v cc >/dev/null || $(MAKE) --no-print-directory apt PACKAGES="gcc libc6-dev make"

setup-tools:
	@command -v redis-cli >/dev/null && command -v redis-benchmark >/dev/null || $(MAKE) --no-print-directory apt PACKAGES=redis-tools

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
