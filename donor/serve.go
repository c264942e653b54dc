package donor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/donor/layout"
	"github.com/cell-network/cell/donor/medium"
	"github.com/cell-network/cell/donor/slot"
	"github.com/cell-network/cell/sdk/api"
)

const (
	look      = 2 * time.Second
	joinAgain = 10 * time.Second
	// proven is how long a new image has to do its work to be called good, and onTrial how long it may take to come to that.
	proven  = 30 * time.Second
	onTrial = 20 * time.Minute
)

// server is a donor that runs.
type server struct {
	manager api.Manager
	mesh    api.Net
	view    View
	said    string // on the console

	good, lastJoin time.Time
	treesDue       time.Time // when the image's trees are started again
	treesStarted   bool
	updates        chan string
	size           int64 // of the disk with the data
}

// Serve joins, starts the trees of the image, shows how things are, and takes care of the image, until the context ends.
func Serve(ctx context.Context, manager api.Manager, mesh api.Net) error {
	st, err := load()
	if err != nil {
		return err
	}
	s := &server{manager: manager, mesh: mesh, view: View{State: st}, updates: make(chan string, 1)}
	if s.view.Image, err = version(); err != nil {
		return err
	}
	if st.Settings.Update.From != "" && st.System != "" {
		go s.update(ctx)
	}
	begun := time.Now()
	v := &s.view
	v.Trial = s.trial()
	for {
		s.look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		s.show()
		now := time.Now()
		if !v.ready() {
			s.good = time.Time{}
		} else if s.good.IsZero() {
			s.good = now
		}
		switch {
		case !v.Trial:
		case !s.good.IsZero() && now.Sub(s.good) >= proven:
			err := writable(func() error { return errors.Join(slot.Clean(boot), slot.Bless(boot, v.Image)) })
			if err != nil {
				slog.Error("call the image good", "err", err)
			}
			v.Trial = err != nil
		case now.Sub(begun) > onTrial:
			v.Trouble = fmt.Sprintf("this image did not come to work within %v: starting anew, and when its tries are used up the one before it", onTrial)
			s.show()
			if out, err := exec.CommandContext(ctx, "systemctl", "reboot").CombinedOutput(); err != nil {
				return fmt.Errorf("start the machine anew: %w: %s", err, out)
			}
			<-ctx.Done()
		}
		select {
		case v.Update = <-s.updates:
		case <-ctx.Done():
			return nil
		case <-time.After(look):
		}
	}
}

// trial tells whether the image is on trial.
func (s *server) trial() bool {
	all, err := slot.List(boot)
	now, ok := slot.Running(all, s.view.Image)
	return err == nil && ok && now.Trial
}

// writable lets a function write to the system partition.
func writable(do func() error) error {
	const flags = unix.MS_REMOUNT | unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC
	if err := unix.Mount("", boot, "", flags, ""); err != nil {
		return fmt.Errorf("make the system partition writable: %w", err)
	}
	err := do()
	unix.Sync()
	return errors.Join(err, unix.Mount("", boot, "", flags|unix.MS_RDONLY, ""))
}

// look sees how things are and does what is due.
func (s *server) look(ctx context.Context) {
	ctx, stop := context.WithTimeout(ctx, 10*time.Minute)
	defer stop()
	v := &s.view
	v.Addresses, v.Trouble = addresses(), ""
	s.grow(ctx)
	var fs unix.Statfs_t
	if v.Device != "" && unix.Statfs(data, &fs) == nil {
		v.Room, v.Full = int64(fs.Blocks)*fs.Bsize, fs.Bavail*uint64(fs.Bsize) < 4<<20
	}
	var err error
	if v.Cells, err = s.manager.List(ctx, ""); err != nil {
		v.Trouble = "celld does not answer: " + api.ErrorText(err)
		return
	}
	s.trees(ctx)
	if v.Net, err = s.mesh.Status(ctx); err != nil {
		v.Trouble = "cellnetd does not answer: " + api.ErrorText(err)
		return
	}
	if v.Net.Tissue == "" && v.Settings.Join != "" && time.Since(s.lastJoin) > joinAgain {
		s.lastJoin = time.Now()
		v.Joining = ""
		if _, _, err := s.mesh.Join(ctx, v.Settings.Join, v.Name); err != nil {
			v.Joining = api.ErrorText(err)
		} else if v.Net, err = s.mesh.Status(ctx); err != nil {
			v.Trouble = "cellnetd does not answer: " + api.ErrorText(err)
		}
	}
}

// grow takes the space that the disk with the data got while this runs. What is encrypted grows at the next start, as it needs its key.
func (s *server) grow(ctx context.Context) {
	v := &s.view
	if v.Device == "" || v.Encrypted {
		return
	}
	before := s.size
	if s.size = medium.Size(medium.Whole(v.Device)); before == 0 || s.size <= before {
		return
	}
	_, err := medium.Make(ctx, medium.Choice{Partition: v.Device}, shape(v.Settings))
	if err == nil {
		err = medium.Grow(ctx, data)
	}
	slog.Info("the disk with the data has grown", "bytes", s.size, "err", err)
}

// said is what a command said of its failure: what cell begins with its name, or the last line of another one.
func said(out []byte, err error) string {
	last := err.Error()
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		text, ok := strings.CutPrefix(line, "cell: ")
		if ok {
			return text
		}
		last = text
	}
	return last
}

// trees starts what the image brings: its programs replace those of an older image, its data stays.
func (s *server) trees(ctx context.Context) {
	if s.treesStarted || time.Now().Before(s.treesDue) {
		return
	}
	all, _ := os.ReadDir(layout.Trees) // there may be none
	s.view.Trees = ""
	if err := os.MkdirAll(cells, 0o755); err != nil { // nothing has made it where nothing is kept
		s.view.Trees = err.Error()
	}
	for _, t := range all {
		dir := filepath.Join(cells, t.Name())
		err := place(filepath.Join(layout.Trees, t.Name()), dir)
		var out []byte
		if err == nil {
			out, err = exec.CommandContext(ctx, "cell", "mitosis", dir).CombinedOutput()
		}
		if err != nil {
			slog.Error("start a tree of the image", "tree", t.Name(), "err", err, "out", string(out))
			s.view.Trees = fmt.Sprintf("the tree %s does not start: %s", t.Name(), said(out, err))
		}
	}
	s.treesStarted, s.treesDue = s.view.Trees == "", time.Now().Add(time.Minute)
}

// addresses are those at which the machine is reached from outside.
func addresses() (out []string) {
	all, _ := net.Interfaces()
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 || i.Flags&net.FlagUp == 0 || strings.HasPrefix(i.Name, "cell") {
			continue
		}
		list, _ := i.Addrs()
		for _, a := range list {
			if n, ok := a.(*net.IPNet); ok && !n.IP.IsLinkLocalUnicast() {
				out = append(out, n.IP.String())
			}
		}
	}
	return out
}

// show draws the screen, and tells a serial line what is new.
func (s *server) show() {
	_ = os.WriteFile("/dev/tty1", []byte("\033[H\033[2J"+strings.ReplaceAll(s.view.Screen(), "\n", "\r\n")), 0)
	text := s.view.headline() + "\ndata: " + s.view.keeps() + "\nimage: " + s.view.image()
	if text == s.said {
		return
	}
	s.said = text
	for line := range strings.Lines(text) {
		slog.Info(strings.TrimSpace(line))
	}
	for _, tty := range []string{"/dev/ttyS0", "/dev/ttyAMA0"} {
		if serial, err := os.OpenFile(tty, os.O_WRONLY|unix.O_NOCTTY|unix.O_NONBLOCK, 0); err == nil {
			_, _ = serial.WriteString("\r\ncell: " + strings.ReplaceAll(text, "\n", "\r\ncell: ") + "\r\n")
			_ = serial.Close()
		}
	}
}
