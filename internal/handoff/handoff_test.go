package handoff

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestAsk(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	release := make(chan struct{})
	go func() {
		defer close(ended)
		Serve(pair[1], func(q byte) (*os.File, error) {
			switch q {
			case 0:
				return os.Open("/dev/null")
			case 1:
				return nil, errors.New(strings.Repeat("x", 2*longest))
			}
			<-release
			return nil, errors.New("late")
		})
	}()
	late, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Ask(late, pair[0], 2); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("who answers late: %v", err)
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { // while another one waits
			f, err := Ask(t.Context(), pair[0], 0)
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			if st, err := f.Stat(); err != nil || st.Mode()&os.ModeCharDevice == 0 {
				t.Errorf("%v %v", st, err)
			}
		})
	}
	wg.Wait()
	var refused *Refused
	if _, err := Ask(t.Context(), pair[0], 1); !errors.As(err, &refused) || len(refused.Why) != longest {
		t.Error(err)
	}
	// Bytes without a socket to answer on are passed over, and several at once, too.
	_ = unix.Sendmsg(pair[0], []byte("abc"), nil, nil, 0)
	_ = unix.Sendmsg(pair[0], []byte("abc"), unix.UnixRights(0, 1), nil, 0)
	if f, err := Ask(t.Context(), pair[0], 0); err != nil {
		t.Error(err)
	} else {
		f.Close()
	}
	close(release)
	unix.Close(pair[0])
	<-ended
	unix.Close(pair[1])
}
