#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs Cell below DESTDIR and PREFIX. As root and without DESTDIR the running systemd and bus take it up at once.
set -eu
cd "$(dirname "$0")/.."
DESTDIR=${DESTDIR:-} PREFIX=${PREFIX:-/usr/local} BUILT=${BUILT:-bin}
for program in cell celld cellnetd cell-gpu cell-donor cell-init cell-membrane cell-inside cell-http; do
	[ -x "$BUILT/$program" ] || { echo "$BUILT/$program is not built: run make first" >&2; exit 1; }
done

# dbus-daemon reads policies from /etc and /usr/share alone, polkit its actions and rules from /usr/share alone.
dbus_policy=/etc/dbus-1/system.d
[ "$PREFIX" = /usr ] && dbus_policy=/usr/share/dbus-1/system.d
polkit=/usr/share/polkit-1/actions
units=$PREFIX/lib/systemd/system

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
for program in cell celld cellnetd cell-gpu cell-donor cell-init cell-membrane cell-inside cell-http; do
	cp "$BUILT/$program" "$DESTDIR$PREFIX/bin/$program.new"
	chmod 755 "$DESTDIR$PREFIX/bin/$program.new"
	mv -f "$DESTDIR$PREFIX/bin/$program.new" "$DESTDIR$PREFIX/bin/$program"
done

# Enabled once: who disables it later keeps that over an upgrade. A package does that itself (ENABLE=no).
wants=/etc/systemd/system/multi-user.target.wants
for daemon in celld cellnetd; do
	first=${ENABLE:-yes}
	[ -e "$DESTDIR$units/$daemon.service" ] && first=no
	put "units/system/$daemon.service" "$units/$daemon.service"
	[ "$first" = yes ] || continue
	mkdir -p "$DESTDIR$wants"
	ln -sf "$units/$daemon.service" "$DESTDIR$wants/$daemon.service"
done
put units/system/cell.sysusers "$PREFIX/lib/sysusers.d/cell.conf"
put units/system/cell-gpu.service "$units/cell-gpu.service" # started by the bus alone, where there is something for it
for name in network.cell.Manager1 network.cell.Net1 network.cell.Gpu1; do
	put "units/system/$name.service" "$PREFIX/share/dbus-1/system-services/$name.service"
	put "units/system/$name.conf" "$dbus_policy/$name.conf"
done
put units/system/network.cell.policy "$polkit/network.cell.policy"
put units/system/cell.rules /usr/share/polkit-1/rules.d/cell.rules
put units/user/celld.service "$PREFIX/lib/systemd/user/celld.service"
put units/user/cell-gpu.service "$PREFIX/lib/systemd/user/cell-gpu.service"
for name in network.cell.Manager1 network.cell.Gpu1; do
	put "units/user/$name.service" "$PREFIX/share/dbus-1/services/$name.service"
done

[ -z "$DESTDIR" ] && [ "$(id -u)" = 0 ] && [ -d /run/systemd/system ] || exit 0
systemd-sysusers cell.conf # before the bus reads policies with the user's name
systemctl daemon-reload
busctl --quiet call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus ReloadConfig
# A celld that runs is replaced; cells go on running. On the first installation it starts so that it answers at once.
if systemctl is-enabled --quiet celld.service; then
	systemctl restart celld.service
else
	systemctl try-restart celld.service
fi
systemctl try-restart cellnetd.service cell-gpu.service
