#!/bin/sh
# Unpacks the sources of a Debian package: debian_source.sh FOLDER PACKAGE VERSION RELEASE...
#
# Leaves FOLDER/tree, of the newest version that begins with VERSION in the first of the Debian releases that has one. The
# package lists and archives it fetches stay in FOLDER too: a source list of its own names the mirror that the machine's
# apt uses, so that a machine of any Debian release gets the same sources and its own lists stay as they are.
set -eu

fail() {
    echo "debian_source.sh: $*" >&2
    exit 1
}

[ $# -ge 4 ] || fail "usage: debian_source.sh FOLDER PACKAGE VERSION RELEASE..."
mkdir -p "$1"
folder=$(cd "$1" && pwd)
package=$2
wanted=$3
shift 3
[ ! -d "$folder/tree" ] || exit 0
command -v apt-get >/dev/null || fail "apt-get is needed, as on Debian"
command -v dpkg-source >/dev/null || fail "dpkg-source is needed (Debian's dpkg-dev)"

# The first address of a Debian archive that the machine's own lists name, in either of their two forms.
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2>/dev/null |
    sed -n -e 's/^URIs:[[:space:]]*//p' -e 's/^deb[[:space:]]\{1,\}\(\[[^]]*\][[:space:]]*\)\{0,1\}\([^[:space:]]*\).*/\2/p' |
    tr ' ' '\n' | sed -n 's,/*$,,; /\/debian$/p' | head -n 1)
[ -n "$mirror" ] || fail "no Debian mirror in /etc/apt"

apt="$folder/apt"
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/sources"
for release in "$@"; do
    printf 'Types: deb-src\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' "$mirror" "$release" \
        /usr/share/keyrings/debian-archive-keyring.gpg >"$apt/sources/source.sources"
    with="-o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=$apt/sources -o Dir::State::Lists=$apt/lists
        -o Dir::Cache=$apt/cache -o APT::Sandbox::User=$(id -un)"
    # shellcheck disable=SC2086 # The options are words.
    apt-get $with -qq update || continue
    # shellcheck disable=SC2086
    version=$(apt-cache $with showsrc --only-source "$package" | sed -n 's/^Version: //p' |
        grep -E "^([0-9]+:)?$(echo "$wanted" | sed 's/\./\\./g')" | sort -V | tail -n 1)
    [ -n "$version" ] || continue
    rm -rf "$folder/unpacking"
    mkdir "$folder/unpacking"
    cd "$folder/unpacking"
    # shellcheck disable=SC2086
    apt-get $with -qq --download-only source "$package=$version"
    dpkg-source --no-check -x "$package"_*.dsc tree >/dev/null
    # Under its own name at last, so that what is there is whole.
    mv tree "$folder/tree"
    rm -rf "$folder/unpacking"
    echo "debian_source.sh: the sources of Debian's $package $version are in $folder/tree"
    exit 0
done
fail "no sources of $package $wanted* in $* of $mirror"
