#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs Cell below DESTDIR and PREFIX. As root and without DESTDIR the running systemd and bus take it up at once.
set -eu
cd "$(dirname "$0")/.."
DESTDIR=${DESTDIR:-} PREFIX=${PREFIX:-/usr/local} BUILT=${BUILT:-bin}
for program in cell celld cell-http; do
	[ -x "$BUILT/$program" ] || { echo "$BUILT/$program is not built: run make first" >&2; exit 1; }
done

# dbus-daemon reads policies from /etc and /usr/share alone, polkit its actions from /usr/share alone.
dbus_policy=/etc/dbus-1/system.d
[ "$PREFIX" = /usr ] && dbus_policy=/usr/share/dbus-1/system.d
polkit=/usr/share/polkit-1/actions
unit=$PREFIX/lib/systemd/system/celld.service

fill() { sed -e "s|@BINDIR@|$PREFIX/bin|g" -e "s|@STATEDIR@|%h/.local/state/cell|g" "$1"; }
# put FILE DESTINATION: replaced by rename, so that nobody reads half a file and no running program is written to.
put() {
	dir=$(dirname "$DESTDIR$2")
	mkdir -p "$dir"
	fill "$1" >"$DESTDIR$2.new"
	chmod 644 "$DESTDIR$2.new"
	mv -f "$DESTDIR$2.new" "$DESTDIR$2"
}
mkdir -p "$DESTDIR$PREFIX/bin"
for program in cell celld cell-http; do
	cp "$BUILT/$program" "$DESTDIR$PREFIX/bin/$program.new"
	chmod 755 "$DESTDIR$PREFIX/bin/$program.new"
	mv -f "$DESTDIR$PREFIX/bin/$program.new" "$DESTDIR$PREFIX/bin/$program"
done

# Enabled once: who disables it later keeps that over an upgrade. A package does that itself (ENABLE=no).
first=${ENABLE:-yes}
[ -e "$DESTDIR$unit" ] && first=no
put units/system/celld.service "$unit"
put units/system/network.cell.Manager1.service "$PREFIX/share/dbus-1/system-services/network.cell.Manager1.service"
put units/system/network.cell.Manager1.conf "$dbus_policy/network.cell.Manager1.conf"
put units/system/network.cell.policy "$polkit/network.cell.policy"
put units/user/celld.service "$PREFIX/lib/systemd/user/celld.service"
put units/user/network.cell.Manager1.service "$PREFIX/share/dbus-1/services/network.cell.Manager1.service"
if [ "$first" = yes ]; then
	wants=/etc/systemd/system/multi-user.target.wants
	mkdir -p "$DESTDIR$wants"
	ln -sf "$unit" "$DESTDIR$wants/celld.service"
fi

[ -z "$DESTDIR" ] && [ "$(id -u)" = 0 ] && [ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
busctl --quiet call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus ReloadConfig
# A celld that runs is replaced; cells go on running. On the first installation it starts so that it answers at once.
if systemctl is-enabled --quiet celld.service; then
	systemctl restart celld.service
else
	systemctl try-restart celld.service
fi
