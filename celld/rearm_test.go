package celld

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/cell-network/cell/celld/store"
	"github.com/cell-network/cell/celld/systemd"
	"github.com/cell-network/cell/celld/unit"
	"github.com/cell-network/cell/internal/host/hosttest"
)

func TestMain(m *testing.M) { hosttest.Main(m) }

// A socket that systemd gave up is opened again. Cells' own sockets have no limit that could be hit, so this one gets the
// limit that systemd has by default, and a program that ends at once.
func TestRearm(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds, which -short leaves out")
	}
	h, state, ctx := hosttest.Up(t)
	bus, err := h.Dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	conn, err := systemd.New(ctx, bus)
	if err != nil {
		t.Fatal(err)
	}
	wanted, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Systemd: conn, Store: wanted, SocketDir: "/run/cell", LinkDir: "/run/cell", Log: slog.New(slog.DiscardHandler)}

	dir := filepath.Join(t.TempDir(), "quits")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cell.toml"), []byte("[cell]\nexec = [\"/bin/true\"]\nspeaks = \"tcp\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := wanted.Update(func(r map[string]store.Root) { r["quits"] = store.Root{Dir: dir} }); err != nil {
		t.Fatal(err)
	}
	f, err := s.load(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	p := f.pairs["quits"]
	limited := p
	limited.Socket = nil
	for _, pr := range p.Socket {
		if pr.Name == "TriggerLimitIntervalUSec" {
			pr.Value = dbus.MakeVariant(uint64(2_000_000))
		}
		limited.Socket = append(limited.Socket, pr)
	}
	limited.Socket = append(limited.Socket, unit.Property{Name: "TriggerLimitBurst", Value: dbus.MakeVariant(uint32(2))})
	if err := (release{dir}).prepare("quits", "/run/cell"); err != nil {
		t.Fatal(err)
	}
	if err := s.openPair(ctx, limited); err != nil {
		t.Fatal(err)
	}
	caller, err := net.Dial("unix", filepath.Join(state, "cell/sockets/quits.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer caller.Close()
	for failed := false; !failed; {
		select {
		case e := <-conn.Events:
			failed = e.Unit == "cell@quits.socket" && e.Active == "failed"
		case <-ctx.Done():
			t.Fatal("the socket did not fail")
		}
	}
	caller.Close() // or the new socket would see a caller for whom its program ends at once, too
	s.rearm(ctx, "quits")
	for {
		if v, err := conn.One(ctx, "cell@quits.socket", "Unit", "ActiveState"); err == nil && v == "active" {
			break
		}
		if ctx.Err() != nil {
			t.Fatal("the socket was not opened again")
		}
		time.Sleep(50 * time.Millisecond)
	}
	if v, err := conn.One(ctx, "cell@quits.socket", "Socket", "TriggerLimitIntervalUSec"); err != nil || v != uint64(0) {
		t.Errorf("the new socket has a limit of %v, %v", v, err)
	}
}
