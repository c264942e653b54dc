package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/cell-network/cell/internal/host"
)

// line is a line that a program wrote: an entry of the journal, or several where journald cut it (LineMax= in journald.conf).
type line struct {
	fields map[string]json.RawMessage // of the last entry
	text   []byte
}

// mostJoined bounds a line that is made of pieces.
const mostJoined = 16 << 20

func (l *line) field(name string) string {
	var s string
	_ = json.Unmarshal(l.fields[name], &s) // a field that is not text is none here
	return s
}

// goesOn tells whether journald cut the line here, so that the stream's next entry is more of it.
func (l *line) goesOn() bool { return l.field("_LINE_BREAK") == "line-max" }

// parseLine reads an entry as journalctl -o json writes it.
func parseLine(entry []byte) (*line, error) {
	l := &line{}
	if err := json.Unmarshal(entry, &l.fields); err != nil {
		return nil, fmt.Errorf("read the journal: %w", err)
	}
	l.text = message(l.fields["MESSAGE"])
	return l, nil
}

// message is a text, a list of bytes where it is no UTF-8, a list of such where there are several, or null.
func message(raw json.RawMessage) []byte {
	var text string
	var codes []uint8
	var several []json.RawMessage
	switch {
	case json.Unmarshal(raw, &text) == nil:
		return []byte(text)
	case json.Unmarshal(raw, &several) != nil || len(several) == 0:
		return nil
	case json.Unmarshal(several[0], new(int)) == nil:
		for _, r := range several {
			n, _ := strconv.ParseUint(string(r), 10, 8)
			codes = append(codes, uint8(n))
		}
		return codes
	}
	return message(several[len(several)-1])
}

// journal reads what a manager's journal has, matches being those of journalctl.
type journal struct {
	host    *host.Host
	matches []string
	errs    io.Writer // journalctl's own complaints
}

// entries hands each entry to f until that is done, the journal ends or ctx does.
func (j *journal) entries(ctx context.Context, f func(*line) (more bool, err error), options ...string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := j.host.Command(ctx, "journalctl", slices.Concat([]string{"--quiet", "--no-pager", "--all", "-o", "json"}, options, j.matches)...)
	c.Stderr = j.errs
	// A group of its own: what steps into the manager's namespaces is the parent of journalctl, and does not take it along.
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		return fmt.Errorf("read the journal: %w", err)
	}
	in, more := bufio.NewReader(out), true
	for more && err == nil {
		var entry []byte
		if entry, err = in.ReadBytes('\n'); err != nil {
			break
		}
		var l *line
		if l, err = parseLine(entry); err == nil {
			more, err = f(l)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if !more || err != nil {
		cancel()
		_ = c.Wait() // it was ended
		return err
	}
	var exit *exec.ExitError
	if err := c.Wait(); errors.As(err, &exit) && ctx.Err() == nil && exit.ExitCode() > 1 { // 1: no entry
		return &codeError{exit.ExitCode(), "", nil}
	}
	return nil
}

// last returns the newest n lines, oldest first. It reads backwards: how many entries a line is made of is not known before.
func (j *journal) last(ctx context.Context, n int, options ...string) ([]*line, error) {
	var lines []*line
	open := map[string]*line{} // by stream: the line of which earlier pieces may follow
	err := j.entries(ctx, func(l *line) (bool, error) {
		stream := l.field("_STREAM_ID")
		if rest := open[stream]; stream != "" && l.goesOn() && rest != nil && len(rest.text) < mostJoined {
			rest.text = append(l.text, rest.text...)
			return true, nil
		}
		if len(lines) == n {
			return false, nil
		}
		lines = append(lines, l)
		open[stream] = l
		return true, nil
	}, append([]string{"--reverse"}, options...)...)
	slices.Reverse(lines)
	return lines, err
}

// follow hands new lines to f, those after the cursor or, where that is empty, those written since.
func (j *journal) follow(ctx context.Context, cursor string, since time.Time, f func(*line) error) error {
	from := "--after-cursor=" + cursor
	if cursor == "" {
		from = fmt.Sprintf("--since=@%d", since.Unix())
	}
	open := map[string][]byte{} // by stream: the pieces of a line that is not whole yet
	return j.entries(ctx, func(l *line) (bool, error) {
		stream := l.field("_STREAM_ID")
		l.text = append(open[stream], l.text...)
		delete(open, stream)
		if stream != "" && l.goesOn() && len(l.text) < mostJoined {
			open[stream] = l.text
			return true, nil
		}
		return true, f(l)
	}, "--follow", "--no-tail", from)
}

// json writes the line's last entry as journalctl does, with the whole text.
func (l *line) json(w io.Writer) error {
	delete(l.fields, "_LINE_BREAK")
	if utf8.Valid(l.text) {
		text, err := json.Marshal(string(l.text))
		if err != nil {
			return err
		}
		l.fields["MESSAGE"] = text
	} else {
		codes := make([]int, len(l.text)) // a []byte would be written as base64
		for i, b := range l.text {
			codes[i] = int(b)
		}
		list, err := json.Marshal(codes)
		if err != nil {
			return err
		}
		l.fields["MESSAGE"] = list
	}
	return json.NewEncoder(w).Encode(l.fields)
}

// print writes the line for people: when, who and what. Further lines of one text are indented below it.
func (l *line) print(w io.Writer) error {
	micros, _ := strconv.ParseInt(l.field("__REALTIME_TIMESTAMP"), 10, 64)
	who := l.field("SYSLOG_IDENTIFIER")
	if who == "" {
		who = l.field("_COMM")
	}
	if pid := l.field("_PID"); pid != "" {
		who += "[" + pid + "]"
	}
	head := printable(fmt.Sprintf("%s %s: ", time.UnixMicro(micros).Format(time.Stamp), who))
	text := strings.ReplaceAll(printable(string(l.text)), "\n", "\n"+strings.Repeat(" ", utf8.RuneCountInString(head)))
	_, err := fmt.Fprintln(w, head+text)
	return err
}

// colours are sequences of a terminal that change how text looks (ECMA-48, SGR).
var colours = regexp.MustCompile(`\x1b\[[0-9;:]*m`)

// printable drops colours and shows what else would move a terminal's cursor or change its state.
func printable(s string) string {
	s = colours.ReplaceAllString(strings.TrimRight(s, "\r\n"), "")
	var b bytes.Buffer
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\ufffd"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\t', r == '\n', r >= ' ' && r < 0x7f, r >= 0xa0:
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\x%02x`, r)
		}
	}
	return b.String()
}
