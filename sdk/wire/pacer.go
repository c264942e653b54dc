package wire

import (
	"sync"
	"time"
)

const (
	// tick is how often connections are looked at on which a goroutine does what another ought to do if it takes long. More often
	// costs more than it is good for: each time the runtime wakes a second thread, and the next calls go from one processor to another.
	tick = 10 * time.Millisecond
	// quietTicks is after how many of them without a call a connection is left alone.
	quietTicks = 3
)

// paced is a connection that is looked at; tick is false when that is needed no more. It must not wait, nor add anything to
// the pacer.
type paced interface{ tick() bool }

// pacer is one for all connections. Its goroutine runs while there are any.
var pacer = struct {
	mu    sync.Mutex
	conns map[paced]struct{}
}{conns: map[paced]struct{}{}}

// watch begins to look at a connection.
func watch(p paced) {
	pacer.mu.Lock()
	defer pacer.mu.Unlock()
	pacer.conns[p] = struct{}{}
	if len(pacer.conns) == 1 {
		go keepPace()
	}
}

func keepPace() {
	for t := time.NewTicker(tick); ; {
		<-t.C
		if !allTick() {
			t.Stop()
			return
		}
	}
}

func allTick() (again bool) {
	pacer.mu.Lock()
	defer pacer.mu.Unlock()
	for p := range pacer.conns {
		if !p.tick() {
			delete(pacer.conns, p)
		}
	}
	return len(pacer.conns) > 0
}
