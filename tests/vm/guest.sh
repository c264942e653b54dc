#!/bin/sh
# Runs in the guest, as root under the machine's manager. Each result is a line "RESULT name: text"; the test reads them
# from the console.
export PATH=/usr/local/bin:/usr/bin:/bin HOME=/root
say() { echo "RESULT $*" >/dev/ttyS0; }
get() { curl -s --max-time 60 --unix-socket /srv/$1/run/cell.sock "http://cell/$2"; }
cgroup() { echo /sys/fs/cgroup$(systemctl show -p ControlGroup --value "$1"); }
pid() { systemctl show -p MainPID --value "cell@$1.service"; }

for name in hungry neighbour; do
	mkdir -p /srv/$name/bin
	cp /opt/misfit /srv/$name/bin/
	printf '[cell]\nexec = ["bin/misfit", "serve"]\nspeaks = "http"\n[resources]\nmemory = "64MB"\ntasks = 40\ncpu = 0.5\nstorage = "10MB"\nio = { read = "5MB" }\n' >/srv/$name/cell.toml
	cell mitosis /srv/$name
done
say manager: $(cell host)
say explain: $(cell explain hungry | grep -E '^  (memory|cpu|tasks|io read|storage) ' | tr -s ' ' | tr '\n' ';')
say memory.max: $(cat $(cgroup cell@hungry.service)/memory.max) $(cat $(cgroup cell-hungry.slice)/memory.max)
say pids.max: $(cat $(cgroup cell@hungry.service)/pids.max)
say cpu.max: $(cat $(cgroup cell@hungry.service)/cpu.max)
say io.max: $(cat $(cgroup cell@hungry.service)/io.max)

# Over its memory: this cell ends and comes back, nothing else does.
neighbour=$(pid neighbour) hungry=$(pid hungry) celld=$(systemctl show -p MainPID --value celld)
get hungry 'eat?mb=200' >/dev/null
for i in $(seq 50); do
	cell status hungry | grep -q restarted && break
	sleep 0.2
done
say oom status: $(cell status hungry | grep note)
say oom answers: $(get hungry '' | cut -d' ' -f1-3)
[ "$(pid neighbour)" = "$neighbour" ] && [ "$(systemctl show -p MainPID --value celld)" = "$celld" ] && [ "$(pid hungry)" != "$hungry" ] && say oom others: untouched

# Limits change in place.
before=$(pid neighbour)
sed -i 's/64MB/96MB/; s/tasks = 40/tasks = 50/' /srv/neighbour/cell.toml
cell mitosis /srv/neighbour
say changed: $(cat $(cgroup cell@neighbour.service)/memory.max) $(cat $(cgroup cell@neighbour.service)/pids.max) $([ "$(pid neighbour)" = "$before" ] && echo same process)

# Tasks and storage.
say tasks: $(get neighbour 'fork?n=100')
say storage: $(get neighbour 'fill?path=data/big&mb=30')
say storage outside: $(dd if=/dev/zero of=/srv/big bs=1M count=30 2>&1 | grep -c copied)
# Processor time: half of a core, so it is held back.
get neighbour 'spin?for=3s' >/dev/null
say throttled: $(sed -n 's/^nr_throttled //p' $(cgroup cell@neighbour.service)/cpu.stat)
say end
systemctl poweroff
