package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cell-network/cell/sdk/wire"
)

// upgrade replaces a typed cell under a constant load of calls, and measures the longest that any caller waited.
func (b *bed) upgrade() error {
	dir, err := b.write("calculator", "[cell]\nbuild = \"cp "+b.path("calculator")+" bin/calculator\"\n")
	if err != nil {
		return err
	}
	if _, err := b.cell("mitosis", dir); err != nil {
		return err
	}
	socket := filepath.Join(dir, "run/cell.sock")
	var calls, lost, longest atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() { load(socket, stop, &calls, &lost, &longest) })
	}
	time.Sleep(500 * time.Millisecond)
	longest.Store(0)
	const upgrades = 5
	for i := range upgrades {
		if err := os.WriteFile(filepath.Join(dir, "touched"), []byte(strconv.Itoa(i)), 0o644); err != nil {
			return err
		}
		if _, err := b.cell("mitosis", dir); err != nil {
			return err
		}
	}
	close(stop)
	wg.Wait()
	begin, ready, err := b.started("cell@calculator.service")
	if err != nil {
		return err
	}
	line(fmt.Sprintf("upgrade under load: failed of %d calls, %d upgrades", calls.Load(), upgrades), strconv.FormatInt(lost.Load(), 10), "0")
	line("upgrade under load: longest pause / the program's own start", ratio(time.Duration(longest.Load()), ready-begin), "")
	return nil
}

func load(socket string, stop chan struct{}, calls, lost, longest *atomic.Int64) {
	request := wire.AppendInt(wire.AppendInt(nil, 1, 3), 2, 4)
	var conn *wire.Conn
	for {
		select {
		case <-stop:
			return
		default:
		}
		begin := time.Now()
		for {
			if conn == nil {
				nc, err := net.Dial("unix", socket)
				if err != nil {
					lost.Add(1)
					break
				}
				conn = wire.NewConn(nc)
			}
			_, err := conn.Call(background(), 1, request)
			var again *wire.NotSent
			if errors.As(err, &again) {
				conn.Close()
				conn = nil
				continue
			}
			if err != nil {
				lost.Add(1)
			}
			break
		}
		calls.Add(1)
		for took := time.Since(begin).Nanoseconds(); ; {
			if old := longest.Load(); took <= old || longest.CompareAndSwap(old, took) {
				break
			}
		}
		time.Sleep(time.Millisecond)
	}
}

// started reads when systemd began to start a service and when it was ready, since boot.
func (b *bed) started(unit string) (begin, ready time.Duration, err error) {
	out, err := b.host.Command(background(), "systemctl", "show", "-p", "InactiveExitTimestampMonotonic,ActiveEnterTimestampMonotonic", unit).Output()
	if err != nil {
		return 0, 0, err
	}
	for l := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSpace(l), "=")
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return 0, 0, err
		}
		if strings.HasPrefix(key, "Inactive") {
			begin = time.Duration(n) * time.Microsecond
		} else {
			ready = time.Duration(n) * time.Microsecond
		}
	}
	return begin, ready, nil
}

// tree makes a root with n leaves that need no build.
func (b *bed) tree(name string, n int) (string, error) {
	toml := "[cell]\nexec = [\"/bin/sleep\", \"100000\"]\nspeaks = \"tcp\"\n"
	root := toml + "[cells]\n"
	for i := range n - 1 {
		leaf := fmt.Sprintf("leaf%d", i)
		root += leaf + " = {}\n"
		if _, err := b.write(filepath.Join(name, leaf), toml); err != nil {
			return "", err
		}
	}
	return b.write(name, root)
}

// unchanged measures what cell mitosis costs when there is nothing to do.
func (b *bed) unchanged() error {
	dir, err := b.tree("wood", 200)
	if err != nil {
		return err
	}
	if _, err := b.cell("mitosis", "--asleep", dir); err != nil {
		return err
	}
	pid, err := b.pid("celld.service")
	if err != nil {
		return err
	}
	before := usage(pid)
	state, err := b.cell("mitosis", "--asleep", dir)
	if err != nil {
		return err
	}
	own := state.UserTime() + state.SystemTime()
	line("tree of 200, unchanged: processor time of cell + celld", fmt.Sprintf("%s + %s", ms(own), ms(usage(pid)-before)), "≤ 1000 ms")
	_, err = b.cell("apoptosis", "wood")
	return err
}

// sleepers measures a thousand sleeping cells.
func (b *bed) sleepers() error {
	dir, err := b.tree("forest", 1000)
	if err != nil {
		return err
	}
	celld, err := b.pid("celld.service")
	if err != nil {
		return err
	}
	manager, err := b.manager()
	if err != nil {
		return err
	}
	rss := resident(manager)
	begin := time.Now()
	if _, err := b.cell("mitosis", "--asleep", dir); err != nil {
		return err
	}
	took := time.Since(begin)
	line("1000 sleeping cells: time to create, each", ms(took/1000), "")
	line("1000 sleeping cells: memory of celld", fmt.Sprintf("%d MB", resident(celld)>>20), "< 64 MB")
	line("1000 sleeping cells: growth of systemd, each", fmt.Sprintf("%d kB", (resident(manager)-rss)/1000>>10), "")
	time.Sleep(8 * time.Second) // Go gives memory back in the background
	cpu, switches := usage(celld), wakeups(celld)
	time.Sleep(10 * time.Second)
	line("1000 sleeping cells: celld in 10 idle seconds, time and wake-ups", fmt.Sprintf("%s, %d", ms(usage(celld)-cpu), wakeups(celld)-switches), "0")
	_, err = b.cell("apoptosis", "forest")
	return err
}
