package donor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"time"

	"github.com/cell-network/cell/donor/layout"
	"github.com/cell-network/cell/donor/slot"
	"github.com/cell-network/cell/donor/statement"
)

const (
	lookSoon = time.Minute // after the start, and after a look that failed
	lookNext = time.Hour
)

// errNothingNew says that what is offered runs already.
var errNothingNew = errors.New("nothing newer")

// update looks for a newer image now and then, writes it and starts the machine anew.
func (s *server) update(ctx context.Context) {
	wait := lookSoon
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = lookNext
		took, err := s.fetch(ctx)
		switch {
		case errors.Is(err, errNothingNew):
			s.updates <- "the newest of those signed"
		case errors.Is(err, slot.ErrTrial):
			wait = lookSoon
		case err != nil:
			slog.Error("look for a newer image", "err", err)
			s.updates <- "no update: " + err.Error()
			wait = lookSoon
		default:
			s.updates <- fmt.Sprintf("%d is started next", took)
			if out, err := exec.CommandContext(ctx, "systemctl", "reboot").CombinedOutput(); err != nil {
				slog.Error("start the machine anew", "err", err, "out", string(out))
			}
			return
		}
	}
}

// fetch writes the image at an address to the medium, where it is newer than the one that runs and signed by the key in this image.
func (s *server) fetch(ctx context.Context) (uint64, error) {
	from, running := s.view.Settings.Update.From, s.view.Image
	text, err := os.ReadFile(layout.UpdateKey)
	if err != nil {
		return 0, fmt.Errorf("this image was built without a key for updates: %w", err)
	}
	key, err := statement.ParsePublicKey(text)
	if err != nil {
		return 0, err
	}
	sig, err := get(ctx, from+statement.Suffix)
	if err != nil {
		return 0, err
	}
	b, err := io.ReadAll(io.LimitReader(sig, statement.MaxSize+1))
	sig.Close()
	if err != nil {
		return 0, fmt.Errorf("get %s: %w", from+statement.Suffix, err)
	}
	newer, err := statement.Verify(b, key)
	if err != nil {
		return 0, fmt.Errorf("%s, with the key in the image that runs: %w", from+statement.Suffix, err)
	}
	if newer.Version <= running {
		return 0, errNothingNew
	}
	if all, err := slot.List(boot); err != nil {
		return 0, err
	} else if slot.Failed(all, newer.Version) {
		return 0, fmt.Errorf("%d was tried and did not come to work here", newer.Version)
	}
	s.updates <- fmt.Sprintf("getting %d", newer.Version)
	image, err := get(ctx, from)
	if err != nil {
		return 0, err
	}
	defer image.Close()
	return newer.Version, writable(func() error { return slot.Put(boot, running, newer, image) })
}

func get(ctx context.Context, from string) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		answer.Body.Close()
		return nil, fmt.Errorf("get %s: %s", from, answer.Status)
	}
	return answer.Body, nil
}
