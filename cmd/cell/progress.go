package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// progress is one live line on a terminal that says what is being done; elsewhere it is silent and only the lines of
// finished steps appear. Lines go through Write, so that the live line does not tear them.
type progress struct {
	w     io.Writer
	live  bool
	mu    sync.Mutex
	doing []string
	begin time.Time
	stop  chan struct{}
	ended sync.WaitGroup
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w, begin: time.Now(), stop: make(chan struct{})}
	if f, ok := w.(*os.File); ok {
		_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
		p.live = err == nil && os.Getenv("TERM") != "dumb"
	}
	if p.live {
		p.ended.Go(p.run)
	}
	return p
}

func (p *progress) run() {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-tick.C:
			p.mu.Lock()
			p.draw()
			p.mu.Unlock()
		}
	}
}

const clearLine = "\r\x1b[K"

// draw shows the live line; p.mu is held.
func (p *progress) draw() {
	if !p.live || len(p.doing) == 0 {
		return
	}
	shown := strings.Join(p.doing[:min(3, len(p.doing))], ", ")
	if more := len(p.doing) - 3; more > 0 {
		shown += fmt.Sprintf(" and %d more", more)
	}
	fmt.Fprintf(p.w, "%s… %s (%.0fs)", clearLine, shown, time.Since(p.begin).Seconds())
}

// start names something that is being done, end takes it away.
func (p *progress) start(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doing = append(p.doing, what)
}

func (p *progress) end(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.doing, what); i >= 0 {
		p.doing = slices.Delete(p.doing, i, i+1)
	}
	if p.live {
		fmt.Fprint(p.w, clearLine)
	}
}

// Write prints whole lines above the live one.
func (p *progress) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live {
		fmt.Fprint(p.w, clearLine)
	}
	n, err := p.w.Write(b)
	p.draw()
	return n, err
}

// close takes the live line away.
func (p *progress) close() {
	close(p.stop)
	p.ended.Wait()
	if p.live {
		fmt.Fprint(p.w, clearLine)
	}
}
