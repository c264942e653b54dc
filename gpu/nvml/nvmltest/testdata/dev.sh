#!/bin/sh
# Runs a command with a /dev of its own, which has the files of a driver for two devices.
set -e
mkdir dev
mount -t tmpfs -o mode=755 tmpfs dev
for d in null zero full random urandom tty; do
	touch dev/$d
	mount --bind /dev/$d dev/$d
done
mkdir dev/pts dev/shm
mount --bind /dev/pts dev/pts
mount --bind /dev/shm dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr
for d in nvidia0 nvidia1 nvidiactl nvidia-uvm; do mknod -m 666 dev/$d c 1 3; done
mount --move dev /dev
exec "$@"
