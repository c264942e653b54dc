package manifest

import (
	"fmt"
	"sort"
	"strings"
)

// Error is one thing wrong in one file. Notes give the figures behind it, hints say what to do.
type Error struct {
	File  string
	Pos   Pos
	Msg   string
	Notes []string
	Hints []string
}

// Error is "file:line:col: message".
func (e *Error) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Pos.Line, e.Pos.Col, e.Msg)
}

// Errors are all that is wrong, in the order of files and lines. An empty list is no error.
type Errors []*Error

// Error joins the messages and their hints, a line each.
func (es Errors) Error() string {
	var b strings.Builder
	for i, e := range es {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(e.Error())
		for _, h := range e.Hints {
			b.WriteString("\n  hint: " + h)
		}
	}
	return b.String()
}

func (es *Errors) add(file string, at Pos, format string, args ...any) *Error {
	e := &Error{File: file, Pos: at, Msg: fmt.Sprintf(format, args...)}
	*es = append(*es, e)
	return e
}

func (e *Error) hint(format string, args ...any) *Error {
	e.Hints = append(e.Hints, fmt.Sprintf(format, args...))
	return e
}

func (es Errors) sort() {
	sort.SliceStable(es, func(i, j int) bool {
		a, b := es[i], es[j]
		if a.File != b.File {
			return a.File < b.File
		}
		if a.Pos.Line != b.Pos.Line {
			return a.Pos.Line < b.Pos.Line
		}
		return a.Pos.Col < b.Pos.Col
	})
}
