package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/sdk/internal/unixtest"
	"github.com/cell-network/cell/sdk/trace"
)

// parseEntry reads the journal's native protocol.
func parseEntry(t *testing.T, b []byte) map[string]string {
	t.Helper()
	fields := map[string]string{}
	for len(b) > 0 {
		i := bytes.IndexAny(b, "=\n")
		if i < 0 {
			t.Fatalf("entry ends within a field: %q", b)
		}
		name, value := string(b[:i]), []byte(nil)
		if b[i] == '=' {
			value, b, _ = bytes.Cut(b[i+1:], []byte("\n"))
		} else {
			n := binary.LittleEndian.Uint64(b[i+1:])
			value, b = b[i+9:i+9+int(n)], b[i+9+int(n):]
			if b[0] != '\n' {
				t.Fatalf("no newline after field %s", name)
			}
			b = b[1:]
		}
		if _, twice := fields[name]; twice {
			t.Errorf("field %s twice", name)
		}
		fields[name] = string(value)
	}
	return fields
}

type badValue struct{}

func (*badValue) MarshalText() ([]byte, error) { panic("no text") }

func TestJournalEntry(t *testing.T) {
	journal := fakeJournal(t)
	var rest bytes.Buffer
	socket, err := openJournal()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(socket.fd)
	log := slog.New(newJournalHandler("calc", socket.send, slog.NewJSONHandler(&rest, nil)))
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	log.Debug("not written")
	log.With("pre", 1).WithGroup("http").With("path", "/x").WithGroup("in").Error("two\nlines",
		"status-code", 500, "message", "grouped", "err", errors.New("boom"), "at", at, "took", time.Second,
		"ip", netip.MustParseAddr("::1"), "raw", []byte("ab"), "bad", (*badValue)(nil), slog.Attr{},
		slog.Group("peer", "name", "a\nb"), slog.Group("", "inline", true))
	got := parseEntry(t, []byte(unixtest.Datagram(t, journal)))
	want := map[string]string{
		"MESSAGE": "two\nlines", "PRIORITY": "3", "SYSLOG_IDENTIFIER": "calc", "CELL": "calc", "PRE": "1", "HTTP_PATH": "/x",
		"HTTP_IN_STATUS_CODE": "500", "HTTP_IN_MESSAGE": "grouped", "HTTP_IN_ERR": "boom", "HTTP_IN_AT": "2026-01-02T03:04:05.000000006Z",
		"HTTP_IN_TOOK": "1s", "HTTP_IN_IP": "::1", "HTTP_IN_RAW": "ab", "HTTP_IN_BAD": "panic: no text",
		"HTTP_IN_PEER_NAME": "a\nb", "HTTP_IN_INLINE": "true",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("entry\n%q, want\n%q", got, want)
	}
	if rest.Len() > 0 {
		t.Errorf("also written elsewhere: %s", &rest)
	}
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	log.WarnContext(trace.WithID(t.Context(), id), "w", "trace", "mine")
	if got := parseEntry(t, []byte(unixtest.Datagram(t, journal))); got["TRACE"] != id || got["ATTR_TRACE"] != "mine" {
		t.Errorf("entry %q", got)
	}
	log.Warn("w", "cell", "other")
	if got := parseEntry(t, []byte(unixtest.Datagram(t, journal))); got["PRIORITY"] != "4" || got["CELL"] != "calc" || got["ATTR_CELL"] != "other" {
		t.Errorf("entry %q", got)
	}

	journal.Close()
	log.Info("kept", "n", 1)
	if !strings.Contains(rest.String(), `"msg":"kept","n":1`) {
		t.Errorf("without a journal: %s", &rest)
	}
}

func TestFieldName(t *testing.T) {
	for key, want := range map[string]string{
		"user": "USER", "userId": "USERID", "a.b-c d": "A_B_C_D", "_TRUSTED": "ATTR_TRUSTED", "__": "ATTR_", "1st": "ATTR_1ST",
		"": "ATTR_", "priority": "ATTR_PRIORITY", "größe": "GR__E", strings.Repeat("x", 100): strings.Repeat("X", 64),
	} {
		if got := fieldName(key); got != want {
			t.Errorf("%q: %q, want %q", key, got, want)
		}
	}
}

func TestLargeEntry(t *testing.T) {
	journal := fakeJournal(t)
	socket, err := openJournal()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(socket.fd)
	unix.SetsockoptInt(socket.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 8<<10)
	message := strings.Repeat("long ", 1<<18)
	log := slog.New(newJournalHandler("calc", socket.send, slog.NewJSONHandler(os.Stdout, nil)))
	log.Info(message)

	oob := make([]byte, 64)
	n, oobn, _, _, err := journal.ReadMsgUnix(make([]byte, 16), oob)
	if err != nil || n != 0 {
		t.Fatalf("%d bytes, %v", n, err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		t.Fatalf("control messages %v, %v", messages, err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		t.Fatalf("descriptors %v, %v", fds, err)
	}
	file := os.NewFile(uintptr(fds[0]), "entry")
	defer file.Close()
	seals, err := unix.FcntlInt(file.Fd(), unix.F_GET_SEALS, 0)
	if want := unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_SEAL; err != nil || seals != want {
		t.Errorf("seals %x, want %x, %v", seals, want, err)
	}
	b, err := io.ReadAll(io.NewSectionReader(file, 0, 1<<30))
	if err != nil {
		t.Fatal(err)
	}
	if got := parseEntry(t, b); got["MESSAGE"] != message || got["CELL"] != "calc" {
		t.Errorf("entry of %d bytes", len(b))
	}
}

func fakeJournal(t *testing.T) *net.UnixConn {
	dir, err := os.MkdirTemp("", "journal")
	if err != nil {
		t.Fatal(err)
	}
	old := SocketPath
	SocketPath = filepath.Join(dir, "socket")
	t.Cleanup(func() {
		SocketPath = old
		os.RemoveAll(dir)
	})
	return unixtest.Datagrams(t, SocketPath)
}
