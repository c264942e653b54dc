package replicas

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cell-network/cell/sdk/internal/generated"
	"github.com/cell-network/cell/sdk/internal/spans"
	"github.com/cell-network/cell/sdk/wire"
)

// herd is a cell with several replicas in this process, and celld for its clients.
type herd struct {
	t   testing.TB
	dir string

	mu       sync.Mutex
	replicas map[string]*member
	turn     int
	asked    int                      // for connections
	held     int64                    // bytes of requests that replicas which are started take at once
	takes    map[string]time.Duration // what celld says of calls
}

// member is a replica. It writes down which calls ran.
type member struct {
	name    string
	server  *wire.Server
	frozen  chan struct{} // while not nil, it neither reads nor writes; closed when it does again
	mu      sync.Mutex
	ran     map[uint64]int
	slow    atomic.Int64 // nanoseconds that a call takes
	hold    atomic.Bool  // calls are not answered until they are canceled
	dropped atomic.Int32 // calls canceled
}

func newHerd(t testing.TB, names ...string) *herd {
	h := &herd{t: t, dir: t.TempDir(), replicas: map[string]*member{}}
	for _, n := range names {
		h.start(n)
	}
	return h
}

func (h *herd) start(name string) *member {
	h.t.Helper()
	m := &member{name: name, ran: map[uint64]int{}}
	m.server = &wire.Server{Handler: m.handle, Hello: wire.Hello{Name: name}, MaxHeld: h.held}
	l, err := net.Listen("unix", filepath.Join(h.dir, name))
	if err != nil {
		h.t.Fatal(err)
	}
	go func() { _ = m.server.Serve(&freezer{l, m}) }()
	h.t.Cleanup(m.server.Close)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.replicas[name] = m
	return m
}

func (h *herd) get(name string) *member {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.replicas[name]
}

// Connect is what celld does: it takes turns, among those that are not to be avoided first.
func (h *herd) Connect(ctx context.Context, avoid []string) (Reached, error) {
	h.mu.Lock()
	var names []string
	for n := range h.replicas {
		names = append(names, n)
	}
	slices.Sort(names)
	h.turn++
	h.asked++
	n := len(names)
	var order []string
	for _, avoided := range []bool{false, true} {
		for i := range names {
			if name := names[(h.turn+i)%n]; slices.Contains(avoid, name) == avoided {
				order = append(order, name)
			}
		}
	}
	h.mu.Unlock()
	for _, name := range order {
		nc, err := net.Dial("unix", filepath.Join(h.dir, name))
		if err == nil {
			return Reached{Conn: wire.NewConn(nc), Instance: name, Instances: n, Takes: h.takes[name]}, nil
		}
	}
	return Reached{}, &wire.NotSent{Err: errors.New("no replica listens")}
}

func (h *herd) Greeted(ctx context.Context, conn *wire.Conn) error {
	if _, err := conn.Peer(ctx); err != nil {
		conn.Close()
		return &wire.NotSent{Err: err}
	}
	return nil
}

func (h *herd) client() *Client {
	c := New(&generated.Remote{Need: "herd"}, "herd", h)
	h.t.Cleanup(c.pool.close)
	return c
}

// full is a client that has a connection to each replica.
func (h *herd) full() *Client {
	h.t.Helper()
	c := h.client()
	h.eventually("connections to all replicas", func() bool {
		for range 4 {
			if _, err := Call(h.t.Context(), c, 1, "Do", make([]byte, 8)); err != nil {
				h.t.Fatal(err)
			}
		}
		c.pool.mu.Lock()
		defer c.pool.mu.Unlock()
		return len(c.pool.live) == min(len(h.replicas), maxReplicas)
	})
	return c
}

func (h *herd) eventually(what string, is func() bool) {
	h.t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatalf("never: %s", what)
		}
	}
}

// kill ends a replica as kill -9 does: its connections break, and nobody listens.
func (h *herd) kill(name string) *member {
	h.mu.Lock()
	m := h.replicas[name]
	delete(h.replicas, name)
	h.mu.Unlock()
	m.server.Close()
	return m
}

func (m *member) handle(ctx context.Context, r wire.Request) ([]byte, error) {
	m.mu.Lock()
	m.ran[binary.BigEndian.Uint64(r.Payload)]++
	m.mu.Unlock()
	if m.hold.Load() {
		<-ctx.Done()
		m.dropped.Add(1)
		return nil, ctx.Err()
	}
	if d := m.slow.Load(); d > 0 {
		select {
		case <-time.After(time.Duration(d)):
		case <-ctx.Done():
			m.dropped.Add(1)
			return nil, ctx.Err()
		}
	}
	return []byte(m.name), nil
}

func (m *member) count() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, times := range m.ran {
		n += times
	}
	return n
}

// freeze stops a replica as SIGSTOP does: the kernel still takes connections and bytes for it.
func (m *member) freeze() { m.mu.Lock(); m.frozen = make(chan struct{}); m.mu.Unlock() }
func (m *member) thaw()   { m.mu.Lock(); close(m.frozen); m.frozen = nil; m.mu.Unlock() }

func (m *member) wait() {
	m.mu.Lock()
	frozen := m.frozen
	m.mu.Unlock()
	if frozen != nil {
		<-frozen
	}
}

type freezer struct {
	net.Listener
	m *member
}

func (f *freezer) Accept() (net.Conn, error) {
	c, err := f.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &frozenConn{c, f.m}, nil
}

// frozenConn hides the descriptor, so that all goes through its methods.
type frozenConn struct {
	net.Conn
	m *member
}

func (c *frozenConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.m.wait()
	return n, err
}

func (c *frozenConn) Write(b []byte) (int, error) {
	c.m.wait()
	return c.Conn.Write(b)
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

type (
	caller   func(context.Context, *Client, uint32, string, []byte) ([]byte, error)
	recorded func(context.Context, *spans.Recording, uint32, []byte) ([]byte, error)
)

func do(c *Client) recorded     { return c.Do }
func repeat(c *Client) recorded { return c.Repeat }

// Call and Repeat call as package stub does, without spans.
func Call(ctx context.Context, c *Client, id uint32, _ string, request []byte) ([]byte, error) {
	return c.Do(ctx, nil, id, request)
}

func Repeat(ctx context.Context, c *Client, id uint32, _ string, request []byte) ([]byte, error) {
	return c.Repeat(ctx, nil, id, request)
}

// unreached tells whether an error is of the transport, and whether the call may have run.
func unreached(err error) (mayHaveRun, is bool) {
	if _, lost := errors.AsType[*wire.Lost](err); lost {
		return true, true
	}
	_, unsent := errors.AsType[*wire.NotSent](err)
	return false, unsent
}

// load has callers call until the returned stop, or the end of the test. stop returns the errors by the number of the call; next is
// how many calls were made.
func load(t testing.TB, c *Client, call caller, callers int) (stop func() map[uint64]error, next *atomic.Uint64) {
	next = new(atomic.Uint64)
	done := make(chan struct{})
	var mu sync.Mutex
	failed := map[uint64]error{}
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				n := next.Add(1)
				if _, err := call(t.Context(), c, 1, "Do", number(n)); err != nil {
					mu.Lock()
					failed[n] = err
					mu.Unlock()
				}
			}
		})
	}
	end := sync.OnceFunc(func() { close(done); all.Wait() })
	t.Cleanup(end)
	return func() map[uint64]error { end(); return failed }, next
}

// A slow replica loses its calls and gets them back, on the real clock.
func TestSlowReplica(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds, which -short leaves out")
	}
	h := newHerd(t, "a", "b", "c")
	c := h.full()
	stop, next := load(t, c, Call, 4)
	share := func() float64 {
		before, calls := h.get("b").count(), next.Load()
		h.eventually("calls", func() bool { return next.Load() > calls+2000 })
		return float64(h.get("b").count()-before) / float64(next.Load()-calls)
	}
	h.eventually("a fair share", func() bool { return share() > 0.1 })
	h.get("b").slow.Store(int64(300 * time.Millisecond))
	h.eventually("a small share", func() bool { return share() < 0.02 })
	h.get("b").slow.Store(0)
	h.eventually("a fair share again", func() bool { return share() > 0.1 })
	if failed := stop(); len(failed) > 0 {
		t.Errorf("%d calls failed: %v", len(failed), failed)
	}
}

// Replicas are killed and come back under load. Calls that are safe to repeat are not lost; the others either were answered, or
// failed with an error that tells the truth about whether they ran.
func TestFailover(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds, which -short leaves out")
	}
	for name, call := range map[string]caller{"repeatable": Repeat, "once": Call} {
		t.Run(name, func(t *testing.T) {
			h := newHerd(t, "a", "b", "c")
			c := h.full()
			stop, next := load(t, c, call, 16)
			var all []*member
			for i := range 9 {
				victim := []string{"a", "b", "c"}[i%3]
				calls := next.Load()
				h.eventually("calls", func() bool { return next.Load() > calls+300 })
				all = append(all, h.kill(victim))
				calls = next.Load()
				h.eventually("calls without "+victim, func() bool { return next.Load() > calls+300 })
				h.start(victim)
				h.eventually(victim+" is called again", func() bool { return h.get(victim).count() > 0 })
			}
			failed := stop()
			for _, m := range h.replicas {
				all = append(all, m)
			}
			ran := map[uint64]int{}
			for _, m := range all {
				m.mu.Lock()
				for n, times := range m.ran {
					ran[n] += times
				}
				m.mu.Unlock()
			}
			told := 0
			for n, err := range failed {
				ran1, ok := unreached(err)
				switch {
				case !ok:
					t.Errorf("call %d: %v (%T)", n, err, err)
				case name == "repeatable":
					t.Errorf("call %d was lost: %v", n, err)
				case ran[n] > 0 && !ran1:
					t.Errorf("call %d ran, but is said not to have: %v", n, err)
				default:
					told++
				}
			}
			for n := uint64(1); n <= next.Load(); n++ {
				if failed[n] == nil && ran[n] == 0 {
					t.Errorf("call %d was answered and did not run", n)
				}
				if name == "once" && ran[n] > 1 {
					t.Errorf("call %d ran %d times", n, ran[n])
				}
			}
			t.Logf("%d calls, %d told that they may have run", next.Load(), told)
		})
	}
}

// A replica that celld did not count for a while is called soon after it came back, also when all that celld counted have connections.
func TestReturn(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds, which -short leaves out")
	}
	h := newHerd(t, "a", "b", "c")
	c := h.full()
	load(t, c, Repeat, 4)
	h.kill("b")
	h.eventually("celld counts two", func() bool {
		c.pool.mu.Lock()
		defer c.pool.mu.Unlock()
		return c.pool.instances == 2 && len(c.pool.live) == 2
	})
	m := h.start("b")
	h.eventually("b is called again", func() bool { return m.count() > 0 })
}

// When a replica dies the next call goes elsewhere at once.
func TestNextCall(t *testing.T) {
	var all []time.Duration
	for range 15 {
		h := newHerd(t, "a", "b", "c")
		c := h.client()
		at, err := Call(t.Context(), c, 1, "Do", number(1)) // there is but one connection
		if err != nil {
			t.Fatal(err)
		}
		h.kill(string(at))
		begin := time.Now()
		if _, err := Call(t.Context(), c, 1, "Do", number(2)); err != nil {
			t.Fatal(err)
		}
		all = append(all, time.Since(begin))
	}
	slices.Sort(all)
	t.Logf("median %v, most %v", all[len(all)/2], all[len(all)-1])
	if m := all[len(all)/2]; m > time.Second {
		t.Errorf("the next call took %v", m)
	}
}

// A call that is safe to repeat leaves a replica that hangs; the call at that one is canceled when the other has answered.
func TestHedge(t *testing.T) {
	h := newHerd(t, "a", "b")
	c := h.full()
	h.get("a").hold.Store(true)
	hedged, calls := uint64(0), uint64(0)
	h.eventually("a call goes to a first, and is made again", func() bool { // a may have been slow before
		at, err := Repeat(t.Context(), c, 1, "Do", number(calls))
		if err != nil || string(at) != "b" {
			t.Fatalf("%q %v", at, err)
		}
		calls++
		c.pool.mu.Lock()
		defer c.pool.mu.Unlock()
		hedged = c.pool.log.hedged
		return hedged > 0 && calls >= 10
	})
	h.eventually("the losers are canceled", func() bool { return h.get("a").dropped.Load() == int32(hedged) })
	for _, r := range c.pool.known {
		if n := r.running.Load(); n != 0 {
			t.Errorf("%d calls of %s are counted", n, r.instance)
		}
	}
}

// What celld says of a replica counts until its first answer: a client that has just started leaves the slow one alone.
func TestReputation(t *testing.T) {
	h := newHerd(t, "a", "b")
	h.takes = map[string]time.Duration{"a": 10 * time.Second, "b": time.Microsecond}
	c := h.client()
	h.eventually("connections to both", func() bool {
		if _, err := Call(t.Context(), c, 1, "Do", number(1)); err != nil {
			t.Fatal(err)
		}
		c.pool.mu.Lock()
		defer c.pool.mu.Unlock()
		return len(c.pool.live) == 2
	})
	for range 100 {
		if at, err := Call(t.Context(), c, 1, "Do", number(2)); err != nil || string(at) != "b" {
			t.Fatalf("%q %v", at, err)
		}
	}
}

// An outage does not double the load.
func TestBudgetInOutage(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds, which -short leaves out")
	}
	h := newHerd(t, "a", "b", "c")
	c := h.full()
	before := 0
	for _, m := range h.replicas {
		m.slow.Store(int64(20 * time.Millisecond))
		before += m.count()
	}
	c.pool.mu.Lock()
	c.pool.methods = map[uint32]*methodLatency{1: {delay: leastHedge}} // until now calls took less
	c.pool.mu.Unlock()
	const calls = 1000
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			for j := range calls / 50 {
				if _, err := Repeat(t.Context(), c, 1, "Do", number(uint64(1+i*100+j))); err != nil {
					t.Error(err)
				}
				c.pool.mu.Lock()
				c.pool.methods[1].delay = leastHedge
				c.pool.mu.Unlock()
			}
		})
	}
	all.Wait()
	ran := -before
	for _, m := range h.replicas {
		ran += m.count()
	}
	if most := calls + calls/20 + budgetBurst; ran > most {
		t.Errorf("%d calls were made %d times, allowed are %d", calls, ran, most)
	}
	if ran == calls {
		t.Error("no call was made twice")
	}
}

// A replica that hangs is left: calls that wait there are told, others go elsewhere, and it is taken again when it goes on.
func TestHang(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds, which -short leaves out")
	}
	h := newHerd(t, "a", "b")
	c := h.full()
	m := h.get("a")
	stop, next := load(t, c, Call, 16)
	h.eventually("calls at both", func() bool { return m.count() > 1000 && h.get("b").count() > 1000 })
	m.freeze()
	calls := next.Load()
	h.eventually("calls go on", func() bool { return next.Load() > calls+1000 })
	h.eventually("it is said to hang", func() bool { return c.pool.report("").Candidates[0].State == "hangs" })
	h.eventually("it is left", func() bool {
		c.pool.mu.Lock()
		defer c.pool.mu.Unlock()
		return !slices.ContainsFunc(c.pool.live, func(r *replica) bool { return r.instance == "a" })
	})
	m.thaw()
	before := m.count()
	h.eventually("it is called again", func() bool { return m.count() > before })
	failed := stop()
	if len(failed) == 0 {
		t.Error("no call was there when it hung")
	}
	for n, err := range failed {
		if ran, ok := unreached(err); !ok || !ran || !errors.Is(err, errHangs) {
			t.Errorf("call %d: %v (%T)", n, err, err)
		}
	}
}

// A replica of which the first connection hangs does not keep a client from the others.
func TestFirstHangs(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds, which -short leaves out")
	}
	h := newHerd(t, "a", "b", "c")
	for _, n := range []string{"a", "b"} {
		h.get(n).freeze()
		defer h.get(n).thaw()
	}
	for range 3 { // each is the first once
		c := h.client()
		if at, err := Call(t.Context(), c, 1, "Do", number(1)); err != nil || string(at) != "c" {
			t.Fatalf("%q %v", at, err)
		}
	}
}

// All replicas get a call that is raced, and the first answer counts.
func TestRace(t *testing.T) {
	h := newHerd(t, "a", "b", "c")
	c := h.client()
	for _, n := range []string{"a", "c"} {
		h.get(n).hold.Store(true)
	}
	for i := range uint64(5) {
		if at, err := Repeat(Race(t.Context()), c, 1, "Do", number(7+i)); err != nil || string(at) != "b" {
			t.Fatalf("%q %v", at, err)
		}
	}
	h.eventually("the others are canceled", func() bool {
		return h.get("a").dropped.Load() == 5 && h.get("c").dropped.Load() == 5
	})
}

// A call that one replica refuses to run is made at another one.
func TestOverloaded(t *testing.T) {
	h := newHerd(t, "b")
	h.held = 1 // byte of requests: it refuses all
	h.start("a")
	c := h.full()
	for i := range uint64(20) {
		if at, err := Call(t.Context(), c, 1, "Do", number(2+i)); err != nil || string(at) != "b" {
			t.Errorf("%q %v", at, err)
		}
	}
	if r := c.pool.report(""); r.Retried == 0 {
		t.Error("the other one was never asked")
	}
	h.kill("b")
	if _, err := Call(t.Context(), c, 1, "Do", number(1)); !overloaded(err) {
		t.Errorf("%v (%T)", err, err)
	}
}

func overloaded(err error) bool {
	e, ok := errors.AsType[*wire.Error](err)
	return ok && e.Code == wire.CodeOverloaded
}

func isUnsent(err error) bool {
	ran, ok := unreached(err)
	return ok && !ran
}

// Two connections to one replica are one too many.
func TestAddTwice(t *testing.T) {
	h := newHerd(t, "a")
	c := h.client()
	var conns []*wire.Conn
	for range 2 {
		got, err := h.Connect(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		c.pool.add(got)
		conns = append(conns, got.Conn)
	}
	if !conns[0].Usable() || conns[1].Usable() || len(c.pool.live) != 1 {
		t.Errorf("%v %v, %d replicas", conns[0].Usable(), conns[1].Usable(), len(c.pool.live))
	}
}

// With one replica nothing but calls goes over the wire: no second connection, no look around.
func TestOneReplica(t *testing.T) {
	h := newHerd(t, "a")
	c := h.client()
	for i := range uint64(100) {
		if _, err := Repeat(t.Context(), c, 1, "Do", number(i)); err != nil {
			t.Fatal(err)
		}
	}
	if h.asked != 1 || c.pool.end != nil {
		t.Errorf("%d connections, tended: %v", h.asked, c.pool.end != nil)
	}
	h.kill("a")
	if _, err := Call(t.Context(), c, 1, "Do", number(1)); !isUnsent(err) {
		t.Error(err)
	}
	h.start("a")
	if _, err := Call(t.Context(), c, 1, "Do", number(1)); err != nil {
		t.Error(err)
	}
}

// What a client chose can be read.
func TestReport(t *testing.T) {
	h := newHerd(t, "a", "b", "c")
	c := h.full()
	register(c)
	defer unregister(c)
	data, err := json.Marshal(Reports())
	if err != nil {
		t.Fatal(err)
	}
	var reports []Report
	if err := json.Unmarshal(data, &reports); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(reports, func(r Report) bool { return r.Need == "herd" })
	if i < 0 {
		t.Fatalf("%s", data)
	}
	r := reports[i]
	if r.Replicas != 3 || len(r.Candidates) != 3 || r.Calls < 4 || len(r.Choices) == 0 || h.get(r.Winner) == nil {
		t.Errorf("%s", data)
	}
	for i, x := range r.Candidates {
		if x.Instance != string(rune('a'+i)) || x.State != "ready" || x.InFlight != 0 {
			t.Errorf("%+v", x)
		}
	}
	h.kill("b")
	h.eventually("b is away", func() bool { return c.pool.report("").Candidates[1].State == "away" })
}

// BenchmarkReplicas calls three replicas.
func BenchmarkReplicas(b *testing.B) {
	for _, callers := range []int{1, 64} {
		for name, call := range map[string]caller{"call": Call, "repeat": Repeat} {
			b.Run("callers="+strconv.Itoa(callers)+"/"+name, func(b *testing.B) {
				h := newHerd(b)
				for _, n := range []string{"a", "b", "c"} {
					l, err := net.Listen("unix", filepath.Join(h.dir, n))
					if err != nil {
						b.Fatal(err)
					}
					s := &wire.Server{Handler: echo}
					go func() { _ = s.Serve(l) }()
					b.Cleanup(s.Close)
					h.replicas[n] = nil
				}
				c := h.full()
				request := make([]byte, 32)
				b.ReportAllocs()
				b.SetParallelism(max(callers/2, 1))
				if callers == 1 {
					for b.Loop() {
						if _, err := call(b.Context(), c, 1, "Do", request); err != nil {
							b.Fatal(err)
						}
					}
					return
				}
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if _, err := call(b.Context(), c, 1, "Do", request); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}

func echo(_ context.Context, r wire.Request) ([]byte, error) { return r.Payload, nil }
