package systemd

import (
	"context"
	"errors"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/cell-network/cell/celld/unit"
	"github.com/cell-network/cell/internal/host/hosttest"
)

func TestMain(m *testing.M) { hosttest.Main(m) }

// connect brings up a manager of the test's own.
func connect(t *testing.T) (*Conn, context.Context) {
	t.Helper()
	h, _, ctx := hosttest.Up(t)
	bus, err := h.Dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(ctx, bus)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bus.Close() })
	return c, ctx
}

type command struct {
	Path   string
	Args   []string
	Ignore bool
}

func pair(name string, argv ...string) unit.Pair {
	prop := func(name string, value any) unit.Property {
		return unit.Property{Name: name, Value: dbus.MakeVariant(value)}
	}
	return unit.Pair{
		Name:    name,
		Socket:  []unit.Property{prop("Listen", []struct{ Type, Address string }{{"Stream", "/run/cell/" + name + ".sock"}})},
		Service: []unit.Property{prop("ExecStart", []command{{argv[0], argv, false}}), prop("Type", "exec")},
	}
}

// An older systemd does not know every property: the pair runs without it, and that is told.
func TestUnknownPropertyIsLeftOut(t *testing.T) {
	c, ctx := connect(t)
	p := pair("old", "/bin/sleep", "1000")
	p.Service = append(p.Service, unit.Property{Name: "OfALaterSystemd", Value: dbus.MakeVariant(true)})
	told := ""
	c.OnUnknown = func(property string) { told += property }
	if err := c.Open(ctx, p); err != nil {
		t.Fatal(err)
	}
	if told != "OfALaterSystemd" || !c.Unknown("OfALaterSystemd") || c.Unknown("ExecStart") {
		t.Errorf("told of %q", told)
	}
	if err := c.Start(ctx, unit.ServiceUnit("old")); err != nil {
		t.Fatal(err)
	}
	all, err := c.List(ctx)
	if err != nil || all["old"] == nil || all["old"].Trigger != "active" || all["old"].Service != "active" {
		t.Errorf("%+v, %v", all["old"], err)
	}
}

// A job's failure is an error that names the unit, and a second pair of one name is refused as loaded.
func TestJobs(t *testing.T) {
	c, ctx := connect(t)
	if err := c.Open(ctx, pair("absent", "/no/such/program")); err != nil {
		t.Fatal(err)
	}
	var job *JobError
	if err := c.Start(ctx, unit.ServiceUnit("absent")); !errors.As(err, &job) || job.Unit != "cell@absent.service" || job.Result != "failed" {
		t.Errorf("start: %v", err)
	}
	if err := c.Open(ctx, pair("absent", "/bin/true")); !IsLoaded(err) {
		t.Errorf("a second pair: %v", err)
	}
	if err := c.Stop(ctx, "cell@never-was.service"); err != nil {
		t.Errorf("stop what is not there: %v", err)
	}
	if got := c.Listens(ctx, unit.SocketUnit("absent")); len(got) != 1 || got[0] != "/run/cell/absent.sock" {
		t.Errorf("listens on %v", got)
	}
	select {
	case e := <-c.Events:
		if e.Name != "absent" {
			t.Errorf("event of %q", e.Name)
		}
	case <-ctx.Done():
		t.Error("no event")
	}
}

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"cell@shop.web:2.service": "cell_40shop_2eweb_3a2_2eservice", `cell-a\x2db.slice`: "cell_2da_5cx2db_2eslice", "1a": "_31a",
	} {
		if got := escape(in); got != want || unescape(got) != in {
			t.Errorf("escape(%q) = %q, back %q", in, got, unescape(got))
		}
	}
}
