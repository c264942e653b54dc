#!/bin/sh
# Installs the distribution's packages that building, running and testing need, as root on Debian; otherwise names them.
# With the word vm also those of the tests in a virtual machine, with bench the rivals that are measured.
set -eu
missing=
command -v dbus-daemon >/dev/null || missing="$missing dbus"
[ -e /usr/lib/systemd/user/dbus.socket ] || missing="$missing dbus-user-session"
[ -x /lib/systemd/systemd ] || missing="$missing systemd"
# The tests under a machine's own manager boot a container (tests/nspawn).
command -v systemd-nspawn >/dev/null || missing="$missing systemd-container"
[ -x /usr/lib/polkit-1/polkitd ] || missing="$missing polkitd"
[ -e /usr/share/doc/libpam-systemd ] || missing="$missing libpam-systemd"
command -v curl >/dev/null || missing="$missing curl"
[ -x /usr/bin/python3 ] || missing="$missing python3"
if [ "${1:-}" = vm ]; then
	command -v qemu-system-x86_64 >/dev/null || missing="$missing qemu-system-x86"
	command -v debootstrap >/dev/null || missing="$missing debootstrap"
fi
if [ "${1:-}" = bench ]; then
	command -v podman >/dev/null || missing="$missing podman"
	command -v runc >/dev/null || missing="$missing runc"
fi
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	# shellcheck disable=SC2086
	apt-get install -y -qq $missing >/dev/null
else
	echo "please install:$missing" >&2
	exit 1
fi
