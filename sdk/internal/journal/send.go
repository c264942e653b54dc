package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"
)

// SocketPath is the journal's socket; a variable for tests.
var SocketPath = "/run/systemd/journal/socket"

// Install makes the journal the destination of slog, or standard error when that is not the journal already.
func Install(name string) {
	if n := os.Getenv("CELL_NAME"); n != "" {
		name = n
	}
	slog.SetDefault(slog.New(newLogHandler(name)))
}

func newLogHandler(cell string) slog.Handler {
	plain := slog.NewJSONHandler(os.Stderr, nil)
	if !isJournal(os.Stderr, os.Getenv("JOURNAL_STREAM")) {
		return plain
	}
	if _, err := os.Stat(SocketPath); err != nil {
		return plain
	}
	socket, err := openJournal()
	if err != nil {
		return plain
	}
	return newJournalHandler(cell, socket.send, plain)
}

// isJournal says whether f is the stream that stream names, as device and inode.
func isJournal(f *os.File, stream string) bool {
	var device, inode uint64
	if n, err := fmt.Sscanf(stream, "%d:%d", &device, &inode); err != nil || n != 2 {
		return false
	}
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) == nil && uint64(st.Dev) == device && st.Ino == inode
}

type journalSocket struct {
	fd int
	to unix.SockaddrUnix
}

func openJournal() (*journalSocket, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	// A journal that hangs must not hang the cell.
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 1})
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 8<<20)
	return &journalSocket{fd: fd, to: unix.SockaddrUnix{Name: SocketPath}}, nil
}

// send sends one entry, as a datagram or, when it is too large for one, as a sealed file in memory.
func (s *journalSocket) send(entry []byte) error {
	err := uninterrupted(func() error { return unix.Sendto(s.fd, entry, unix.MSG_NOSIGNAL, &s.to) })
	if !errors.Is(err, unix.EMSGSIZE) && !errors.Is(err, unix.ENOBUFS) {
		return err
	}
	fd, err := unix.MemfdCreate("journal-entry", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	file := os.NewFile(uintptr(fd), "journal-entry")
	defer file.Close()
	if _, err := file.Write(entry); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return fmt.Errorf("write journal: seal: %w", err)
	}
	return uninterrupted(func() error { return unix.Sendmsg(s.fd, nil, unix.UnixRights(fd), &s.to, unix.MSG_NOSIGNAL) })
}

func uninterrupted(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}
