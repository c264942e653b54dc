package main

import (
	"encoding/csv"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// redisCell insists on a port of its own network.
const redisCell = `[cell]
speaks = "tcp"
port = 6379
exec = ["/usr/bin/redis-server", "--bind", "127.0.0.1", "--port", "6379", "--save", "", "--dir", "/tmp"]
`

// The load, of which the answers come as CSV. A program with many descriptors gets copies: they are not all looked at.
const (
	askRedis = "redis-benchmark -c 20 -n 60000 -t get --csv"
	many     = `import os, sys
for fd in range(100, 700): os.dup2(0, fd, inheritable=True)
os.execvp(sys.argv[1], sys.argv[1:])
`
	// One connection after the other, in microseconds.
	dials = `import json, os, socket, sys, time
for fd in range(100, 700 if len(sys.argv) > 3 else 100): os.dup2(0, fd)
at, t = (socket.gethostbyname(sys.argv[1]), int(sys.argv[2])), []
for _ in range(600):
    s = socket.socket()
    begun = time.perf_counter()
    s.connect(at)
    t.append(time.perf_counter() - begun)
    s.close()
print(sorted(t)[300] * 1e6)
`
)

// reach compares ways from one program to another that know nothing of each other: redis, which is asked by its own benchmark.
func (b *bed) reach() error {
	for _, p := range []string{"redis-server", "redis-benchmark", "haproxy", "/lib/systemd/systemd-socket-proxyd", "systemd-socket-activate"} {
		if _, err := exec.LookPath(p); err != nil {
			fmt.Printf("existing programs: not measured: %s is not installed\n", filepath.Base(p))
			return nil
		}
	}
	redis, err := b.write("redis", redisCell)
	if err != nil {
		return err
	}
	if _, err := b.cell("mitosis", redis); err != nil {
		return err
	}
	type way struct {
		name   string
		rate   func() (float64, error)
		dial   func() (float64, error)
		rates  []float64
		dialed []float64
	}
	ways := []*way{{name: "direct"}, {name: "handed over"}, {name: "copied"}, {name: "systemd-socket-proxyd"}, {name: "HAProxy"}, {name: "docker-proxy"}}
	// Of a redis in the same network, which the run starts and ends.
	beside := "redis-server --save '' --dir /tmp > /dev/null & sleep 0.5; %s; kill $!"
	for i, run := range []struct{ rate, dial string }{
		{fmt.Sprintf(beside, askRedis), fmt.Sprintf(beside, "python3 dials.py 127.0.0.1 6379")},
		{askRedis + " -h redis", "python3 dials.py redis 6379"},
		{"python3 many.py " + askRedis + " -h redis", "python3 dials.py redis 6379 many"},
	} {
		need := ""
		if i > 0 {
			need = "redis"
		}
		if ways[i].rate, err = b.job(fmt.Sprintf("rate%d", i), run.rate, need); err != nil {
			return err
		}
		if ways[i].dial, err = b.job(fmt.Sprintf("dial%d", i), run.dial, need); err != nil {
			return err
		}
	}
	stop, err := b.rivals(func(i, port int) {
		ways[3+i].rate = func() (float64, error) { return b.measure(askRedis + " -p " + strconv.Itoa(port)) }
		ways[3+i].dial = func() (float64, error) {
			return b.measure(fmt.Sprintf("python3 %s 127.0.0.1 %d", b.path("cells/dial0/dials.py"), port))
		}
	})
	defer stop()
	if err != nil {
		return err
	}
	if ways[len(ways)-1].rate == nil {
		fmt.Println("docker's userland-proxy: not measured: docker-proxy is not installed")
		ways = ways[:len(ways)-1]
	}
	for range 5 {
		for _, w := range ways {
			rate, err := w.rate()
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			took, err := w.dial()
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			w.rates, w.dialed = append(w.rates, rate), append(w.dialed, took)
		}
	}
	goals := map[string]string{"handed over": "≥ 0.97 ×", "copied": "no less than socket-proxyd's"}
	for _, w := range ways[1:] {
		line("redis, 20 clients: requests "+w.name+" / direct", fmt.Sprintf("%.2f ×", median(w.rates)/median(ways[0].rates)), goals[w.name])
	}
	for _, w := range ways {
		goal := ""
		if w.name == "handed over" {
			goal = "≤ 200 µs above direct"
		}
		line("redis: to connect, "+w.name, fmt.Sprintf("%.0f µs", median(w.dialed)), goal)
	}
	return nil
}

// job makes a cell that runs lines of a shell, and needs another one where that is named. What it returns runs it, and reads the number
// that they say.
func (b *bed) job(name, run, need string) (func() (float64, error), error) {
	toml := "[cell]\nspeaks = \"job\"\nexec = [\"/bin/sh\", \"run.sh\"]\n"
	if need != "" {
		toml += fmt.Sprintf("[needs]\n%s = { path = \"../%[1]s\" }\n", need)
	}
	dir, err := b.write(name, toml)
	for file, text := range map[string]string{"run.sh": "{ " + run + "; } > data/out\n", "many.py": many, "dials.py": dials} {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644)
		}
	}
	if err == nil {
		_, err = b.cell("mitosis", dir)
	}
	return func() (float64, error) {
		if _, err := b.cell("start", name); err != nil {
			return 0, err
		}
		text, err := os.ReadFile(filepath.Join(dir, "data/out"))
		if err != nil {
			return 0, err
		}
		return number(string(text))
	}, err
}

// PostgreSQL, and its own load on it. The number is that of transactions in a second.
const (
	besidePostgres = `bin=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)
[ -e /tmp/pg ] || "$bin/initdb" --pgdata=/tmp/pg --username=app --auth=trust --no-sync > /dev/null
"$bin/postgres" -D /tmp/pg -c listen_addresses=127.0.0.1 -c unix_socket_directories=/tmp > /tmp/log 2>&1 & postgres=$!
until pgbench -h 127.0.0.1 -U app -i -q postgres > /dev/null 2>&1; do sleep 0.2; done
pgbench -h 127.0.0.1 -U app -S -c 4 -T 4 postgres | sed -n 's/^tps = \([0-9.]*\).*/\1/p'
kill -INT $postgres; wait`
	askPostgres = `pgbench -h postgres -U app -i -q postgres > /dev/null 2>&1
pgbench -h postgres -U app -S -c 4 -T 4 postgres | sed -n 's/^tps = \([0-9.]*\).*/\1/p'`
)

// database compares a connection that is handed over with one inside of a network, by pgbench.
func (b *bed) database() error {
	if _, err := exec.LookPath("pgbench"); err != nil {
		fmt.Println("pgbench: not measured: postgresql is not installed")
		return nil
	}
	dir := b.path("cells", "postgres")
	if err := os.CopyFS(dir, os.DirFS("examples/programs/postgres")); err != nil {
		return err
	}
	if _, err := b.cell("mitosis", dir); err != nil {
		return err
	}
	direct, err := b.job("pgdirect", besidePostgres, "")
	if err != nil {
		return err
	}
	handed, err := b.job("pghanded", askPostgres, "postgres")
	if err != nil {
		return err
	}
	var ratios []float64
	for range 5 {
		d, err := direct()
		if err != nil {
			return err
		}
		h, err := handed()
		if err != nil {
			return err
		}
		ratios = append(ratios, h/d)
	}
	line("pgbench -S, 4 clients: transactions handed over / direct", fmt.Sprintf("%.2f ×", median(ratios)), "≥ 0.97 ×")
	return nil
}

// rivals runs a redis on the loopback interface behind each of systemd-socket-proxyd, HAProxy and docker's userland-proxy, where that is
// installed, and tells the ports.
func (b *bed) rivals(tell func(i, port int)) (stop func(), err error) {
	var running []*exec.Cmd
	stop = func() {
		for _, c := range running {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return stop, err
	}
	defer null.Close()
	start := func(words ...string) error {
		c := exec.Command(words[0], words[1:]...)
		c.ExtraFiles = []*os.File{null} // docker-proxy says there that it is ready, and without it ends
		running = append(running, c)
		return c.Start()
	}
	var ports [4]int
	for i := range ports {
		if ports[i], err = freePort(); err != nil {
			return stop, err
		}
	}
	config := b.path("haproxy.cfg")
	text := fmt.Sprintf("defaults\n\tmode tcp\n\ttimeout connect 5s\n\ttimeout client 1m\n\ttimeout server 1m\nlisten redis\n\tbind 127.0.0.1:%d\n\tserver redis 127.0.0.1:%d\n", ports[2], ports[0])
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return stop, err
	}
	at := func(i int) string { return "127.0.0.1:" + strconv.Itoa(ports[i]) }
	rivals := [][]string{
		{"redis-server", "--bind", "127.0.0.1", "--port", strconv.Itoa(ports[0]), "--save", "", "--dir", b.dir},
		{"systemd-socket-activate", "-l", at(1), "/lib/systemd/systemd-socket-proxyd", at(0)},
		{"haproxy", "-db", "-f", config},
		{"docker-proxy", "-proto", "tcp", "-host-ip", "127.0.0.1", "-host-port", strconv.Itoa(ports[3]), "-container-ip", "127.0.0.1", "-container-port", strconv.Itoa(ports[0])},
	}
	if _, err := exec.LookPath("docker-proxy"); err != nil {
		rivals = rivals[:3]
	}
	for _, words := range rivals {
		if err := start(words...); err != nil {
			return stop, err
		}
	}
	for i := range rivals {
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			c, err := net.Dial("tcp", at(i))
			if err == nil {
				c.Close()
				break
			}
			if time.Now().After(end) {
				return stop, err
			}
		}
	}
	for i, port := range ports[1:len(rivals)] {
		tell(i, port)
	}
	return stop, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (b *bed) measure(run string) (float64, error) {
	out, err := exec.Command("/bin/sh", "-c", run).Output()
	if err != nil {
		return 0, fmt.Errorf("%s: %w", run, err)
	}
	return number(string(out))
}

// number is the one that a run printed, or the rate in the last line of redis-benchmark's.
func number(text string) (float64, error) {
	records, err := csv.NewReader(strings.NewReader(strings.TrimSpace(text))).ReadAll()
	if err != nil || len(records) == 0 {
		return 0, fmt.Errorf("no figure in %q", text)
	}
	last := records[len(records)-1]
	return strconv.ParseFloat(last[min(1, len(last)-1)], 64)
}

func median(all []float64) float64 {
	s := slices.Sorted(slices.Values(all))
	return s[len(s)/2]
}
