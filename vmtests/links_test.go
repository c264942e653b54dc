package vmtests

import (
	"strconv"
	"testing"
	"time"
)

// Two machines, one of which publishes a cell: a link that is cut, slow or lossy does what its name says, and heals.
func init() {
	scenario("links", oneGuest, func(t *testing.T, a *guest) {
		b := a.twin(t)
		n := newNetwork(t)
		_, address := n.plug(a)
		cable, _ := n.plug(b)
		a.misfit("/srv/app", "", "[net]\npublish = [\"0.0.0.0:8080\"]")
		ask := func(seconds int) (string, int) {
			return b.try("curl -sS --max-time " + strconv.Itoa(seconds) + " http://" + address + ":8080/")
		}
		if out, code := ask(60); code != 0 {
			t.Fatalf("over a whole link: %s", out)
		}
		cable.set(func(l *link) { l.down = true })
		if out, code := ask(3); code == 0 {
			t.Errorf("over a cut link: %s", out)
		}
		cable.set(func(l *link) { l.down = false })
		if out, code := ask(60); code != 0 {
			t.Errorf("after it was mended: %s", out)
		}
		cable.set(func(l *link) { l.delay = 500 * time.Millisecond })
		begun := time.Now()
		if out, code := ask(60); code != 0 || time.Since(begun) < 2*time.Second { // there and back, for the connection and for the answer
			t.Errorf("over a slow link, in %v: %s", time.Since(begun), out)
		}
		cable.set(func(l *link) { l.delay, l.loss = 0, 0.2 })
		if out, code := ask(120); code != 0 {
			t.Errorf("over a lossy link: %s", out)
		}
	})
}
