package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	child()
	os.Exit(m.Run())
}

// What is compared must be the same: every transport brings back what was sent, also to many callers at once.
func TestEcho(t *testing.T) {
	b, err := newBed()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.close)
	for _, tr := range transports() {
		t.Run(tr.name, func(t *testing.T) {
			s, err := b.server(tr.name)
			if err != nil {
				t.Fatal(err)
			}
			calls, closeAll, err := dialMany(tr, s.socket, manyCallers)
			if err != nil {
				t.Fatal(err)
			}
			defer closeAll()
			var wg sync.WaitGroup
			for i, c := range calls {
				wg.Go(func() {
					for _, size := range []int{small, large} {
						data := message(size)
						same := false
						err := c(data, func(answer []byte) { same = bytes.Equal(answer, data) })
						if err != nil || !same {
							t.Errorf("caller %d, %d bytes: others came back, or %v", i, size, err)
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// The parts that need no many rounds run once.
func TestParts(t *testing.T) {
	for _, part := range []string{"stream", "fairness"} {
		var out strings.Builder
		if err := run(&out, 1, part); err != nil || !strings.Contains(out.String(), "goal") {
			t.Errorf("%s: %v\n%s", part, err, out.String())
		}
	}
}

// A server must not outlive who started it.
func TestServerEndsWithItsParent(t *testing.T) {
	p, err := start(roleServe, kindRaw, t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { p.stop(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		_ = p.cmd.Process.Kill()
		t.Fatal("the server goes on without its input")
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		goal goal
		got  float64
		want string
	}{
		{0, 9, ""},
		{1.3, 1.2, ", goal ≤ 1.30"},
		{1.3, 1.4, ", goal ≤ 1.30, missed"},
		{faster(4), 0.2, ", goal ≤ 0.25 (4 × as fast; is 5.0 ×)"},
		{faster(4), 0.4, ", goal ≤ 0.25 (4 × as fast; is 2.5 ×), missed"},
	} {
		if got := c.goal.verdict(c.got); got != c.want {
			t.Errorf("%v of %v: %q", c.got, c.goal, got)
		}
	}
}

func TestUnknownKind(t *testing.T) {
	if err := errors.Join(serve("nobody", ""), load("nobody", "")); err == nil {
		t.Error("served")
	}
	if err := run(io.Discard, 1, "nothing"); err != nil {
		t.Error(err)
	}
}
