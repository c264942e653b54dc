package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/cell-network/cell/internal/host"
	"github.com/cell-network/cell/sdk/api"
)

// Exit codes; docs/cli.md lists them.
const (
	exitError    = 1
	exitUsage    = 2
	exitNotReady = 3 // a cell did not become ready, or is failed
	exitNotFound = 4
	exitDenied   = 5
	exitRemote   = 6 // the called cell answered with an error
	exitCanceled = 130
)

// exitCodes says what each code means, for the documentation.
var exitCodes = []struct {
	Code int
	Text string
}{
	{0, "it worked"},
	{exitError, "an error that has no code of its own: a build, a manifest, the machine"},
	{exitUsage, "the command line is wrong"},
	{exitNotReady, "a cell did not become ready or has failed"},
	{exitNotFound, "there is no such cell, directory or method"},
	{exitDenied, "the caller may not do this"},
	{exitRemote, "the called cell answered with an error"},
	{exitCanceled, "interrupted"},
}

// codeError carries an exit code, and hints for a person. An empty text prints nothing: it was said before.
type codeError struct {
	code  int
	text  string
	hints []string
}

func (e *codeError) Error() string { return e.text }

// report prints err once and returns the exit code.
func report(ctx context.Context, w io.Writer, err error) int {
	if err == nil {
		return 0
	}
	if ctx.Err() != nil {
		fmt.Fprintln(w, "cell: interrupted")
		return exitCanceled
	}
	e := explainError(err)
	for line := range strings.SplitSeq(e.text, "\n") {
		if line != "" {
			fmt.Fprintln(w, "cell:", line)
		}
	}
	for _, h := range e.hints {
		fmt.Fprintln(w, "hint:", h)
	}
	return e.code
}

// explainError maps any error to text, code and hints.
func explainError(err error) *codeError {
	var ce *codeError
	var he *host.Error
	switch {
	case errors.As(err, &ce):
		return ce
	case errors.As(err, &he):
		return &codeError{exitError, he.Msg, []string{he.Hint}}
	}
	e := &codeError{exitError, api.ErrorText(err), nil}
	if errors.Is(err, fs.ErrPermission) {
		e.code = exitDenied
	}
	switch api.ErrorName(err) {
	case api.ErrNotFound:
		if e.code = exitNotFound; strings.Contains(e.text, "cell") && !strings.Contains(e.text, "tissue") {
			e.hints = []string{"cell ps   lists the cells that are known"}
		}
	case api.ErrDenied:
		e.code = exitDenied
	case api.ErrNotReady:
		e.code = exitNotReady
	case "org.freedesktop.DBus.Error.UnknownMethod":
		e.text, e.hints = "the celld that runs is older than this cell", []string{"cell systemctl restart celld   replaces it; cells go on running"}
	case "org.freedesktop.DBus.Error.NoReply", "org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.Disconnected":
		if strings.Contains(e.text, api.NetName) {
			e.text = "cellnetd, the daemon of the mesh, is not there: it comes with Cell as a machine has it installed, and with root's embedded manager"
			break
		}
		e.text, e.hints = "celld did not answer: "+e.text, []string{"cell journalctl -u celld   shows why; what runs goes on running"}
	}
	return e
}
