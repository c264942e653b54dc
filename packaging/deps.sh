#!/bin/sh
# Installs the distribution's packages that building, running and testing need, as root on Debian; otherwise names them.
set -eu
missing=
command -v dbus-daemon >/dev/null || missing="$missing dbus"
[ -e /usr/lib/systemd/user/dbus.socket ] || missing="$missing dbus-user-session"
[ -x /lib/systemd/systemd ] || missing="$missing systemd"
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
