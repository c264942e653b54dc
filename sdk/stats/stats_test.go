package stats

import (
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestTable(t *testing.T) {
	table, err := New([]string{"Add", strings.Repeat("x", 100)})
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(int(table.File().Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	add := table.Row(0)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				add.Begin(10)
				add.End(3*time.Microsecond, 0, 1)
			}
		})
	}
	all.Wait()
	add.Begin(5)
	table.Row(1).Begin(0)
	table.Row(1).End(time.Hour, 77, 2)
	Row{}.Begin(1) // counts nowhere
	Row{}.End(1, 1, 1)
	got := r.Read()
	if m := got[0]; m.Name != "Add" || m.InFlight != 1 || m.BytesIn != 80_005 || m.BytesOut != 8000 || m.Ended[0] != 8000 || m.Time != 24*time.Millisecond {
		t.Errorf("%+v", m)
	}
	if p := got[0].Latency.Quantile(0.99); p < 3*time.Microsecond || p > 4*time.Microsecond {
		t.Errorf("p99 is %v", p)
	}
	if m := got[1]; len(m.Name) != nameWords*8 || m.Ended[Codes-1] != 1 || m.Latency[Buckets-1] != 1 || m.Latency.Quantile(1) != 1<<lastPower {
		t.Errorf("%+v", m)
	}
}

// A quantile is at most a quarter too long.
func TestQuantile(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var h Histogram
	var all []time.Duration
	for range 10_000 {
		d := time.Duration(1) << (10 + random.IntN(26))
		d += time.Duration(random.Int64N(int64(d)))
		all = append(all, d)
		h[bucket(d)]++
	}
	slices.Sort(all)
	for _, q := range []float64{0, 0.5, 0.9, 0.99, 1} {
		want, got := all[int(q*float64(len(all)-1))], h.Quantile(q)
		if got < want || float64(got) > 1.26*float64(want) {
			t.Errorf("quantile %v: %v, is %v", q, got, want)
		}
	}
	for i := range Buckets - 1 {
		if b := Bound(i); bucket(b-1) != i || bucket(b) != i+1 {
			t.Errorf("bucket %d ends at %v, which is in %d", i, b, bucket(b))
		}
	}
	if (&Histogram{}).Quantile(0.5) != 0 {
		t.Error("a quantile of nothing")
	}
}

// What happened lately is that of two windows and nothing before them.
func TestRecent(t *testing.T) {
	table, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(int(table.File().Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	begin := time.Unix(1_000_000_000, 0)
	at := func(seconds int) time.Time { return begin.Add(time.Duration(seconds) * time.Second) }
	for s := range 35 { // a call each second, every tenth fails
		table.Lately(at(s), 3*time.Millisecond, uint32(s%10/9))
	}
	for _, want := range []struct {
		at            int
		calls, errors uint64
		over          time.Duration
	}{
		{34, 15, 1, 14 * time.Second}, // from 20 on
		{39, 15, 1, 19 * time.Second},
		{40, 5, 0, 10 * time.Second},
		{50, 0, 0, 10 * time.Second},
		{-100, 0, 0, 10 * time.Second},
	} {
		got := r.Recent(at(want.at))
		if got.Calls() != want.calls || got.Errors != want.errors || got.Over != want.over {
			t.Errorf("after %d s: %d calls, %d errors, over %v", want.at, got.Calls(), got.Errors, got.Over)
		}
	}
	if got := r.Recent(at(34)); got.Latency.Quantile(0.5) < 3*time.Millisecond || got.Latency.Quantile(0.5) > 4*time.Millisecond {
		t.Errorf("the median is %v", got.Latency.Quantile(0.5))
	}
}

// What somebody else wrote may be anything.
func TestOpenRefuses(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(4096); err != nil {
		t.Fatal(err)
	}
	memfd := func(size int64, seals int, content ...uint64) int {
		fd, err := unix.MemfdCreate("t", unix.MFD_ALLOW_SEALING)
		if err == nil {
			err = unix.Ftruncate(fd, size)
		}
		for i, w := range content {
			b := make([]byte, 8)
			words(b)[0] = w
			if err == nil {
				_, err = unix.Pwrite(fd, b, int64(8*i))
			}
		}
		if err == nil && seals != 0 {
			_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	one := int64(firstRecord+recordWords) * 8
	for name, fd := range map[string]int{
		"a file": int(file.Fd()), "no descriptor": -1, "not sealed": memfd(one, 0, magic, version, 1, recordWords),
		"empty": memfd(0, unix.F_SEAL_SHRINK), "huge": memfd(1<<40, unix.F_SEAL_SHRINK), "no magic": memfd(one, unix.F_SEAL_SHRINK),
		"more records than bytes":   memfd(one, unix.F_SEAL_SHRINK, magic, version, 2, recordWords),
		"so many that it overflows": memfd(one, unix.F_SEAL_SHRINK, magic, version, 1<<61, recordWords),
		"longer records":            memfd(one, unix.F_SEAL_SHRINK, magic, version, 1, recordWords+1),
		"another version":           memfd(one, unix.F_SEAL_SHRINK, magic, version+1, 1, recordWords),
	} {
		if r, err := Open(fd); err == nil {
			r.Close()
			t.Errorf("%s: it was opened", name)
		}
	}
	if _, err := New(make([]string, maxMethods+1)); err == nil {
		t.Error("too many methods were taken")
	}
}

func BenchmarkRow(b *testing.B) {
	table, err := New([]string{"Add"})
	if err != nil {
		b.Fatal(err)
	}
	row := table.Row(0)
	for b.Loop() {
		start := time.Now()
		row.Begin(10)
		took := time.Since(start)
		row.End(took, 0, 10)
		table.Lately(start.Add(took), took, 0)
	}
}
