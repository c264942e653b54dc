#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The main job on real input: a cell is built and started, called, and its unit shown.
set -eu
cd "$(dirname "$0")/.."
run() { printf '\n$ %s\n' "$*"; "$@"; }
cell=bin/cell
run $cell host || true
run $cell mitosis examples/calculator
run $cell use calculator add 3 4
run $cell status calculator
run $cell systemctl --no-pager status cell@calculator.service
