package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/spf13/cobra"

	"github.com/cell-network/cell/internal/host"
	"github.com/cell-network/cell/sdk/api"
)

// findHost finds the manager in use; an embedded one is brought up when there is no other.
func findHost(ctx context.Context) (*host.Host, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the own path: %w", err)
	}
	return host.Ensure(ctx, "", filepath.Join(filepath.Dir(self), "celld"))
}

// manager connects to celld on the manager in use.
func manager(ctx context.Context) (api.Manager, error) {
	// A manager that answers needs no further look.
	if h, err := host.Find(ctx, ""); err == nil && h.Kind == host.Embedded {
		if conn, err := h.Dial(ctx); err == nil {
			return api.Manager{Conn: conn}, nil
		}
	}
	h, err := findHost(ctx)
	if err != nil {
		return api.Manager{}, err
	}
	conn, err := h.Dial(ctx)
	if err != nil {
		return api.Manager{}, err
	}
	return api.Manager{Conn: conn}, nil
}

// watched runs call and prints each step as celld tells of it. It turns steps that failed into one error.
func watched(c *cobra.Command, m api.Manager, call func() ([]api.Step, error)) ([]api.Step, error) {
	w, begun := newProgress(c.ErrOrStderr()), time.Now()
	defer w.close()
	w.start("waiting for celld")
	signals := make(chan *dbus.Signal, 1024)
	m.Conn.Signal(signals)
	told := make(chan map[string]bool, 1)
	go func() {
		seen := map[string]bool{}
		for s := range signals {
			if s.Name != api.ManagerName+".Step" || len(s.Body) != 5 {
				continue
			}
			var st api.Step
			if dbus.Store(s.Body, &st.Verb, &st.Cell, &st.Reason, &st.Error, &st.Millis) == nil {
				seen[st.Verb+st.Cell] = true
				printStep(w, st)
			}
		}
		told <- seen
	}()
	steps, err := call()
	m.Conn.RemoveSignal(signals)
	close(signals)
	seen := <-told
	if err != nil {
		return nil, err
	}
	failed := &codeError{code: exitNotReady}
	for _, st := range steps {
		if !seen[st.Verb+st.Cell] {
			printStep(w, st)
		}
		if st.Error == "" {
			continue
		}
		failed.text += st.Cell + ": " + st.Error + "\n"
		if len(failed.hints) >= mostHints || strings.HasPrefix(st.Error, "not ") {
			continue
		}
		h, err := findHost(c.Context())
		if err != nil {
			continue
		}
		words := lastWords(c.Context(), h, st.Cell, begun, 10)
		for _, text := range words {
			fmt.Fprintf(w, "  %s | %s\n", st.Cell, text)
		}
		if strings.Contains(st.Error, "it ended by itself") {
			failed.hints = append(failed.hints, "a program that puts itself into the background has ended: let it stay in the foreground (often -f, or daemon off)")
		}
		switch {
		case strings.Contains(st.Error, "needs a GPU"):
			failed.hints = append(failed.hints, `cell gpu   shows who has them; gpu = { wait = "10m" } waits for one, and optional = true does without`)
		case len(words) > 0:
			failed.hints = append(failed.hints, "cell logs "+st.Cell+"   shows all that it wrote; --systemd adds what systemd did")
		default:
			failed.hints = append(failed.hints, "cell logs --systemd "+st.Cell+"   shows what systemd did with it; it wrote nothing itself")
		}
	}
	if failed.text != "" {
		return steps, failed
	}
	return steps, nil
}

// mostHints bounds what is said about cells that failed: the first ones are the cause more often than the last.
const mostHints = 3

func printStep(w io.Writer, s api.Step) {
	switch {
	case s.Error != "":
		fmt.Fprintf(w, "  %-8s%-22s failed: %s\n", s.Verb, s.Cell, s.Error)
	case s.Verb == "stop":
		fmt.Fprintf(w, "  %-8s%-22s %-9s %s\n", s.Verb, s.Cell, fmt.Sprint(s.Millis, "ms"), s.Reason)
	case s.Verb != "keep":
		fmt.Fprintf(w, "  %-8s%-22s %-9s cell@%s.service   %s\n", s.Verb, s.Cell, fmt.Sprint(s.Millis, "ms"), s.Cell, s.Reason)
	}
}

// cellNames completes the names of known cells. It asks a manager that runs and brings up none.
func cellNames(c *cobra.Command, words []string, _ string) ([]string, cobra.ShellCompDirective) {
	h, err := host.Find(c.Context(), "")
	if err != nil || len(words) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	conn, err := h.Dial(c.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer conn.Close()
	cells, err := api.Manager{Conn: conn}.List(c.Context(), "")
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names := make([]string, len(cells))
	for i, x := range cells {
		names[i] = x.Name + "\t" + x.State
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
