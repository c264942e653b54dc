// Package journal makes systemd's journal the destination of package slog and of package log.
package journal

import (
	"context"
	"encoding"
	"encoding/binary"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/cell-network/cell/sdk/trace"
)

// journalHandler writes every record as one entry of systemd's journal: MESSAGE, PRIORITY, SYSLOG_IDENTIFIER, CELL, and one
// field for each attribute. What the journal does not take goes to fallback.
type journalHandler struct {
	send     func(entry []byte) error
	fallback slog.Handler
	fields   string // ahead of every entry: those of the cell and of WithAttrs
	group    string // ahead of every attribute's name
}

func newJournalHandler(cell string, send func([]byte) error, fallback slog.Handler) *journalHandler {
	b := appendField(nil, "SYSLOG_IDENTIFIER", cell)
	return &journalHandler{send: send, fallback: fallback, fields: string(appendField(b, "CELL", cell))}
}

func (h *journalHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.fallback.Enabled(ctx, level)
}

func (h *journalHandler) Handle(ctx context.Context, r slog.Record) error {
	b := make([]byte, 0, 512)
	b = appendField(b, "MESSAGE", r.Message)
	b = appendField(b, "PRIORITY", priority(r.Level))
	if id := trace.ID(ctx); id != "" { // in every line about a call: cell logs --trace finds them in all cells
		b = appendField(b, "TRACE", id)
	}
	b = append(b, h.fields...)
	r.Attrs(func(a slog.Attr) bool {
		b = appendAttr(b, h.group, a)
		return true
	})
	if err := h.send(b); err != nil {
		return h.fallback.Handle(ctx, r)
	}
	return nil
}

func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	b := []byte(h.fields)
	for _, a := range attrs {
		b = appendAttr(b, h.group, a)
	}
	c.fields, c.fallback = string(b), h.fallback.WithAttrs(attrs)
	return &c
}

func (h *journalHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	c := *h
	c.group, c.fallback = join(h.group, name), h.fallback.WithGroup(name)
	return &c
}

// priority is syslog's severity.
func priority(level slog.Level) string {
	switch {
	case level < slog.LevelInfo:
		return "7"
	case level < slog.LevelWarn:
		return "6"
	case level < slog.LevelError:
		return "4"
	}
	return "3"
}

func join(group, name string) string {
	if group == "" || name == "" {
		return group + name
	}
	return group + "_" + name
}

func appendAttr(b []byte, group string, a slog.Attr) []byte {
	a.Value = a.Value.Resolve()
	if a.Equal(slog.Attr{}) {
		return b
	}
	if a.Value.Kind() == slog.KindGroup {
		for _, member := range a.Value.Group() {
			b = appendAttr(b, join(group, a.Key), member)
		}
		return b
	}
	return appendField(b, fieldName(join(group, a.Key)), valueText(a.Value))
}

func valueText(v slog.Value) (s string) {
	// A value whose own method panics, such as a nil pointer, must not end the cell.
	defer func() {
		if r := recover(); r != nil {
			s = fmt.Sprintf("panic: %v", r)
		}
	}()
	switch v.Kind() {
	case slog.KindTime:
		return v.Time().Format(time.RFC3339Nano)
	case slog.KindAny:
		switch x := v.Any().(type) {
		case []byte:
			return string(x)
		case error: // also one that marshals itself: its message is meant
		case encoding.TextMarshaler:
			if text, err := x.MarshalText(); err == nil {
				return string(text)
			}
		}
		return fmt.Sprintf("%+v", v.Any())
	}
	return v.String()
}

// appendField appends a field of the journal's native protocol. A value with a newline has its length written ahead of it.
func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	if !strings.Contains(value, "\n") {
		b = append(b, '=')
	} else {
		b = append(b, '\n')
		b = binary.LittleEndian.AppendUint64(b, uint64(len(value)))
	}
	b = append(b, value...)
	return append(b, '\n')
}

const longestFieldName = 64

// fieldName makes a name that the journal takes of an attribute's: letters in upper case, digits and underscores, neither of
// the last two first. The names that the handler itself writes, and those with a meaning in an entry, are not an attribute's.
func fieldName(key string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, key)
	switch name {
	case "MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "CELL", "MESSAGE_ID", "SYSLOG_PID", "SYSLOG_FACILITY", "SYSLOG_TIMESTAMP", "TRACE", "":
		name = "ATTR_" + name
	}
	if c := name[0]; c == '_' || c >= '0' && c <= '9' {
		name = "ATTR_" + strings.TrimLeft(name, "_")
	}
	return name[:min(len(name), longestFieldName)]
}
