#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs the distribution's packages that building, running and testing need, as root on Debian; otherwise names them.
# With the word check also those without which some tests skip, with vm those of the tests in a virtual machine, with bench
# the rivals that are measured.
set -eu
missing= wanted=
command -v dbus-daemon >/dev/null || missing="$missing dbus"
[ -e /usr/lib/systemd/user/dbus.socket ] || missing="$missing dbus-user-session"
[ -x /lib/systemd/systemd ] || missing="$missing systemd"
command -v ip >/dev/null || missing="$missing iproute2"
command -v curl >/dev/null || missing="$missing curl"
[ -x /usr/bin/python3 ] || missing="$missing python3"
# The tests of the mesh put machines behind NATs.
command -v nft >/dev/null || wanted="$wanted nftables"
# The tests under a machine's own manager boot a container (tests/nspawn); without these they say so and skip.
command -v systemd-nspawn >/dev/null || wanted="$wanted systemd-container"
[ -x /usr/lib/polkit-1/polkitd ] || wanted="$wanted polkitd"
[ -e /usr/share/doc/libpam-systemd ] || wanted="$wanted libpam-systemd"
# The tests of the packages install them in a root of each release, and ask the distributions' own checkers.
command -v mmdebstrap >/dev/null || wanted="$wanted mmdebstrap"
command -v lintian >/dev/null || wanted="$wanted lintian"
command -v rpm >/dev/null || wanted="$wanted rpm"
command -v rpmlint >/dev/null || wanted="$wanted rpmlint"
command -v groff >/dev/null || wanted="$wanted groff"
case ${1:-} in
check)
	command -v chromium >/dev/null || missing="$missing chromium"
	;;
vm)
	command -v qemu-system-x86_64 >/dev/null || missing="$missing qemu-system-x86"
	command -v qemu-img >/dev/null || missing="$missing qemu-utils"
	command -v mmdebstrap >/dev/null || missing="$missing mmdebstrap"
	# The donor's image is made and booted by firmware.
	command -v mksquashfs >/dev/null || wanted="$wanted squashfs-tools"
	[ -e /usr/share/OVMF/OVMF_CODE_4M.fd ] || wanted="$wanted ovmf"
	command -v mcopy >/dev/null || wanted="$wanted mtools"
	command -v sbsign >/dev/null || wanted="$wanted sbsigntool"
	command -v swtpm >/dev/null || wanted="$wanted swtpm"
	# Programs that run as cells. They are daemons, which start when they are installed on a machine that runs systemd: not for all.
	command -v nginx >/dev/null || wanted="$wanted nginx-light"
	command -v psql >/dev/null || wanted="$wanted postgresql"
	command -v memcached >/dev/null || wanted="$wanted memcached"
	command -v redis-server >/dev/null || wanted="$wanted redis-server"
	command -v mariadbd >/dev/null || wanted="$wanted mariadb-server"
	command -v gunicorn >/dev/null || wanted="$wanted gunicorn"
	command -v node >/dev/null || wanted="$wanted nodejs"
	command -v php >/dev/null || wanted="$wanted php-cli"
	command -v ruby >/dev/null || wanted="$wanted ruby"
	command -v haproxy >/dev/null || wanted="$wanted haproxy"
	command -v javac >/dev/null || wanted="$wanted default-jdk-headless"
	command -v unbound >/dev/null || wanted="$wanted unbound"
	command -v prometheus >/dev/null || wanted="$wanted prometheus"
	;;
bench)
	command -v podman >/dev/null || wanted="$wanted podman"
	command -v runc >/dev/null || wanted="$wanted runc"
	;;
esac
[ -n "$missing$wanted" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	[ -z "$wanted" ] || echo "for all of it, install:$wanted" >&2
	[ -n "$missing" ] || exit 0
	echo "please install:$missing" >&2
	exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq || [ -z "$missing" ]
# shellcheck disable=SC2086
[ -z "$missing" ] || apt-get install -y -qq $missing >/dev/null
# shellcheck disable=SC2086
[ -z "$wanted" ] || apt-get install -y -qq $wanted >/dev/null || echo "not installed:$wanted" >&2
