package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cell-network/cell/internal/host"
	"github.com/cell-network/cell/sdk/genome"
	"github.com/cell-network/cell/sdk/wire"
)

func newUse() *cobra.Command {
	return &cobra.Command{
		Use: "use NAME [METHOD [ARGUMENT…]]", ValidArgsFunction: cellNames, Short: "Call a method of a cell", DisableFlagParsing: true,
		Long: `Call a method of a cell, which wakes if it sleeps. Arguments are given in order or as name=value; lists,
maps and structs are written as JSON. Without a method the cell's methods are listed.
What a method streams is printed as it comes; what it takes as a stream is read from
standard input, a line for an item.

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
	trace      [16]byte
}

// parseUse takes the options out of the words by hand: a flag parser would take "-3" for one.
func parseUse(words []string) (*use, error) {
	u := &use{timeout: 30 * time.Second}
	_, _ = rand.Read(u.trace[:]) // never fails
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
		return nil, usage("cell use takes a name, a method and its arguments")
	}
	return u, nil
}

func (u *use) run(ctx context.Context, c *cobra.Command) error {
	m, err := manager(ctx)
	if err != nil {
		return err
	}
	name := u.words[0]
	conn, err := connect(ctx, m, name)
	if err != nil {
		return err
	}
	defer conn.Close()
	g, err := askGenome(ctx, conn, name)
	if err != nil {
		return err
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
	if method.In != nil || method.Out != nil {
		return u.stream(ctx, c, conn, g, method, full, request)
	}
	result, err := conn.Do(ctx, wire.Call{Method: method.ID, Request: request, OneWay: method.OneWay, Trace: u.trace})
	if err != nil {
		return u.failed(c, g, full, err)
	}
	if method.OneWay {
		return conn.Ping(ctx) // the event is there when the answer to what follows it is here
	}
	return u.print(c, full, func() (genome.Output, error) { return genome.DecodeResults(g, method, result) })
}

// print prints what decode gives.
func (u *use) print(c *cobra.Command, full string, decode func() (genome.Output, error)) error {
	out, err := decode()
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

// stream sends what standard input has, a line for an item, where the method takes a stream, and prints the items of the
// answer as they come.
func (u *use) stream(ctx context.Context, c *cobra.Command, conn *wire.Conn, g *genome.Genome, m *genome.Method, full string, request []byte) error {
	s, err := conn.Open(ctx, wire.Call{Method: m.ID, Request: request, Trace: u.trace}, m.In != nil, m.Out != nil)
	if err != nil {
		return u.failed(c, g, full, err)
	}
	defer s.Close()
	sent := make(chan error, 1)
	go func() { sent <- u.send(c, g, m, s) }()
	if m.In != nil && m.Out == nil {
		if err := <-sent; err != nil {
			return err
		}
	}
	for m.Out != nil {
		item, err := s.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return u.failed(c, g, full, err)
		}
		if err := u.print(c, full, func() (genome.Output, error) { return genome.DecodeItem(g, m, item) }); err != nil {
			return err
		}
	}
	result, err := s.Result()
	if err != nil {
		return u.failed(c, g, full, err)
	}
	return u.print(c, full, func() (genome.Output, error) { return genome.DecodeResults(g, m, result) })
}

func (u *use) send(c *cobra.Command, g *genome.Genome, m *genome.Method, s *wire.Stream) error {
	if m.In == nil {
		return nil
	}
	item := &genome.Method{Name: m.Name, Request: *m.In}
	in := bufio.NewScanner(c.InOrStdin())
	in.Buffer(nil, wire.MaxRequest)
	for in.Scan() {
		data, err := genome.EncodeWords(g, item, []string{"item=" + in.Text()})
		if err != nil {
			return &codeError{exitUsage, err.Error(), nil}
		}
		if err := s.Send(data); err != nil {
			if err == io.EOF { // answered already
				return nil
			}
			return err
		}
	}
	if err := in.Err(); err != nil {
		return fmt.Errorf("read items: %w", err)
	}
	return s.CloseSend()
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
	return strings.TrimSpace(fmt.Sprintf("%-30s  %s", genome.Signature(m), strings.TrimPrefix(doc, m.Name+" ")))
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
	e := &codeError{code, full + ": " + text, nil}
	if we.Code == wire.CodeRemote { // which is told in the journal alone
		e.hints = []string{fmt.Sprintf("cell logs --trace %x   shows what was written about this call", u.trace)}
	}
	return e
}
