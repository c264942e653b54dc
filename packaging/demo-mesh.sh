#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Two machines on this one: each is a network namespace with a manager of its own. One joins the other and calls its cell. Everything
# is gone at the end.
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "make demo-mesh needs root: it makes network namespaces" >&2; exit 1; }
dir=$(mktemp -d)
a=cell$$-a b=cell$$-b
on() { # on MACHINE COMMAND…
	machine=$1; shift
	nsenter --net=/run/netns/cell$$-"$machine" env XDG_STATE_HOME="$dir/$machine" CELL_MANAGER=embedded "$@"
}
end() {
	for machine in a b; do on $machine bin/cell host down >"$dir/end" 2>&1 || true; done
	ip netns del $a || true
	ip netns del $b || true
	rm -rf "$dir"
}
trap end EXIT
trap 'exit 1' INT TERM
ip netns add $a
ip netns add $b
ip -n $a link add eth0 type veth peer name eth0 netns $b
ip -n $a addr add 198.18.0.1/24 dev eth0
ip -n $b addr add 198.18.0.2/24 dev eth0
for space in $a $b; do
	ip -n $space link set lo up
	ip -n $space link set eth0 up
done
run() { printf '\n%s$ %s\n' "$1" "$(shift; echo "$*" | sed 's|bin/cell|cell|' | cut -c 1-100)"; on "$@"; }
run a bin/cell tissue create home --node a
token=$(on a bin/cell invite)
printf '\na$ cell invite\n%s\n' "$token"
run b bin/cell join "$token" --node b
run a bin/cell mitosis examples/calculator
sleep 1
run b bin/cell nodes
run b bin/cell use calculator add 3 4
run b bin/cell use calculator add 9223372036854775807 1 || true
run b bin/cell net status
