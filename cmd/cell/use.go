package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cell-network/cell/internal/host"
	"github.com/cell-network/cell/sdk/api"
	"github.com/cell-network/cell/sdk/genome"
	"github.com/cell-network/cell/sdk/manifest"
	"github.com/cell-network/cell/sdk/wire"
)

func newUse() *cobra.Command {
	return &cobra.Command{
		Use: "use NAME [METHOD [ARGUMENT…]]", ValidArgsFunction: cellNames, Short: "Call a method of a cell", DisableFlagParsing: true,
		Long: `Call a method of a cell, which wakes if it sleeps. Arguments are given in order or as name=value; lists,
maps and structs are written as JSON. Without a method the cell's methods are listed.

Options, at any place:
  --json          print the results, or the error, as a JSON object
  --timeout TIME  give up after so long, as in 500ms or 2m (default 30s)

EXIT STATUS
  6 when the cell answered with an error, 4 when there is no such cell or method, 2 when the arguments do not fit.`,
		Example: "  cell use calculator\n  cell use calculator add 3 4\n  cell use calculator add a=3 b=4 --json",
		RunE: func(c *cobra.Command, words []string) error {
			u, err := parseUse(words)
			if err != nil {
				return err
			}
			if u.help {
				return c.Help()
			}
			ctx, cancel := context.WithTimeout(c.Context(), u.timeout)
			defer cancel()
			err = u.run(ctx, c)
			if errors.Is(err, context.DeadlineExceeded) && c.Context().Err() == nil {
				return &codeError{exitError, fmt.Sprintf("%s did not answer within %v", u.words[0], u.timeout), []string{"--timeout 5m   waits longer"}}
			}
			return err
		},
	}
}

type use struct {
	words      []string
	json, help bool
	timeout    time.Duration
}

// parseUse takes the options out of the words by hand: a flag parser would take "-3" for one.
func parseUse(words []string) (*use, error) {
	u := &use{timeout: 30 * time.Second}
	usage := func(text string) error { return &codeError{exitUsage, text, []string{"cell use --help"}} }
	for i := 0; i < len(words); i++ {
		value, hasValue := strings.CutPrefix(words[i], "--timeout=")
		switch w := words[i]; {
		case w == "--":
			u.words = append(u.words, words[i+1:]...)
			i = len(words)
		case w == "--json":
			u.json = true
		case w == "--user":
			if err := os.Setenv("CELL_MANAGER", string(host.User)); err != nil {
				return nil, err
			}
		case w == "--help" || w == "-h":
			u.help = true
		case w == "--timeout" || hasValue:
			if !hasValue {
				if i++; i == len(words) {
					return nil, usage("--timeout: its time is missing")
				}
				value = words[i]
			}
			d, err := time.ParseDuration(value)
			if err != nil || d <= 0 {
				return nil, usage(fmt.Sprintf("--timeout: %q is not a duration", value))
			}
			u.timeout = d
		default:
			u.words = append(u.words, w)
		}
	}
	if len(u.words) == 0 && !u.help {
		return nil, usage("cell use: wanted is a name, a method and its arguments")
	}
	return u, nil
}

// genomeMethod is the built-in method that answers the genome.
const genomeMethod = 0

func (u *use) run(ctx context.Context, c *cobra.Command) error {
	m, err := manager(ctx)
	if err != nil {
		return err
	}
	name := u.words[0]
	if err := u.speaks(ctx, m, name); err != nil {
		return err
	}
	f, err := m.Connect(ctx, name)
	if err != nil {
		return err
	}
	nc, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return fmt.Errorf("connect to %s: %w", name, err)
	}
	conn := wire.NewConn(nc)
	defer conn.Close()
	data, err := conn.Call(ctx, genomeMethod, nil)
	if err != nil {
		return fmt.Errorf("ask %s for its genome: %w", name, err)
	}
	g, err := genome.Parse(data)
	if err != nil {
		return fmt.Errorf("genome of %s: %w", name, err)
	}
	if len(u.words) == 1 {
		return u.methods(c, g)
	}
	method, err := find(g, name, u.words[1])
	if err != nil {
		return err
	}
	full := name + "." + method.Name
	request, err := genome.EncodeWords(g, method, u.words[2:])
	if err != nil {
		return &codeError{exitUsage, full + ": " + err.Error(), []string{describe(method)}}
	}
	result, err := conn.Call(ctx, method.ID, request)
	if err != nil {
		return u.failed(c, g, full, err)
	}
	out, err := genome.DecodeResults(g, method, result)
	if err != nil {
		return fmt.Errorf("%s: %w", full, err)
	}
	text := out.Text
	if u.json {
		text = string(out.JSON)
	}
	if text != "" {
		fmt.Fprintln(c.OutOrStdout(), text)
	}
	return nil
}

// speaks refuses cells that have no methods: they would not understand a single byte.
func (u *use) speaks(ctx context.Context, m api.Manager, name string) error {
	cells, err := m.List(ctx, name)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(cells, func(x api.Cell) bool { return x.Name == name })
	if i < 0 {
		return &codeError{exitNotFound, fmt.Sprintf("no cell %q is known here", name), nil}
	}
	man, errs := manifest.Load(cells[i].Dir)
	if len(errs) == 0 && man.Speaks != "cell" {
		return &codeError{
			exitUsage, fmt.Sprintf("%s speaks %s and has no methods", name, man.Speaks),
			[]string{"curl --unix-socket " + relative(man.Dir) + "/run/cell.sock http://cell/"},
		}
	}
	return nil
}

func (u *use) methods(c *cobra.Command, g *genome.Genome) error {
	if u.json {
		return json.NewEncoder(c.OutOrStdout()).Encode(g.Methods)
	}
	for i := range g.Methods {
		fmt.Fprintln(c.OutOrStdout(), describe(&g.Methods[i]))
	}
	return nil
}

// describe is a method's signature and the first line of its comment.
func describe(m *genome.Method) string {
	doc, _, _ := strings.Cut(m.Doc, "\n")
	return strings.TrimSpace(fmt.Sprintf("%-30s %s", genome.Signature(m), strings.TrimPrefix(doc, m.Name+" ")))
}

func find(g *genome.Genome, name, word string) (*genome.Method, error) {
	m, err := genome.FindMethod(g, word)
	if err == nil {
		return m, nil
	}
	e := &codeError{exitNotFound, fmt.Sprintf("%s has no method %q", name, word), nil}
	for i := range g.Methods {
		if i == 8 {
			e.hints = append(e.hints, "cell use "+name+"   lists all")
			break
		}
		e.hints = append(e.hints, describe(&g.Methods[i]))
	}
	return nil, e
}

// failed turns the answer of a cell into an error for people or, with --json, prints it as an object.
func (u *use) failed(c *cobra.Command, g *genome.Genome, full string, err error) error {
	var we *wire.Error
	if !errors.As(err, &we) {
		return fmt.Errorf("%s: %w", full, err)
	}
	answer := struct {
		Error   string          `json:"error"`
		Type    string          `json:"type,omitempty"`
		Message string          `json:"message"`
		Fields  json.RawMessage `json:"fields,omitempty"`
	}{we.Code.String(), we.Name, we.Message, nil}
	text := we.Message
	if we.Code == wire.CodeApplication {
		if out, derr := genome.DecodeError(g, we.Name, we.Payload); derr == nil {
			answer.Fields = out.JSON
			if out.Text != "" {
				text += " (" + out.Text + ")"
			}
		}
	}
	if text == "" {
		text = we.Error()
	}
	code := exitRemote
	switch we.Code {
	case wire.CodeDenied:
		code = exitDenied
	case wire.CodeInvalidRequest:
		code = exitUsage
	case wire.CodeNoSuchMethod:
		code = exitNotFound
	}
	if u.json {
		if err := json.NewEncoder(c.ErrOrStderr()).Encode(answer); err != nil {
			return err
		}
		return &codeError{code, "", nil}
	}
	return &codeError{code, full + ": " + text, nil}
}
