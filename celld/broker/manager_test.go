package broker_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/internal/host"
	"github.com/cell-network/cell/internal/host/hosttest"
	"github.com/cell-network/cell/sdk/api"
	"github.com/cell-network/cell/sdk/broker"
	"github.com/cell-network/cell/sdk/stats"
)

func TestMain(m *testing.M) { hosttest.Main(m) }

// bed is a manager of its own with a celld and cells that ask it.
type bed struct {
	t      *testing.T
	h      *host.Host
	ctx    context.Context
	state  string
	dir    string // with the trees
	asker  string
	manage api.Manager
}

func build(t *testing.T, dir, pkg string) string {
	t.Helper()
	out := filepath.Join(dir, filepath.Base(pkg))
	c := exec.Command("go", "build", "-o", out, pkg)
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return out
}

// newBed starts a manager with the trees shop, which needs users, and users.
func newBed(t *testing.T) *bed {
	t.Helper()
	bin := t.TempDir()
	b := &bed{t: t, state: t.TempDir(), dir: t.TempDir()}
	celld := build(t, bin, "github.com/cell-network/cell/cmd/celld")
	build(t, bin, "github.com/cell-network/cell/cmd/cell-membrane")
	b.asker = build(t, bin, "./testdata/asker")
	t.Setenv("XDG_STATE_HOME", b.state)
	t.Setenv("XDG_RUNTIME_DIR", "")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	b.ctx = ctx
	h, err := host.Ensure(ctx, host.Embedded, celld)
	var lacks *host.Error
	if errors.As(err, &lacks) && os.Getenv("CELL_TEST_REQUIRE") == "" {
		t.Skip(lacks)
	}
	if err != nil {
		t.Fatal(err)
	}
	b.h = h
	t.Cleanup(func() {
		if err := h.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	bus, err := h.Dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bus.Close() })
	b.manage = api.Manager{Conn: bus}
	b.cell("users", "")
	b.cell("other", "")
	b.cell("shop", "[cells]\nweb = {}\nwork = { replicas = 3 }\n[needs]\nstore = { path = \"../users\" }")
	b.cell("shop/web", "[cells]\nauth = {}")
	b.cell("shop/web/auth", "")
	b.cell("shop/work", "")
	for _, root := range []string{"users", "other", "shop"} {
		steps, err := b.manage.Apply(ctx, filepath.Join(b.dir, root), false)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range steps {
			if s.Error != "" {
				t.Fatal(s.Cell, s.Error)
			}
		}
	}
	return b
}

func (b *bed) cell(path, more string) {
	b.t.Helper()
	dir := filepath.Join(b.dir, path)
	text := "[cell]\nexec = [\"./asker\"]\nspeaks = \"tcp\"\n" + more + "\n"
	program, err := os.ReadFile(b.asker)
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "asker"), program, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "cell.toml"), []byte(text), 0o644)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) socket(name string) string { return filepath.Join(b.state, "cell/sockets", name+".sock") }

// tell sends a line to a cell from outside, past celld, and returns the answer.
func (b *bed) tell(cell, line string) string {
	b.t.Helper()
	c, err := net.Dial("unix", b.socket(cell))
	if err != nil {
		b.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	in := bufio.NewReader(c)
	if who, err := in.ReadString('\n'); err != nil || who != cell+"\n" {
		b.t.Fatalf("%s says it is %q, %v", cell, who, err)
	}
	fmt.Fprintln(c, line)
	answer, err := in.ReadString('\n')
	if err != nil {
		b.t.Errorf("%s, told %q: %v", cell, line, err)
	}
	return strings.TrimSuffix(answer, "\n")
}

func (b *bed) systemctl(args ...string) {
	b.t.Helper()
	if out, err := b.h.Command(b.ctx, "systemctl", args...).CombinedOutput(); err != nil {
		b.t.Fatalf("systemctl %v: %v\n%s", args, err, out)
	}
}

// dial connects to celld's socket as a program outside of every cell.
func (b *bed) dial() *net.UnixConn {
	b.t.Helper()
	c, err := net.Dial("unixpacket", filepath.Join(b.state, "cell/sockets/broker/celld.sock"))
	if err != nil {
		b.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return c.(*net.UnixConn)
}

func TestBroker(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds, which -short leaves out")
	}
	b := newBed(t)

	t.Run("what a cell reaches", func(t *testing.T) {
		deny := func(self, target, dir string) string {
			return fmt.Sprintf("denied: %s does not name %q in [needs] or [cells] of %s", self, target, filepath.Join(b.dir, dir, "cell.toml"))
		}
		for _, tt := range []struct{ from, target, want string }{
			{"shop", "store", "ok users users"},
			{"shop", "users", "ok users users"}, // the full name of what a line of [needs] means
			{"shop", "web", "ok shop.web shop.web"},
			{"shop", "shop.web", "ok shop.web shop.web"},
			{"shop", "shop.web.auth", "ok shop.web.auth shop.web.auth"}, // below it
			{"shop", "auth", deny("shop", "auth", "shop")},
			{"shop", "other", deny("shop", "other", "shop")},
			{"shop", "shop", deny("shop", "shop", "shop")},
			{"shop", "../other", deny("shop", "../other", "shop")},
			{"shop", "shop.", deny("shop", "shop.", "shop")},
			{"shop", "", deny("shop", "", "shop")},
			{"shop.web", "auth", "ok shop.web.auth shop.web.auth"},
			{"shop.web", "store", deny("shop.web", "store", "shop/web")},
			{"shop.web", "users", deny("shop.web", "users", "shop/web")},
			{"shop.web", "shop", deny("shop.web", "shop", "shop/web")},
			{"shop.work:2", "web", deny("shop.work", "web", "shop/work")},
		} {
			if got := b.tell(tt.from, tt.target); got != tt.want {
				t.Errorf("%s asks for %q: %s, want %s", tt.from, tt.target, got, tt.want)
			}
		}
	})

	t.Run("the sandbox stays closed", func(t *testing.T) {
		if got := b.tell("shop", "network"); got != "1" {
			t.Errorf("the cell sees %s networks, not only its own", got)
		}
		if got := b.tell("shop", "socket"); got != "[/run/cell/broker/celld.sock]" {
			t.Errorf("the cell asks at %s", got)
		}
		// Another cell's socket is not there, though celld's is.
		pid := b.pid("shop")
		all, err := os.ReadDir(fmt.Sprintf("/proc/%d/root/run/cell", pid))
		if err != nil || len(all) != 1 || all[0].Name() != "broker" {
			t.Errorf("%v %v", all, err)
		}
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/root/run/cell/broker/x", pid), nil, 0o600); err == nil {
			t.Error("the broker's directory can be written to")
		}
	})

	t.Run("outside", func(t *testing.T) {
		c := exec.Command(b.asker, "shop.web", "shop.nobody", "nobody", "")
		c.Env = []string{"XDG_STATE_HOME=" + b.state}
		out, err := c.Output()
		lines := strings.Split(string(out), "\n")
		if err != nil || len(lines) != 5 || lines[0] != "ok shop.web shop.web" || lines[2] != `not found: no cell "nobody" is known here` ||
			!strings.HasPrefix(lines[1], "not ") || !strings.HasPrefix(lines[3], "not found") {
			t.Errorf("%v %q", err, lines)
		}
	})

	t.Run("another user", func(t *testing.T) {
		if err := os.Chmod(filepath.Dir(b.state), 0o755); err != nil { // the directory of the test is closed to him, too
			t.Fatal(err)
		}
		c := exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", b.asker, "shop")
		c.Env = []string{"CELL_BROKER=" + filepath.Join(b.state, "cell/sockets/broker/celld.sock")}
		begin := time.Now()
		out, _ := c.Output()
		if !strings.Contains(string(out), "permission denied") || time.Since(begin) > 5*time.Second {
			t.Errorf("after %v: %s", time.Since(begin), out)
		}
	})

	t.Run("who passes for a cell", func(t *testing.T) {
		// In a namespace of processes of its own, where any id can be had.
		pid := b.pid("shop")
		ask := b.h.Command(b.ctx, "unshare", "--pid", "--fork", "--kill-child", b.asker, "store")
		ask.Env = append(os.Environ(), "CELL_BROKER="+filepath.Join(b.state, "cell/sockets/broker/celld.sock"))
		if out, err := ask.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), `not found: no cell "store" is known here`) {
			t.Errorf("%v %s", err, out)
		}
		// With the cell's id and user, which root may send as his own.
		c := b.dial()
		defer c.Close()
		forged := unix.UnixCredentials(&unix.Ucred{Pid: int32(pid)})
		if _, _, err := c.WriteMsgUnix((&broker.Request{Op: broker.OpConnect, Target: "store"}).Append(nil), forged, nil); err != nil {
			t.Fatal(err)
		}
		data := make([]byte, broker.MaxPacket)
		n, err := c.Read(data)
		if a, perr := broker.ParseAnswer(data[:n]); err != nil || perr != nil || a.Code != broker.NotFound {
			t.Errorf("%+v %v %v", a, err, perr)
		}
	})

	t.Run("a sleeper wakes", func(t *testing.T) {
		b.systemctl("stop", "cell@users.service")
		if got := b.tell("shop", "store"); got != "ok users users" {
			t.Error(got)
		}
	})

	t.Run("replicas take turns", func(t *testing.T) {
		seen := map[string]int{}
		for range 6 {
			got := b.tell("shop", "work")
			name, greeting, _ := strings.Cut(strings.TrimPrefix(got, "ok "), " ")
			if name != greeting {
				t.Errorf("%s greets as %s", name, greeting)
			}
			seen[name]++
		}
		if len(seen) != 3 || seen["shop.work"] != 2 || seen["shop.work:2"] != 2 || seen["shop.work:3"] != 2 {
			t.Error(seen)
		}
		b.systemctl("stop", "cell@shop.work:2.socket", "cell@shop.work:2.service")
		for range 6 {
			if got := b.tell("shop", "work"); !slices.Contains([]string{"ok shop.work shop.work", "ok shop.work:3 shop.work:3"}, got) {
				t.Error(got)
			}
		}
	})

	t.Run("replicas that are wanted later", func(t *testing.T) {
		t.Setenv("CELL_BROKER", filepath.Join(b.state, "cell/sockets/broker/celld.sock"))
		if err := broker.Do(b.ctx, broker.Request{Op: broker.OpReplicate, Target: "shop.work", Number: 5}); err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for range 5 {
			seen[b.tell("shop", "work")] = true
		}
		if len(seen) != 5 || !seen["ok shop.work:5 shop.work:5"] {
			t.Error(seen)
		}
	})

	t.Run("celld is away", func(t *testing.T) {
		pid := b.pid("celld.service")
		b.systemctl("kill", "-s", "KILL", "celld.service")
		if got := b.tell("shop", "store"); got != "ok users users" {
			t.Error(got)
		}
		if now := b.pid("celld.service"); now == pid {
			t.Error("celld was not killed")
		}
	})

	t.Run("a table of calls from who is no cell", func(t *testing.T) {
		t.Setenv("CELL_BROKER", filepath.Join(b.state, "cell/sockets/broker/celld.sock"))
		table, err := stats.New([]string{"Add"})
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := errors.AsType[*broker.Error](broker.Measure(b.ctx, table.File())); !ok || e.Code != broker.Invalid {
			t.Errorf("it was answered %v", e)
		}
		// Descriptors that nobody asked for are closed, and the request is answered as it is without.
		before := b.open("celld.service")
		for range 20 {
			c := b.dial()
			r := broker.Request{Op: broker.OpStop, Target: "nobody", Sequence: 3}
			if _, _, err := c.WriteMsgUnix(r.Append(nil), unix.UnixRights(int(table.File().Fd()), int(table.File().Fd())), nil); err != nil {
				t.Fatal(err)
			}
			answer := make([]byte, broker.MaxPacket)
			n, err := c.Read(answer)
			if a, perr := broker.ParseAnswer(answer[:n]); err != nil || perr != nil || a.Code != broker.NotFound || a.Sequence != 3 {
				t.Fatalf("%+v %v %v", a, err, perr)
			}
			c.Close()
		}
		if after := b.open("celld.service"); after > before+5 {
			t.Errorf("celld had %d descriptors open, and now %d", before, after)
		}
	})

	t.Run("damaged requests", func(t *testing.T) {
		for _, packet := range [][]byte{{0xff}, {0x12, 200, 1}, make([]byte, broker.MaxPacket+1), (&broker.Request{Op: 99, Sequence: 5}).Append(nil)} {
			c := b.dial()
			if _, err := c.Write(packet); err != nil {
				t.Fatal(err)
			}
			answer := make([]byte, broker.MaxPacket)
			n, err := c.Read(answer)
			if err != nil && !errors.Is(err, io.EOF) {
				t.Errorf("%.8x: %v", packet, err)
			}
			if a, perr := broker.ParseAnswer(answer[:n]); n > 0 && (perr != nil || a.Code != broker.Invalid) {
				t.Errorf("%.8x: %+v %v", packet, a, perr)
			}
			c.Close()
		}
		if got := b.tell("shop", "store"); got != "ok users users" {
			t.Error(got)
		}
	})

	t.Run("several requests on one connection", func(t *testing.T) {
		c := b.dial()
		defer c.Close()
		for i, target := range []string{"nobody", "shop.nobody", "nobody"} { // all are sent before any is read
			if _, err := c.Write((&broker.Request{Op: broker.OpConnect, Target: target, Sequence: uint64(i + 7)}).Append(nil)); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 3 {
			data := make([]byte, broker.MaxPacket)
			n, err := c.Read(data)
			a, perr := broker.ParseAnswer(data[:n])
			if err != nil || perr != nil || a.Sequence != uint64(i+7) || a.Code == broker.OK {
				t.Errorf("%+v %v %v", a, err, perr)
			}
		}
	})
}

// pid is the main process of a unit, as seen from here.
func (b *bed) pid(unit string) int {
	b.t.Helper()
	if !strings.HasSuffix(unit, ".service") {
		unit = "cell@" + unit + ".service"
	}
	out, err := b.h.Command(b.ctx, "systemctl", "show", "--value", "-p", "ControlGroup", unit).Output()
	group := strings.TrimSpace(string(out))
	if err != nil || group == "" {
		b.t.Fatal(unit, err)
	}
	all, _ := filepath.Glob("/proc/[0-9]*/cgroup")
	for _, p := range all {
		if data, err := os.ReadFile(p); err == nil && strings.HasSuffix(strings.TrimSpace(string(data)), group) && b.ours(p) {
			var pid int
			fmt.Sscanf(p, "/proc/%d/", &pid)
			return pid
		}
	}
	b.t.Fatalf("%s has no process", unit)
	return 0
}

// ours tells whether a process is in this test's manager's namespace of processes or, as a cell's program, in one below it.
func (b *bed) ours(cgroup string) bool {
	init, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", b.h.InitPID))
	if err != nil {
		return false
	}
	own, err := os.Open(filepath.Join(filepath.Dir(cgroup), "ns/pid"))
	if err != nil {
		return false
	}
	defer own.Close()
	if name, _ := os.Readlink(filepath.Join(filepath.Dir(cgroup), "ns/pid")); name == init {
		return true
	}
	const nsGetParent = 0xb702 // ioctl_nsfs(2)
	above, err := unix.IoctlRetInt(int(own.Fd()), nsGetParent)
	if err != nil {
		return false
	}
	defer unix.Close(above)
	name, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", above))
	return name == init
}

// open is how many descriptors a unit's process has.
func (b *bed) open(unit string) int {
	b.t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", b.pid(unit)))
	if err != nil {
		b.t.Fatal(err)
	}
	return len(all)
}
