#!/bin/sh
# Builds the Redis that the differential test compares with from Debian's source package: build_peer.sh FOLDER.
#
# Leaves FOLDER/redis-server, beside the sources.
set -eu

fail() {
    echo "build_peer.sh: $*" >&2
    exit 1
}

[ $# = 1 ] || fail "usage: build_peer.sh FOLDER"
[ ! -x "$1/redis-server" ] || exit 0
# Debian releases to look in, and the version wanted: the newest of these sources that begins with it.
# shellcheck disable=SC2086 # The releases are words.
"$(dirname "$0")/../common/debian_source.sh" "$1" redis "${PEER_VERSION:-8.0.}" ${PEER_RELEASES:-sid forky trixie} ||
    fail "no sources of Redis 8.0: build it yourself and set GYRE_PEER"
folder=$(cd "$1" && pwd)
echo "build_peer.sh: building Redis, some minutes"
# A build that was broken off takes the libraries that it did not come to for built.
make -C "$folder/tree/src" distclean >"$folder/build.log" 2>&1 || true
make -C "$folder/tree/src" redis-server -j"$(nproc)" MALLOC=jemalloc BUILD_TLS=no USE_SYSTEMD=no >"$folder/build.log" 2>&1 ||
    fail "the build failed: $folder/build.log"
# Under its own name at last, so that what is there is whole.
cp "$folder/tree/src/redis-server" "$folder/redis-server.new"
mv "$folder/redis-server.new" "$folder/redis-server"
