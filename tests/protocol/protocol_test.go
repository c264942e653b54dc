package protocol

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cell-network/cell/celld"
	celldbroker "github.com/cell-network/cell/celld/broker"
	"github.com/cell-network/cell/celld/store"
	"github.com/cell-network/cell/examples/shop/audit/cells/users"
	"github.com/cell-network/cell/examples/shop/cells/audit"
	"github.com/cell-network/cell/examples/shop/cells/billing"
	"github.com/cell-network/cell/examples/shop/cells/catalog"
	"github.com/cell-network/cell/sdk"
	"github.com/cell-network/cell/sdk/broker"
	"github.com/cell-network/cell/sdk/genome"
	"github.com/cell-network/cell/sdk/wire"
)

// interpreter is where Python is, found once: what is in PATH may be a script that looks for it.
var interpreter = sync.OnceValues(func() (string, error) {
	const ask = "import sys; print(sys.executable); sys.exit(sys.version_info < (3, 11))"
	out, err := exec.Command("python3", "-c", ask).Output()
	if err != nil {
		return "", fmt.Errorf("python3, at least 3.11, is needed: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
})

// python skips where there is none, or fails under CELL_TEST_REQUIRE.
func python(t testing.TB) string {
	t.Helper()
	path, err := interpreter()
	switch {
	case err == nil:
	case os.Getenv("CELL_TEST_REQUIRE") == "all":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
	return path
}

// command is a program that ends with the test at the latest. Without bytecode nothing is left in this directory.
func command(t testing.TB, name string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	t.Cleanup(cancel)
	c := exec.CommandContext(ctx, name, args...)
	c.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	return c
}

// run runs Python to its end.
func run(t testing.TB, args ...string) (string, error) {
	t.Helper()
	out, err := command(t, python(t), args...).CombinedOutput()
	return string(out), err
}

func TestPythonReadsVectors(t *testing.T) {
	python(t)
	out, err := run(t, "check.py", "vectors.json")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Log(strings.TrimSpace(out))

	// What differs is found, in every section: one value or byte of each is changed.
	data := must[[]byte](t)(os.ReadFile("vectors.json"))
	var file map[string]json.RawMessage
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	failures := regexp.MustCompile(`checks, [12] failed\n$`)
	for section, change := range map[string][2]string{
		"hashes":          {`"wire":"`, `"wire":"0`},
		"messages":        {`"hex":"0801"`, `"hex":"0800"`},
		"reads":           {`"hex":"08020804"`, `"hex":"08020806"`},
		"refused":         {`"hex":"0a00"`, `"hex":"0800"`},
		"refused_values":  {`{"v":128}`, `{"v":127}`},
		"frames":          {`"attempt":2`, `"attempt":3`},
		"from_client":     {`"PONG 0"`, `"GOAWAY 0"`},
		"from_server":     {`"until":"CANCEL"`, `"until":"END"`},
		"packets":         {`"number":10`, `"number":11`},
		"packets_refused": {`"hex":"08"`, `"hex":"0800"`},
	} {
		changed := bytes.Replace(file[section], []byte(change[0]), []byte(change[1]), 1)
		if bytes.Equal(changed, file[section]) {
			t.Errorf("%s has no %s", section, change[0])
		}
		whole := map[string]json.RawMessage{section: changed}
		for name := range file {
			if name != section {
				whole[name] = json.RawMessage("[]")
			}
		}
		whole["genomes"] = file["genomes"]
		path := filepath.Join(t.TempDir(), "vectors.json")
		if err := os.WriteFile(path, must[[]byte](t)(json.Marshal(whole)), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := run(t, "check.py", path, "0.5"); err == nil || !failures.MatchString(out) {
			t.Errorf("%s with an error: %v\n%s", section, err, out)
		}
	}
}

// process is a program that serves on a socket, as systemd would start it.
type process struct {
	*exec.Cmd
	t      testing.TB
	path   string
	notify *net.UnixConn
	log    bytes.Buffer
}

func start(t testing.TB, program ...string) *process {
	t.Helper()
	p := &process{t: t, path: filepath.Join(dir(t), "s")}
	l := must[*net.UnixListener](t)(net.ListenUnix("unix", &net.UnixAddr{Name: p.path, Net: "unix"}))
	defer l.Close()
	l.SetUnlinkOnClose(false)
	f := must[*os.File](t)(l.File())
	defer f.Close()
	states := p.path + ".notify"
	p.notify = must[*net.UnixConn](t)(net.ListenUnixgram("unixgram", &net.UnixAddr{Name: states, Net: "unixgram"}))
	p.Cmd = command(t, "sh", append([]string{"-c", `LISTEN_PID=$$ exec "$@"`, "sh"}, program...)...)
	p.Env = append(p.Env, "LISTEN_FDS=1", "NOTIFY_SOCKET="+states, "CELL_STOP_WITHIN=5s")
	p.ExtraFiles = []*os.File{f}
	p.Stderr = &p.log
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Process.Kill()
		p.Wait()
		p.notify.Close()
	})
	p.says("READY=1")
	return p
}

func (p *process) says(want string) {
	p.t.Helper()
	b := make([]byte, 100)
	if err := p.notify.SetReadDeadline(time.Now().Add(patience)); err != nil {
		p.t.Fatal(err)
	}
	n, err := p.notify.Read(b)
	if err != nil || string(b[:n]) != want {
		p.t.Fatalf("%v says %q %v, want %q\n%s", p.Args, b[:n], err, want, &p.log)
	}
}

// stop ends the program as systemd would.
func (p *process) stop() {
	p.t.Helper()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Error(err)
	}
	p.says("STOPPING=1")
	if err := p.Wait(); err != nil {
		p.t.Errorf("%v: %v\n%s", p.Args, err, &p.log)
	}
}

// TestPythonCallsGo calls cells made with the SDK.
func TestPythonCallsGo(t *testing.T) {
	python(t)
	bin := dir(t)
	sources := map[string]string{
		"calculator": "../../examples/calculator", "catalog": "../../examples/shop/catalog", "users": "../../examples/shop/users",
		"audit": "../../examples/shop/audit",
	}
	build := command(t, "go", "build", "-o", bin+"/", sources["calculator"], sources["catalog"], sources["users"], sources["audit"])
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, source := range sources {
		t.Run(name, func(t *testing.T) {
			p := start(t, filepath.Join(bin, name))
			if out, err := run(t, "peer.py", "call", name, p.path, filepath.Join(source, genome.File)); err != nil || out != "ok\n" {
				t.Fatalf("%v\n%s\n%s", err, out, &p.log)
			}
			if name == "calculator" {
				askCelld(t, p.path, filepath.Join(source, genome.File))
			}
			p.stop()
		})
	}
}

// celldAt answers as celld does, and connects to sockets. It tells the wire hashes that were asked with.
func celldAt(t testing.TB, cells map[string]string) (hashes func(cell string) string) {
	t.Helper()
	path := filepath.Join(dir(t), "celld.sock")
	l := must[*net.UnixListener](t)(net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"}))
	var asked sync.Map
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				b := make([]byte, broker.MaxPacket)
				n, err := c.Read(b)
				if err != nil {
					return
				}
				r, err := broker.ParseRequest(b[:n])
				asked.Store(r.Target, r.Hash)
				a, rights := broker.Answer{Instance: r.Target, Sequence: r.Sequence}, []byte(nil)
				if to, ok := cells[r.Target]; err != nil || r.Op != broker.OpConnect || !ok {
					a = broker.Answer{Code: broker.NotFound, Message: "there is no cell " + r.Target, Sequence: r.Sequence}
				} else if nc, err := net.Dial("unix", to); err != nil {
					a.Code, a.Message = broker.NotReady, err.Error()
				} else {
					f, err := nc.(*net.UnixConn).File()
					nc.Close()
					if err != nil {
						t.Error(err)
						return
					}
					defer f.Close()
					rights = unix.UnixRights(int(f.Fd()))
				}
				if _, _, err := c.WriteMsgUnix(a.Append(nil), rights, nil); err != nil {
					t.Error(err)
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	os.Setenv("CELL_BROKER", path)
	t.Cleanup(func() { os.Unsetenv("CELL_BROKER") })
	return func(cell string) string {
		hash, _ := asked.Load(cell)
		text, _ := hash.(string)
		return text
	}
}

// askCelld has Python ask for a connection.
func askCelld(t *testing.T, path, file string) {
	hashes := celldAt(t, map[string]string{"calculator": path})
	if out, err := run(t, "peer.py", "call", "broker", "calculator", file); err != nil || out != "ok\n" {
		t.Errorf("%v\n%s", err, out)
	}
	if hash := hashes("calculator"); hash != genomes(t)["calculator"].WireHash() {
		t.Errorf("asked with the hash %q", hash)
	}
	if out, err := run(t, "peer.py", "call", "broker", "other", "refused"); err != nil || out != "1 there is no cell other\nok\n" {
		t.Errorf("%v\n%s", err, out)
	}

	// And celld itself, which has no cells.
	ctx, cancel := context.WithCancel(context.Background())
	at := dir(t)
	l := must[*net.UnixListener](t)(celldbroker.Listen(at, true))
	cells := &celld.Server{Store: must[*store.Store](t)(store.Open(dir(t))), Log: slog.New(slog.DiscardHandler)}
	ended := make(chan error, 1)
	go func() { ended <- (&celldbroker.Server{Cells: cells}).Serve(ctx, l) }()
	os.Setenv("CELL_BROKER", filepath.Join(at, "celld.sock"))
	out, err := run(t, "peer.py", "call", "broker", "nobody", "refused")
	if err != nil || !strings.HasPrefix(out, "1 ") || !strings.Contains(out, "nobody") {
		t.Errorf("%v\n%s", err, out)
	}
	nc := must[net.Conn](t)(net.Dial("unixpacket", filepath.Join(at, "celld.sock")))
	defer nc.Close()
	for _, packet := range [][]byte{(&broker.Request{Op: 99, Sequence: 7}).Append(nil), {0x08}} {
		must[int](t)(nc.Write(packet))
		b := make([]byte, broker.MaxPacket)
		n := must[int](t)(nc.Read(b))
		if a, err := broker.ParseAnswer(b[:n]); err != nil || a.Code != broker.Invalid {
			t.Errorf("packet %x: %+v %v", packet, a, err)
		}
	}
	if n, err := nc.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Errorf("the connection goes on behind a packet that cannot be read: %d %v", n, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// liveCell is the cell of the genome live, in Go.
type liveCell struct {
	items, ended atomic.Int64
	mu           sync.Mutex
	notes        []byte
	gate         chan struct{} // closed when Wait may end by itself
}

func (l *liveCell) handle(g *genome.Genome) wire.Handler {
	return func(ctx context.Context, r wire.Request) (result []byte, err error) {
		name := ""
		for _, m := range g.Methods {
			if m.ID == r.Method {
				name = m.Name
			}
		}
		var text string
		var a, b int64
		f := wire.NewFields(r.Payload)
		for f.Next() {
			switch {
			case name == "Note" || name == "Fail":
				text = wire.GetString[string](f, "text")
			case f.ID == 1:
				a = wire.GetInt[int64](f, "a")
			case f.ID == 2:
				b = wire.GetInt[int64](f, "b")
			}
		}
		if f.Err() != nil {
			return nil, f.Err()
		}
		switch name {
		case "Add":
			if r.Priority != 3 || r.Attempt != 2 || r.Trace[15] != 15 || r.Schema>>56 != uint64(firstByte(g.WireHash())) {
				return nil, fmt.Errorf("priority %d, attempt %d, trace %x, schema %x", r.Priority, r.Attempt, r.Trace, r.Schema)
			}
			if d, ok := ctx.Deadline(); !ok || time.Until(d) > patience {
				return nil, errors.New("the deadline did not come along")
			}
			return wire.AppendInt(nil, 1, a+b), nil
		case "Fail":
			switch text {
			case "own":
				payload, err := encode(g, *g.Type("Broken").Struct, `{"Why":"on purpose","Left":[1,-2]}`)
				if err != nil {
					return nil, err
				}
				return nil, &wire.Error{Code: wire.CodeApplication, Name: "Broken", Message: "it broke", Payload: payload}
			case "strange":
				return nil, &wire.Error{Code: wire.CodeApplication, Name: "Strange"}
			}
			panic("on purpose")
		case "Note":
			l.mu.Lock()
			defer l.mu.Unlock()
			l.notes = wire.AppendString(l.notes, 1, text)
			return nil, nil
		case "Notes":
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.notes, nil
		case "Wait", "Hold":
			defer l.ended.Add(1)
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-l.gate:
				return nil, nil
			}
		case "Count":
			defer l.ended.Add(1)
			item := wire.AppendBytes(nil, 1, make([]byte, b))
			for n := int64(0); a < 0 || n < a; n++ {
				if err := r.Stream.Send(item); err != nil {
					return nil, err
				}
				l.items.Add(1)
			}
			return nil, nil
		case "Total", "Mirror":
			sum := int64(0)
			for {
				item, err := r.Stream.Recv()
				switch {
				case err == io.EOF && name == "Mirror":
					return nil, nil
				case err == io.EOF:
					return wire.AppendInt(nil, 1, sum), nil
				case err == nil && name == "Mirror":
					err = r.Stream.Send(item)
				}
				if err != nil {
					return nil, err
				}
				for f := wire.NewFields(item); f.Next() && name == "Total"; {
					sum += wire.GetInt[int64](f, "item")
				}
			}
		case "Ticks": // as package sdk writes a topic
			for _, item := range [][2]uint64{{1, 0}, {5, 3}} {
				data := wire.AppendUint(nil, 1, item[0])
				if item[1] > 0 {
					data = protowire.AppendVarint(append(data, 2<<3), item[1])
				}
				if err := r.Stream.Send(data); err != nil {
					return nil, err
				}
			}
			return nil, nil
		}
		return wire.AppendInt(wire.AppendInt(nil, 1, l.items.Load()), 2, l.ended.Load()), nil
	}
}

func firstByte(hash string) (b byte) {
	fmt.Sscanf(hash[:2], "%x", &b)
	return b
}

// TestPythonCallsWireServer has streams, cancellation, credit and the end of a server.
func TestPythonCallsWireServer(t *testing.T) {
	interpreter := python(t)
	g := live(t)
	file := filepath.Join(t.TempDir(), genome.File)
	if err := os.WriteFile(file, must[[]byte](t)(g.Marshal()), 0o600); err != nil {
		t.Fatal(err)
	}
	l := &liveCell{gate: make(chan struct{})}
	s, dial := serve(t, g, l.handle(g), func(s *wire.Server) {
		s.Hello.Hash, s.Hello.Accepts = strings.Repeat("0", 64), []string{"older", g.WireHash()}
	})
	path := dial().RemoteAddr().String()
	c := command(t, interpreter, "peer.py", "call", "live", path, file)
	var log bytes.Buffer
	c.Stderr = &log
	out := must[io.ReadCloser](t)(c.StdoutPipe())
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	drained := make(chan error, 1)
	var said []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		said = append(said, lines.Text())
		switch lines.Text() {
		case "drain":
			go func() { drained <- s.Drain(t.Context()) }()
		case "end":
			close(l.gate)
		}
	}
	if err := c.Wait(); err != nil || !slices.Equal(said, []string{"drain", "end", "ok"}) {
		t.Fatalf("%v %q\n%s", err, said, &log)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// TestGoCallsPython calls cells in Python with the clients that cell build makes.
func TestGoCallsPython(t *testing.T) {
	interpreter := python(t)
	sockets := map[string]string{}
	var cells []*process
	shop := map[string]string{
		"catalog": "../../examples/shop/catalog", "billing": "../../examples/shop/billing", "users": "../../examples/shop/users",
		"audit": "../../examples/shop/audit",
	}
	// Of these two the first serves something else, and the second too but accepts the callers of catalog.
	foreign := genomes(t)["catalog"]
	foreign.Methods[2].Name = "Grab"
	shop["foreign"] = genomeDir(t, foreign)
	foreign.Accepts = []string{catalog.Cell.Hash}
	shop["accepting"] = genomeDir(t, foreign)
	for name, at := range shop {
		p := start(t, interpreter, "peer.py", "serve", filepath.Join(at, genome.File))
		sockets[name] = p.path
		cells = append(cells, p)
	}
	hashes := celldAt(t, sockets)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()

	c := must[*catalog.Catalog](t)(catalog.Dial(ctx))
	if hash := hashes("catalog"); hash != catalog.Cell.Hash {
		t.Errorf("asked with %s", hash)
	}
	items := func(yield func(catalog.Item, error) bool) {
		for i := range 3000 {
			item := catalog.Item{Name: fmt.Sprintf("box%04d", i), Cents: -int64(i), Stock: 2, Sizes: [3]float32{1, 0.1, float32(i)}}
			if !yield(item, nil) {
				return
			}
		}
	}
	if n, err := c.Import(ctx, items); err != nil || n != 3000 {
		t.Errorf("Import: %d %v", n, err)
	}
	var got, want []catalog.Item
	for item, err := range c.List(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, item)
	}
	for item := range iter.Seq2[catalog.Item, error](items) {
		want = append(want, item)
	}
	if !slices.Equal(got, want) {
		t.Errorf("List: %d items, want %d", len(got), len(want))
	}
	for range c.List(ctx) {
		break
	}
	if cents, err := c.Take(ctx, "box0007", 2); err != nil || cents != -14 {
		t.Errorf("Take: %d %v", cents, err)
	}
	_, err := c.Take(ctx, "box0007", 1)
	if e, ok := errors.AsType[*catalog.TooFew](err); !ok || e.Left != 0 || e.Error() != "only 0 left" {
		t.Errorf("Take: %v", err)
	}

	if _, err := catalog.Dial(ctx, sdk.To("foreign")); !isType[*sdk.Incompatible](err) {
		t.Errorf("another hash: %v", err)
	}
	accepting := must[*catalog.Catalog](t)(catalog.Dial(ctx, sdk.To("accepting")))
	if n, err := accepting.Import(ctx, func(func(catalog.Item, error) bool) {}); err != nil || n != 0 {
		t.Errorf("a hash that is accepted: %d %v", n, err)
	}
	if _, err := accepting.Take(ctx, "x", 1); !isType[*sdk.RemoteError](err) || !strings.Contains(err.Error(), "no such method") {
		t.Errorf("a method without a handler: %v", err)
	}

	b := must[*billing.Billing](t)(billing.Dial(ctx))
	for _, with := range []billing.Payment{billing.Card{Number: "1", Limit: 5}, billing.Voucher{}, billing.Invoice{Address: []string{"a", ""}}} {
		r, err := b.Charge(ctx, "Ada", 250, with)
		if err != nil || (r != billing.Receipt{Number: "Ada", Cents: 250, By: strings.TrimPrefix(fmt.Sprintf("%T", with), "billing.")}) {
			t.Errorf("Charge %T: %+v %v", with, r, err)
		}
	}
	if _, err := b.Charge(ctx, "Ada", 1, nil); !isType[*billing.Declined](err) {
		t.Errorf("Charge without a payment: %v", err)
	}

	u := must[*users.Users](t)(users.Dial(ctx))
	var names []string
	for user, err := range u.Registered(ctx) {
		if err != nil {
			if !isType[*sdk.Down](err) {
				t.Errorf("end of the topic: %v", err)
			}
			continue
		}
		names = append(names, user.Name, user.Since.String())
		if (user.Email != nil) != (user.Name == "Bob") {
			t.Errorf("%+v", user)
		}
	}
	if want := []string{"Ada", "1970-01-01 00:00:01.000000005 +0000 UTC", "Bob", "0001-01-01 00:00:00 +0000 UTC"}; !slices.Equal(names, want) {
		t.Errorf("topic: %q", names)
	}

	a := must[*audit.Audit](t)(audit.Dial(ctx))
	if err := a.Record(ctx, audit.Entry{Who: "Ada", What: "paid"}); err != nil {
		t.Error(err)
	}
	within(t, "the event", func() bool {
		all, err := a.Entries(ctx)
		return err == nil && slices.Equal(all, []audit.Entry{{Who: "Ada", What: "paid"}})
	})
	for _, p := range cells {
		p.stop()
	}
}

func genomeDir(t testing.TB, g *genome.Genome) string {
	t.Helper()
	d := dir(t)
	if err := os.WriteFile(filepath.Join(d, genome.File), must[[]byte](t)(g.Marshal()), 0o600); err != nil {
		t.Fatal(err)
	}
	return d
}

func isType[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// within waits until something holds.
func within(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// TestPythonWatchdog demands the sign of life that systemd waits for.
func TestPythonWatchdog(t *testing.T) {
	p := start(t, "env", "WATCHDOG_USEC=20000", python(t), "peer.py", "serve", filepath.Join(genomeDir(t, live(t)), genome.File))
	p.says("WATCHDOG=1")
	p.says("WATCHDOG=1")
}

// TestPythonTakesNoOthersSockets starts a program with sockets that were handed to another process.
func TestPythonTakesNoOthersSockets(t *testing.T) {
	c := command(t, python(t), "peer.py", "serve", filepath.Join(genomeDir(t, live(t)), genome.File))
	c.Env = append(c.Env, "LISTEN_FDS=1", "LISTEN_PID=1")
	if out, _ := c.CombinedOutput(); c.ProcessState.ExitCode() != 2 {
		t.Errorf("%v\n%s", c.ProcessState, out)
	}
}

// TestDocument checks the genome, the hash and the bytes that docs/protocol.md shows.
func TestDocument(t *testing.T) {
	doc := string(must[[]byte](t)(os.ReadFile("../../docs/protocol.md")))
	_, rest, _ := strings.Cut(doc, "```json\n")
	text, rest, _ := strings.Cut(rest, "```\n")
	g := must[*genome.Genome](t)(genome.Parse([]byte(text)))
	_, rest, _ = strings.Cut(rest, "```\n")
	hashed, rest, _ := strings.Cut(rest, "```\n")
	if hash := fmt.Sprintf("%x", sha256.Sum256([]byte(hashed))); hash != g.WireHash() {
		t.Errorf("the text of the wire hash has the hash %s, the genome %s", hash, g.WireHash())
	}
	_, rest, _ = strings.Cut(rest, "bytes of field 1 |\n|---|---|---|\n")
	rows := 0
	for line := range strings.Lines(rest) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 {
			break
		}
		typ, data := strings.Trim(cells[1], " `"), unhex(t, strings.Trim(cells[3], " `"))
		if got, err := encode(g, value(t, typ), `{"v":`+strings.TrimSpace(cells[2])+`}`); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s%x %v", line, got, err)
		}
		rows++
	}
	if rows < 10 {
		t.Errorf("only %d rows of bytes were found", rows)
	}
}

// TestConnCallsPython has streams, cancellation, credit and the end of a server in Python.
func TestConnCallsPython(t *testing.T) {
	g := live(t)
	p := start(t, python(t), "peer.py", "serve", filepath.Join(genomeDir(t, g), genome.File))
	nc := must[net.Conn](t)(net.Dial("unix", p.path))
	c := wire.NewConn(nc)
	defer c.Close()
	ctx, done := context.WithTimeout(t.Context(), patience)
	defer done()
	told := must[wire.Hello](t)(c.Peer(ctx))
	if told.Hash != g.WireHash() || told.Name != "live" || told.Version != "1.2.3" {
		t.Errorf("%+v", told)
	}
	if err := c.Ping(ctx); err != nil {
		t.Error(err)
	}
	text := must[[]byte](t)(c.Call(ctx, 0, nil))
	if served, err := genome.Parse(text); err != nil || served.FullHash() != g.FullHash() {
		t.Errorf("method 0: %s %v", text, err)
	}

	request := func(method, values string) (uint32, []byte) {
		m := g.Method(method)
		return m.ID, must[[]byte](t)(encode(g, m.Request, values))
	}
	ask := func(method, values string) (string, error) {
		t.Helper()
		id, body := request(method, values)
		data, err := c.Call(ctx, id, body)
		if err != nil {
			return "", err
		}
		out, err := decode(g, g.Method(method).Result, data)
		return string(out), err
	}
	failed := func(err error, code wire.Code) *wire.Error {
		t.Helper()
		e, ok := errors.AsType[*wire.Error](err)
		if !ok || e.Code != code {
			t.Fatalf("error %v, want %v", err, code)
		}
		return e
	}
	if got, err := ask("Add", `{"a":-128,"b":27}`); err != nil || got != `{"sum":-101}` {
		t.Errorf("Add: %s %v", got, err)
	}
	_, err := ask("Fail", `{"how":"own"}`)
	e := failed(err, wire.CodeApplication)
	if out, err := genome.DecodeError(g, e.Name, e.Payload); err != nil || e.Message != "it broke" || string(out.JSON) != `{"Why":"on purpose","Left":[1,-2]}` {
		t.Errorf("own error: %+v %s %v", e, out.JSON, err)
	}
	for _, how := range []string{"strange", "foreign", "exception"} {
		_, err := ask("Fail", `{"how":"`+how+`"}`)
		if e := failed(err, wire.CodeRemote); strings.Contains(fmt.Sprintf("%+v %s", *e, e.Payload), "1234") {
			t.Errorf("%s tells a secret: %+v", how, e)
		}
	}
	_, err = c.Call(ctx, g.Method("Add").ID, []byte{0x08, 0x80, 0x02})
	if e := failed(err, wire.CodeInvalidRequest); string(e.Payload) != string(append(textField(1, "a"), textField(2, "128 does not fit int8")...)) {
		t.Errorf("invalid request: %q", e.Payload)
	}
	_, err = c.Call(ctx, 99, nil)
	failed(err, wire.CodeNoSuchMethod)
	_, err = c.Call(ctx, g.Method("Mirror").ID, nil)
	failed(err, wire.CodeInvalidRequest)

	seen := func() (items, ended int64) {
		t.Helper()
		out, err := ask("Seen", "{}")
		if _, scan := fmt.Sscanf(out, `{"items":%d,"ended":%d}`, &items, &ended); err != nil || scan != nil {
			t.Fatal(out, err, scan)
		}
		return items, ended
	}
	open := func(ctx context.Context, method, values string) *wire.Stream {
		t.Helper()
		id, body := request(method, values)
		m := g.Method(method)
		return must[*wire.Stream](t)(c.Open(ctx, wire.Call{Method: id, Request: body}, m.In != nil, m.Out != nil))
	}

	s := open(ctx, "Count", `{"to":3000,"size":500}`)
	n := 0
	for {
		item, err := s.Recv()
		if err == io.EOF {
			break
		}
		if err != nil || len(item) != 503 {
			t.Fatalf("item of %d bytes, %v", len(item), err)
		}
		n++
	}
	if n != 3000 {
		t.Errorf("%d items", n)
	}
	s = open(ctx, "Total", "{}")
	for i := range 20_000 {
		if err := s.Send(wire.AppendInt(nil, 1, i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.CloseSend(); err != nil {
		t.Error(err)
	}
	if out, err := decode(g, g.Method("Total").Result, must[[]byte](t)(s.Result())); err != nil || string(out) != `{"sum":199990000}` {
		t.Errorf("Total: %s %v", out, err)
	}
	s = open(ctx, "Mirror", "{}")
	large := wire.AppendString(nil, 1, strings.Repeat("grüße", 60_000)) // each costs more than the whole credit
	sent := make(chan error, 1)
	go func() {
		for range 10 {
			if err := s.Send(large); err != nil {
				sent <- err
				return
			}
		}
		sent <- s.CloseSend()
	}()
	for i := range 10 {
		if item, err := s.Recv(); err != nil || !bytes.Equal(item, large) {
			t.Fatalf("item %d: %d bytes, %v", i, len(item), err)
		}
	}
	if _, err := s.Recv(); err != io.EOF || <-sent != nil {
		t.Errorf("end of Mirror: %v", err)
	}
	s = open(ctx, "Total", "{}")
	if err := s.Send([]byte{0x0a, 0}); err != nil {
		t.Error(err)
	}
	_, err = s.Result()
	failed(err, wire.CodeInvalidRequest)

	// A slow reader is sent what the first credit is for, and leaving cancels at the provider.
	const size = 1000
	full := int64((256<<10 + size + 18) / (size + 19))
	items, ended := seen()
	s = open(ctx, "Count", fmt.Sprintf(`{"to":-1,"size":%d}`, size))
	if _, err := s.Recv(); err != nil {
		t.Error(err)
	}
	// The generator counts an item when it is asked for the next: the last one is still waited for.
	within(t, "full credit", func() bool { now, _ := seen(); return now-items == full })
	s.Close()
	within(t, "cancellation", func() bool { _, now := seen(); return now-ended == 1 })
	if now, _ := seen(); now-items > full {
		t.Errorf("%d items for a credit of %d", now-items, full)
	}
	// A provider that reads nothing gets no more than that either.
	short, stop := context.WithCancel(ctx)
	s = open(short, "Hold", "{}")
	var wrote atomic.Int64
	go func() {
		for s.Send(make([]byte, size+3)) == nil {
			wrote.Add(1)
		}
		sent <- nil
	}()
	within(t, "full credit", func() bool { return wrote.Load() == full })
	stop()
	if <-sent; wrote.Load() != full {
		t.Errorf("%d items sent for a credit of %d", wrote.Load(), full)
	}
	within(t, "cancellation", func() bool { _, now := seen(); return now-ended == 2 })
	short, stop = context.WithTimeout(ctx, 100*time.Millisecond)
	defer stop()
	if _, err := c.Call(short, g.Method("Wait").ID, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("deadline: %v", err)
	}
	within(t, "deadline at the provider", func() bool { _, now := seen(); return now-ended == 3 })
	id, body := request("Note", `{"text":"hello"}`)
	if _, err := c.Do(ctx, wire.Call{Method: id, Request: body, OneWay: true}); err != nil {
		t.Error(err)
	}
	within(t, "the event", func() bool { out, err := ask("Notes", "{}"); return err == nil && out == `{"result":["hello"]}` })

	if result, err := c.Call(ctx, id, body); err != nil || len(result) > 0 {
		t.Errorf("an event with an answer: %x %v", result, err)
	}

	// The cell stops: what runs may end, and no call is taken any more.
	s = open(ctx, "Mirror", "{}")
	if err := s.Send(wire.AppendString(nil, 1, "x")); err != nil {
		t.Error(err)
	}
	if _, err := s.Recv(); err != nil {
		t.Error(err)
	}
	q := peer{t, must[net.Conn](t)(net.Dial("unix", p.path))} // does not keep to what it is told
	defer q.Close()
	if err := q.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	wait := g.Method("Wait").ID
	q.write(greeting)
	q.next(helloAck)
	q.write(frame{kind: call, id: 5, body: callBody(wait, 0, 0, nil)})
	q.write(frame{kind: ping})
	q.next(pong) // the call has come
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		p.stop()
	}()
	<-s.Draining()
	if _, err := c.Call(ctx, 0, nil); !isType[*wire.NotSent](err) {
		t.Errorf("call to a cell that stops: %v", err)
	}
	if f := q.next(goAway); binary.LittleEndian.Uint64(f.body) != 5 {
		t.Errorf("last call in %x, want 5", f.body)
	}
	q.write(frame{kind: call, id: 6, body: callBody(0, 0, 0, nil)})
	if f := q.next(errorFrame); f.id != 6 || f.flags != 2 || f.body[1] != byte(wire.CodeOverloaded) {
		t.Errorf("a call behind the end: %+v", f)
	}
	q.write(frame{kind: cancel, id: 5})
	if f := q.next(errorFrame); f.id != 5 || f.flags != 0 || f.body[1] != byte(wire.CodeCanceled) {
		t.Errorf("a call that ran: %+v", f)
	}
	if err := s.CloseSend(); err != nil {
		t.Error(err)
	}
	if _, err := s.Result(); err != nil {
		t.Errorf("a stream that ran when the cell stopped: %v", err)
	}
	<-c.Done()
	<-stopped
	if log := p.log.String(); !strings.Contains(log, "password 1234") {
		t.Errorf("the exception is not in the log:\n%s", log)
	}
}
