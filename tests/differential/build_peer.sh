#!/bin/sh
# Builds the Redis that the differential test compares with from Debian's source package: build_peer.sh FOLDER.
#
# Leaves FOLDER/redis-server. The package lists and sources it fetches stay in FOLDER too: a source list of its own names
# the mirror that the machine's apt uses, so that a machine of any Debian release gets the same sources and its own
# lists stay as they are.
set -eu

PACKAGE=redis
# Debian releases to look in, and the version wanted: the newest of these sources that begins with it.
RELEASES="${PEER_RELEASES:-sid forky}"
WANTED="${PEER_VERSION:-8.0.}"

fail() {
    echo "build_peer.sh: $*" >&2
    exit 1
}

[ $# = 1 ] || fail "usage: build_peer.sh FOLDER"
mkdir -p "$1"
folder=$(cd "$1" && pwd)
[ ! -x "$folder/redis-server" ] || exit 0
command -v apt-get >/dev/null || fail "apt-get is needed, as on Debian; or build Redis 8.0.6 yourself and set GYRE_PEER"

# The first address of a Debian archive that the machine's own lists name, in either of their two forms.
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2>/dev/null |
    sed -n -e 's/^URIs:[[:space:]]*//p' -e 's/^deb[[:space:]]\{1,\}\(\[[^]]*\][[:space:]]*\)\{0,1\}\([^[:space:]]*\).*/\2/p' |
    tr ' ' '\n' | sed -n 's,/*$,,; /\/debian$/p' | head -n 1)
[ -n "$mirror" ] || fail "no Debian mirror in /etc/apt: build Redis 8.0.6 yourself and set GYRE_PEER"

apt="$folder/apt"
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/sources"
for release in $RELEASES; do
    printf 'Types: deb-src\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' "$mirror" "$release" \
        /usr/share/keyrings/debian-archive-keyring.gpg >"$apt/sources/peer.sources"
    with="-o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=$apt/sources -o Dir::State::Lists=$apt/lists
        -o Dir::Cache=$apt/cache -o APT::Sandbox::User=$(id -un)"
    # shellcheck disable=SC2086 # The options are words.
    apt-get $with -qq update || continue
    # shellcheck disable=SC2086
    version=$(apt-cache $with showsrc --only-source $PACKAGE | sed -n 's/^Version: //p' |
        grep -E "^([0-9]+:)?$(echo "$WANTED" | sed 's/\./\\./g')" | sort -V | tail -n 1)
    [ -n "$version" ] || continue
    rm -rf "$folder/build"
    mkdir "$folder/build"
    cd "$folder/build"
    # shellcheck disable=SC2086
    apt-get $with -qq --download-only source "$PACKAGE=$version"
    dpkg-source --no-check -x "$PACKAGE"_*.dsc tree >/dev/null
    echo "build_peer.sh: building Redis of Debian's $PACKAGE $version, some minutes"
    make -C tree -j"$(nproc)" MALLOC=jemalloc BUILD_TLS=no USE_SYSTEMD=no >build.log 2>&1 ||
        fail "the build failed: $folder/build/build.log"
    # Under its own name at last, so that what is there is whole.
    cp tree/src/redis-server "$folder/redis-server.new"
    mv "$folder/redis-server.new" "$folder/redis-server"
    exit 0
done
fail "no $PACKAGE $WANTED* in $RELEASES of $mirror: build Redis 8.0.6 yourself and set GYRE_PEER"
