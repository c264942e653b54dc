#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Clones this repository to a new directory and runs the README's two commands there with empty Go caches and an empty home,
# so that nothing left on the machine hides a missing step. Go's own settings, such as a module proxy, are kept.
set -eu
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
git clone -q . "$dir/cell"
GOENV=$(go env GOENV)
export GOENV HOME="$dir/home" GOMODCACHE="$dir/modules" GOCACHE="$dir/build"
unset XDG_STATE_HOME XDG_CACHE_HOME XDG_CONFIG_HOME GOFLAGS
mkdir "$HOME"
cd "$dir/cell"
make demo
bin/cell host down
make test
test -z "$(git status --porcelain)" || { echo "the commands have changed the clone:" >&2; git status --short >&2; exit 1; }
