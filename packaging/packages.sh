#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes the packages: packages.sh [DIRECTORY [ARCHITECTURE…]], by default dist and amd64 arm64. The same commit makes the same bytes.
set -eu
cd "$(dirname "$0")/.."
out=${1:-dist}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- amd64 arm64
GO=${GO:-go}

# The time of the commit stands in every file, its place in the history makes versions grow.
CELL_DATE=$(TZ=UTC git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ)
CELL_VERSION=${CELL_VERSION:-0.1.0~dev.$(git rev-list --count HEAD)}
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) # nfpm takes it for the times of files
export CELL_DATE CELL_VERSION SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC
umask 022
rm -rf "$out"
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

build() { # ARCHITECTURE DIRECTORY
	GOOS=linux GOARCH=$1 CGO_ENABLED=0 $GO build -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X main.version=$CELL_VERSION" -o "$2/" ./cmd/...
	# NVIDIA's library is called through C; without a compiler for the architecture cell-gpu is built without, and says so when it is asked.
	case $1 in
	amd64) cc=x86_64-linux-gnu-gcc ;;
	arm64) cc=aarch64-linux-gnu-gcc ;;
	*) cc= ;;
	esac
	if ! command -v "$cc" >/dev/null; then
		echo "cell-gpu for $1 knows no device: $cc is not installed" >&2
		return
	fi
	# Bound lazily: what the library of a machine lacks must not keep the program from starting.
	GOOS=linux GOARCH=$1 CGO_ENABLED=1 CC=$cc CGO_CFLAGS='-O2 -Wno-deprecated-declarations' $GO build -trimpath -buildvcs=false \
		-ldflags "-s -w -buildid= -X main.version=$CELL_VERSION -extldflags '-Wl,--build-id=none -Wl,-z,lazy'" -o "$2/cell-gpu" ./cmd/cell-gpu
}

# What does not depend on the architecture.
native=$work/native share=$work/share
build "$($GO env GOHOSTARCH)" "$native"
mkdir -p "$share/usr/share/bash-completion/completions" "$share/usr/share/fish/vendor_completions.d" "$share/zsh" "$share/doc" "$share/usr/share/doc/cell"
"$native/cell" completion bash >"$share/usr/share/bash-completion/completions/cell"
"$native/cell" completion fish >"$share/usr/share/fish/vendor_completions.d/cell.fish"
"$native/cell" completion zsh >"$share/zsh/_cell"
mkdir -p "$share/usr/share/man/man1" "$share/usr/share/man/man5" "$share/usr/share/man/man8" "$work/man"
CELL_MAN_DIR=$work/man $GO test -count=1 -short ./cmd/cell -run '^TestManPages$' >/dev/null
for page in "$work"/man/*; do
	gzip -9n <"$page" >"$share/usr/share/man/man${page##*.}/$(basename "$page").gz"
done
# The modules that the SDK needs, in the form of a module proxy: a new cell builds where no network is.
GOMODCACHE=$work/modules GOFLAGS=-modcacherw XDG_CACHE_HOME=$work/cache "$native/cell" new "$work/probe" >/dev/null 2>&1
(cd "$work/modules/cache/download" && find . -path ./sumdb -prune -o -path './github.com/cell-network' -prune -o -type f \( -name '*.info' -o -name '*.mod' -o -name '*.zip' \) -print) |
	while read -r file; do
		install -D -m 644 "$work/modules/cache/download/$file" "$share/usr/share/cell/goproxy/$file"
	done
$GO run ./packaging/bom "$share/usr/share/doc/cell" "$CELL_VERSION" "$CELL_DATE" "$native/cell" "$native/celld" "$native/cellnetd" "$native/cell-gpu" "$native/cell-donor" "$native/cell-init" "$native/cell-membrane" "$native/cell-inside" "$native/cell-http"
cp README.md CONTRIBUTING.md "$share/usr/share/doc/cell/"
cp docs/*.md "$share/usr/share/doc/cell/"
gzip -9n <CHANGELOG.md >"$share/doc/changelog.gz"
printf 'cell (%s) unstable; urgency=medium\n\n  * See /usr/share/doc/cell/NEWS.md.gz for what changed.\n\n -- Cell maintainers <maintainers@cell.network>  %s\n' \
	"$CELL_VERSION" "$(git log -1 --format=%cd --date=format-local:'%a, %d %b %Y %H:%M:%S +0000')" | gzip -9n >"$share/doc/changelog.Debian.gz"
gzip -9n <CHANGELOG.md >"$share/usr/share/doc/cell/NEWS.md.gz"
cat >"$share/doc/copyright" <<'TEXT'
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: cell
Source: https://cell.network

Files: *
Copyright: 2026 the Cell authors
License: Apache-2.0
 On Debian systems the whole text of the Apache License 2.0 is in
 /usr/share/common-licenses/Apache-2.0.
Comment:
 The programs contain modules of other authors. Their licences are in
 /usr/share/doc/cell/licenses, and /usr/share/doc/cell/sbom.spdx.json lists them.
TEXT

for arch in "$@"; do
	stage=$work/$arch
	build "$arch" "$work/built-$arch"
	mkdir -p "$stage"
	cp -a "$share/." "$stage/"
	DESTDIR=$stage PREFIX=/usr BUILT=$work/built-$arch ENABLE=no packaging/install.sh
	for format in deb rpm; do
		CELL_ARCH=$arch CELL_STAGE=$stage $GO tool -modfile=packaging/nfpm.mod nfpm package --config nfpm.yaml --packager "$format" --target "$out/" >"$work/log" || { cat "$work/log" >&2; exit 1; }
	done
done
ls -l "$out"
