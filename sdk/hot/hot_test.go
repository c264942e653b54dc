package hot

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/sdk/internal/handover"
	"github.com/cell-network/cell/sdk/internal/unixtest"
)

// keeper does what systemd does with the messages of a unit's processes: it keeps descriptors and hands them over.
type keeper struct {
	t      *testing.T
	socket *net.UnixConn
	kept   map[string]*os.File
	said   []string
}

func newKeeper(t *testing.T) *keeper {
	k := &keeper{t: t, socket: unixtest.Datagrams(t, filepath.Join(t.TempDir(), "notify")), kept: map[string]*os.File{}}
	t.Cleanup(func() {
		for _, f := range k.kept {
			f.Close()
		}
	})
	return k
}

// hear takes the messages that were sent up to now, and returns the names of what is kept.
func (k *keeper) hear() []string {
	k.t.Helper()
	b, oob := make([]byte, 4096), make([]byte, 4096)
	for {
		k.socket.SetReadDeadline(time.Now().Add(time.Millisecond)) // a message is there when its sending returns
		n, on, _, _, err := k.socket.ReadMsgUnix(b, oob)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			k.t.Fatal(err)
		}
		k.said = append(k.said, string(b[:n]))
		_, name, _ := strings.Cut(string(b[:n]), "FDNAME=")
		switch {
		case strings.HasPrefix(string(b[:n]), "FDSTOREREMOVE=1\n"):
			if k.kept[name] == nil {
				k.t.Errorf("%s is removed and was not kept", name)
				continue
			}
			k.kept[name].Close()
			delete(k.kept, name)
		case strings.HasPrefix(string(b[:n]), "FDSTORE=1\nFDPOLL=0\n"):
			messages, err := unix.ParseSocketControlMessage(oob[:on])
			if err != nil || len(messages) != 1 {
				k.t.Fatalf("rights: %v, %v", messages, err)
			}
			fds, err := unix.ParseUnixRights(&messages[0])
			if err != nil || len(fds) != 1 {
				k.t.Fatalf("rights: %v, %v", fds, err)
			}
			k.kept[name] = os.NewFile(uintptr(fds[0]), name)
		}
	}
	var names []string
	for name := range k.kept {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// process is the next process of the unit.
func (k *keeper) process() *handover.Process {
	k.t.Helper()
	k.hear()
	return k.processOf(64)
}

// processOf is process with a store that takes max descriptors.
func (k *keeper) processOf(max int) *handover.Process {
	k.t.Helper()
	found := map[string]*os.File{}
	for name, f := range k.kept {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			k.t.Fatal(err)
		}
		found[name] = os.NewFile(uintptr(fd), name)
	}
	return handover.New(k.socket.LocalAddr().String(), max, found)
}

func (k *keeper) keeps(want ...string) {
	k.t.Helper()
	if got := k.hear(); !slices.Equal(got, want) {
		k.t.Errorf("kept: %q, want %q", got, want)
	}
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type (
	tally  struct{ N uint64 }
	tally2 struct {
		Name [8]byte
		N    int32
	}
)

func add(t *tally) { t.N++ }

func TestHotOverProcesses(t *testing.T) {
	k := newKeeper(t)
	h := k.process()
	v := must[*Value[tally]](t)(open[tally](h, "n", nil))
	if v.Found() || !v.Held() || v.Get().N != 0 {
		t.Errorf("first: found %v, held %v, %+v", v.Found(), v.Held(), v.Get())
	}
	k.keeps("memory/n/1") // before it is ready, and before anything is written
	if got := v.Update(add); got.N != 1 || v.Get().N != 1 {
		t.Errorf("updated to %+v, %+v", got, v.Get())
	}
	check(t, h.Ready())
	v.Update(add)
	for i := range uint64(3) {
		h := k.process()
		v := must[*Value[tally]](t)(open[tally](h, "n", nil))
		if !v.Found() || v.Get().N != 2+i {
			t.Errorf("process %d: found %v, %+v", i, v.Found(), v.Get())
		}
		v.Update(add)
		check(t, h.Ready())
	}
	k.keeps("memory/n/1")
}

func TestHotChangeThatPanics(t *testing.T) {
	k := newKeeper(t)
	v := must[*Value[tally]](t)(open[tally](k.process(), "n", nil))
	v.Update(add)
	func() {
		defer func() { recover() }()
		v.Update(func(x *tally) { x.N = 99; panic("in the middle") })
	}()
	if v.Get().N != 1 {
		t.Errorf("half a change holds: %+v", v.Get())
	}
	v = must[*Value[tally]](t)(open[tally](k.process(), "n", nil))
	if v.Update(add); v.Get().N != 2 {
		t.Errorf("after it: %+v", v.Get())
	}
}

// broad is large enough that a kill meets the middle of a write.
type broad [1 << 14]uint64

// TestHotKilled kills a process that changes a value without pause. What is found is always one of the values it made.
func TestHotKilled(t *testing.T) {
	if addr := os.Getenv("HOT_TEST_WRITER"); addr != "" {
		h := handover.New(addr, 64, nil)
		v := must[*Value[broad]](t)(open[broad](h, "b", nil))
		fmt.Println("writes")
		for {
			v.Update(func(b *broad) {
				for i := range b {
					b[i]++
				}
			})
		}
	}
	torn := false
	for range 8 {
		k := newKeeper(t)
		c := exec.Command(os.Args[0], "-test.run=^TestHotKilled$")
		c.Env = append(os.Environ(), "HOT_TEST_WRITER="+k.socket.LocalAddr().String())
		out := must[io.ReadCloser](t)(c.StdoutPipe())
		check(t, c.Start())
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil || line != "writes\n" {
			t.Fatalf("the writer said %q: %v", line, err)
		}
		h := k.process()
		r := must[*region](t)(openRegion(k.kept["memory/b/1"]))
		for atomic.LoadUint64(r.switches()) < 5 { // it is at work
		}
		c.Process.Kill()
		c.Wait()
		v := must[*Value[broad]](t)(open[broad](h, "b", nil))
		b := v.Get()
		if i := slices.IndexFunc(b[:], func(n uint64) bool { return n != b[0] }); i >= 0 || b[0] != atomic.LoadUint64(r.switches()) {
			t.Fatalf("half a value: %d at 0, %d at %d, after %d changes", b[0], b[max(i, 0)], i, *r.switches())
		}
		next := *valueOf[broad](r.next())
		torn = torn || next[0] != next[len(next)-1]
	}
	if !torn {
		t.Log("no kill met the middle of a write")
	}
}

func TestHotOtherShape(t *testing.T) {
	k := newKeeper(t)
	h := k.process()
	must[*Value[tally]](t)(open[tally](h, "n", nil)).Update(add)
	check(t, h.Ready())

	// A version that does not know the old shape is told so, and loses nothing.
	_, err := open[tally2](k.process(), "n", nil)
	e, ok := errors.AsType[*Mismatch](err)
	if !ok || e.Name != "n" || e.Was != "struct{0: N uint64}" || e.Want != "struct{0: Name [8]uint8; 8: N int32}" {
		t.Fatalf("other shape: %v", err)
	}
	k.keeps("memory/n/1")

	convert := []Conversion[tally2]{
		From(func(int) tally2 { panic("of another shape") }),
		From(func(old tally) tally2 { return tally2{N: int32(old.N) * 10} }),
	}
	// One that fails before it is ready leaves the old value.
	h = k.process()
	v := must[*Value[tally2]](t)(open(h, "n", convert))
	v.Update(func(x *tally2) { x.N++ })
	if !v.Found() || v.Get().N != 11 {
		t.Errorf("converted: %+v", v.Get())
	}
	if old := must[*Value[tally]](t)(open[tally](k.process(), "n", nil)); old.Get().N != 1 {
		t.Errorf("rolled back: %+v", old.Get())
	}
	// One that becomes ready replaces it.
	h = k.process()
	v = must[*Value[tally2]](t)(open(h, "n", convert))
	check(t, h.Ready())
	v.Update(func(x *tally2) { x.N++ })
	k.keeps("memory/n/2")
	v = must[*Value[tally2]](t)(open[tally2](k.process(), "n", nil))
	if v.Get().N != 11 {
		t.Errorf("replaced: %+v", v.Get())
	}
}

// A process that ended between handing over the new value and taking back the old one.
func TestHotReplacedTwice(t *testing.T) {
	k := newKeeper(t)
	must[*Value[tally]](t)(open[tally](k.process(), "n", nil))
	null := must[*os.File](t)(os.Open(os.DevNull))
	other := handover.New(k.socket.LocalAddr().String(), 64, map[string]*os.File{"file/z/9": null}) // so that it counts on from 9
	must[*Value[tally]](t)(open[tally](other, "n", nil)).Update(add)
	k.keeps("memory/n/1", "memory/n/10")
	h := k.process()
	v := must[*Value[tally]](t)(open[tally](h, "n", nil))
	if v.Get().N != 1 {
		t.Errorf("the older value: %+v", v.Get())
	}
	check(t, h.Ready())
	k.keeps("memory/n/10")
}

func TestHotWrongUse(t *testing.T) {
	type (
		pointer struct {
			A int
			B struct{ C *int }
		}
		lock struct{ N atomic.Int64 }
	)
	k := newKeeper(t)
	h := k.process()
	must[*Value[tally]](t)(open[tally](h, "n", nil))
	for want, err := range map[string]error{
		"open hot p: hot.pointer.B.C: a *int points to memory that the next process has not": second(open[pointer](h, "p", nil)),
		"open hot s: string: a string points to memory that the next process has not":        second(open[string](h, "s", nil)),
		"open hot a: [2][]int[]: a []int points to memory that the next process has not":     second(open[[2][]int](h, "a", nil)),
		"open hot l: hot.lock.N: a atomic.Int64 means nothing to the next process":           second(open[lock](h, "l", nil)),
		"open hot f: hot.pointer.B.C: a *int points to memory that the next process has not": second(open(h, "f", []Conversion[tally]{From(func(pointer) tally { return tally{} })})),
		"open hot big: [17825792]uint8 has 17825792 bytes, at most 16777216 can be kept":     second(open[[17 << 20]uint8](h, "big", nil)),
		`open hot "N": a name is a to z, digits and dashes, at most 63`:                      second(open[tally](h, "N", nil)),
		`open hot "a/b": a name is a to z, digits and dashes, at most 63`:                    second(openConns(h, "a/b")),
		`open hot "a:b": a name is a to z, digits and dashes, at most 63`:                    second(openFile(h, "a:b")),
		`open hot "": a name is a to z, digits and dashes, at most 63`:                       second(openFile(h, "")),
		"open hot n: it is open already":                                                     second(open[tally](h, "n", nil)),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := openConns(h, "n"); err != nil {
		t.Errorf("the name of another kind: %v", err)
	}
	check(t, h.Ready())
	if _, err := open[tally](h, "late", nil); err == nil || !strings.Contains(err.Error(), "too late") {
		t.Errorf("after it was ready: %v", err)
	}
	k.keeps("memory/n/1")
}

func second[T any](_ T, err error) error { return err }

func TestHotNotHeld(t *testing.T) {
	h := handover.New("", 64, nil)
	v := must[*Value[tally]](t)(open[tally](h, "n", nil))
	c := must[*Conns](t)(openConns(h, "c"))
	f := must[*File](t)(openFile(h, "f"))
	if v.Held() || v.Found() || v.Update(add).N != 1 || c.Held() || f.Held() || f.Found() != nil {
		t.Error("without systemd it is not ordinary memory")
	}
	a, b := pair(t)
	kept := must[*Conn](t)(c.Keep(a))
	check(t, h.Ready())
	check(t, kept.Close())
	if _, err := b.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the peer of a closed connection: %v", err)
	}
}

// pair is a connection, both ends.
func pair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	check(t, err)
	ends := [2]net.Conn{}
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "end")
		ends[i] = must[net.Conn](t)(net.FileConn(f))
		f.Close()
		t.Cleanup(func() { ends[i].Close() })
	}
	ends[1].SetDeadline(time.Now().Add(10 * time.Second))
	return ends[0], ends[1]
}

func TestHotConns(t *testing.T) {
	k := newKeeper(t)
	h := k.process()
	c := must[*Conns](t)(openConns(h, "c"))
	if len(c.Found()) != 0 || !c.Held() {
		t.Errorf("first: %d found, held %v", len(c.Found()), c.Held())
	}
	a, peer := pair(t)
	other, otherPeer := pair(t)
	first := must[*Conn](t)(c.Keep(a))
	must[*Conn](t)(c.Keep(other))
	check(t, h.Ready())
	k.keeps("conn/c/1", "conn/c/2")
	if _, err := c.Keep(first); err == nil || !strings.Contains(err.Error(), "not a connection of the operating system") {
		t.Errorf("kept twice: %v", err)
	}

	// The process ends in whatever way; the peer goes on, and says something before the next one is there.
	a.Close()
	other.Close()
	peer.Write([]byte("x"))
	h = k.process()
	c = must[*Conns](t)(openConns(h, "c"))
	check(t, h.Ready())
	if len(c.Found()) != 2 {
		t.Fatalf("found %d", len(c.Found()))
	}
	b := make([]byte, 1)
	found := c.Found()[1] // the newest is first
	if _, err := found.Read(b); err != nil || b[0] != 'x' {
		t.Errorf("read %q: %v", b, err)
	}
	found.Write([]byte("y"))
	if _, err := peer.Read(b); err != nil || b[0] != 'y' {
		t.Errorf("the peer read %q: %v", b, err)
	}
	check(t, found.Close())
	if _, err := peer.Read(b); err != io.EOF { // although systemd has a copy
		t.Errorf("the peer of a closed connection: %v", err)
	}
	found.Close()
	k.keeps("conn/c/2")

	// What the next version does not open ends when that version is ready, and not before.
	h = k.process()
	k.keeps("conn/c/2")
	check(t, h.Ready())
	k.keeps()
	if _, err := otherPeer.Read(b); err != io.EOF {
		t.Errorf("the peer of a connection that nobody opened: %v", err)
	}
}

func TestHotFile(t *testing.T) {
	k := newKeeper(t)
	h := k.process()
	f := must[*File](t)(openFile(h, "log"))
	if err := f.Drop(); err == nil {
		t.Error("dropped nothing")
	}
	r, w, err := os.Pipe()
	check(t, err)
	defer r.Close()
	check(t, f.Keep(w))
	if err := f.Keep(w); err == nil || !strings.Contains(err.Error(), "kept already") {
		t.Errorf("kept twice: %v", err)
	}
	check(t, h.Ready())
	w.Close()
	k.keeps("file/log/1")
	h = k.process()
	f = must[*File](t)(openFile(h, "log"))
	check(t, h.Ready())
	f.Found().Write([]byte("still"))
	b := make([]byte, 10)
	if n, err := r.Read(b); err != nil || string(b[:n]) != "still" {
		t.Errorf("read %q: %v", b[:n], err)
	}
	check(t, f.Drop())
	k.keeps()
}

func TestHotFull(t *testing.T) {
	k := newKeeper(t)
	h := k.processOf(2)
	c := must[*Conns](t)(openConns(h, "c"))
	f := must[*File](t)(openFile(h, "f"))
	must[*Value[tally]](t)(open[tally](h, "n", nil))
	a, _ := pair(t)
	last := must[*Conn](t)(c.Keep(a))
	b, peer := pair(t)
	for what, err := range map[string]error{"v": second(open[tally](h, "v", nil)), "c": second(c.Keep(b)), "f": f.Keep(os.Stdout)} {
		if e, ok := errors.AsType[*Full](err); !ok || e.Name != what || e.Max != 2 {
			t.Errorf("%s in a full store: %v", what, err)
		}
	}
	if b.Write([]byte("x")); second(peer.Read(make([]byte, 1))) != nil {
		t.Error("a connection that was not kept is not as it was")
	}
	k.keeps("conn/c/2", "memory/n/1")
	check(t, last.Close())
	must[*Conn](t)(c.Keep(b))
	k.keeps("conn/c/3", "memory/n/1")

	// A store that is full when the process finds it: a value of a new shape needs room beside the old one.
	k.hear()
	h = k.processOf(2)
	_, err := open(h, "n", []Conversion[tally2]{From(func(tally) tally2 { return tally2{} })})
	if _, ok := errors.AsType[*Full](err); !ok {
		t.Errorf("converted in a full store: %v", err)
	}
}

// TestHotForeign hands over memory that no SDK made.
func TestHotForeign(t *testing.T) {
	memfd := func(change func(b []byte) []byte, has int) *os.File {
		r, file, err := newRegion("x", must[layout](t)(layoutOf(reflect.TypeFor[tally]())))
		check(t, err)
		content := change(bytes.Clone(r.mem))
		r.unmap()
		file.Close()
		fd, err := unix.MemfdCreate("x", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
		check(t, err)
		f := os.NewFile(uintptr(fd), "x")
		f.Write(content)
		if has != 0 {
			_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, has)
			check(t, err)
		}
		return f
	}
	same := func(b []byte) []byte { return b }
	set := func(at int, to byte) func(b []byte) []byte {
		return func(b []byte) []byte { b[at] = to; return b }
	}
	null := must[*os.File](t)(os.Open(os.DevNull))
	for name, c := range map[string]struct {
		file *os.File
		want string
	}{
		"as it is":      {memfd(same, sealed), ""},
		"not sealed":    {memfd(same, 0), "no sealed memory"},
		"may shrink":    {memfd(same, unix.F_SEAL_GROW), "no sealed memory"},
		"no memory":     {null, "no sealed memory"},
		"empty":         {memfd(func([]byte) []byte { return nil }, sealed), "has 0 bytes"},
		"cut":           {memfd(func(b []byte) []byte { return b[:len(b)-1] }, sealed), "no hot value"},
		"header only":   {memfd(func(b []byte) []byte { return b[:headerSize] }, sealed), "no hot value"},
		"no magic":      {memfd(set(0, 'C'), sealed), "no hot value"},
		"too large":     {memfd(set(16+7, 0xff), sealed), "no hot value"},
		"longer":        {memfd(set(16+1, 1), sealed), "no hot value"},
		"text too long": {memfd(set(32+1, 0xff), sealed), "no hot value"},
		"other layout":  {memfd(set(8, 0xff), sealed), "kept is struct{0: N uint64}"},
	} {
		h := handover.New("", 0, map[string]*os.File{"memory/x/1": c.file})
		_, err := open[tally](h, "x", nil)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	// Under the name of a connection: it is let go, and the program starts.
	k := newKeeper(t)
	f := must[*File](t)(openFile(k.process(), "f"))
	check(t, f.Keep(os.Stdout))
	k.hear()
	k.kept["conn/c/7"] = k.kept["file/f/1"]
	delete(k.kept, "file/f/1")
	h := k.process()
	c := must[*Conns](t)(openConns(h, "c"))
	check(t, h.Ready())
	if len(c.Found()) != 0 {
		t.Errorf("found %d connections", len(c.Found()))
	}
	k.keeps()
}

func TestMemoryLimit(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		check(t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755))
		check(t, os.WriteFile(filepath.Join(root, name), []byte(text), 0o644))
	}
	write("a.slice/memory.max", "1000\n")
	write("a.slice/b.service/memory.max", "max\n")
	write("a.slice/c.service/memory.max", "700\n")
	for groups, want := range map[string]uint64{
		"0::/a.slice/b.service\n":          1000,
		"1:cpu:/\n0::/a.slice/c.service\n": 700,
		"0::/\n":                           0,
		"0::/other.slice\n":                0,
		"4:memory:/a.slice/c.service\n":    0,
		"0::/a.slice/gone/deeper\n":        1000,
	} {
		write("groups", groups)
		if got := memoryLimit(root, filepath.Join(root, "groups")); got != want {
			t.Errorf("%q: %d, want %d", groups, got, want)
		}
	}
	if got := memoryLimit(root, filepath.Join(root, "none")); got != 0 {
		t.Errorf("no list: %d", got)
	}
}
