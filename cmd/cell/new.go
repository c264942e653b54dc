package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/spf13/cobra"

	cell "github.com/cell-network/cell"
	"github.com/cell-network/cell/sdk/gen"
	"github.com/cell-network/cell/sdk/manifest"
)

// templates holds a directory for each sort of new cell; names end in ".tmpl" so that no tool takes them for source.
//
//go:embed template
var templates embed.FS

func newNew() *cobra.Command {
	var n newCell
	var http, program bool
	c := &cobra.Command{
		Use: "new DIR [-- PROGRAM ARGUMENT…]", Short: "Make a directory with a working cell", Args: args(1, -1, "a directory"),
		Long: `Make a directory with a working cell, named after it: by default a Go cell with one typed method,
with --http a web server, with --exec any program that serves on a socket it is given or on --port.`,
		Example: "  cell new calculator\n  cell new --http site\n  cell new --exec --port 8000 files -- /usr/bin/python3 -m http.server 8000",
		RunE: func(c *cobra.Command, words []string) error {
			n.dir, n.Program = words[0], words[1:]
			switch {
			case http && program:
				return &codeError{exitUsage, "cell new: --http and --exec exclude each other", nil}
			case http:
				n.kind = "http"
			case program:
				n.kind = "exec"
			default:
				n.kind = "go"
			}
			return n.run(c)
		},
	}
	c.Flags().BoolVar(&http, "http", false, "a web server")
	c.Flags().BoolVar(&program, "exec", false, "any program")
	c.Flags().IntVar(&n.Port, "port", 0, "with --exec: the port that the program insists on")
	return c
}

// newCell is what the templates see.
type newCell struct {
	dir, kind string
	Name      string
	Type      string // Name as a Go type
	Program   []string
	Port      int
	Module    string // of the SDK
	Path      string // of the cell's own module
	Version   string
}

func (n *newCell) run(c *cobra.Command) error {
	dir, err := filepath.Abs(n.dir)
	if err != nil {
		return fmt.Errorf("new cell: %w", err)
	}
	n.Name, n.Module = filepath.Base(dir), cell.Module
	if n.Path = n.Name; slices.Contains([]string{"all", "cmd", "std", "tool", "work", "internal", "vendor"}, n.Name) {
		n.Path += "-cell" // what these words mean to go is no module
	}
	if !manifest.ValidName(n.Name) {
		return &codeError{exitUsage, fmt.Sprintf("%q cannot name a cell", n.Name), []string{"use a to z, digits and dashes, a letter first, at most 63"}}
	}
	if len(n.Program) > 0 && n.kind != "exec" {
		return &codeError{exitUsage, "cell new: a program needs --exec", nil}
	}
	if n.Port < 0 || n.Port > 65535 {
		return &codeError{exitUsage, fmt.Sprintf("--port: %d is not between 1 and 65535", n.Port), nil}
	}
	if len(n.Program) == 0 {
		if n.Port == 0 {
			n.Port = 8000
		}
		n.Program = []string{"/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.1", strconv.Itoa(n.Port)}
	}
	for part := range strings.SplitSeq(n.Name, "-") {
		if part != "" {
			n.Type += strings.ToUpper(part[:1]) + part[1:]
		}
	}
	if _, err := os.Lstat(dir); err == nil {
		return &codeError{exitError, n.dir + " is there already", []string{"choose another name; nothing was changed"}}
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "."+n.Name+"-")
	if err != nil {
		return fmt.Errorf("new cell: %w", err)
	}
	defer os.RemoveAll(tmp)
	if err := n.fill(c.Context(), tmp); err != nil {
		return err
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return fmt.Errorf("new cell: %w", err)
	}
	if err := os.Rename(tmp, dir); err != nil {
		return fmt.Errorf("new cell: %w", err)
	}
	fmt.Fprintf(c.OutOrStdout(), "made %s\n", n.dir)
	next := "cell mitosis " + n.dir
	if n.kind == "go" {
		next += " && cell use " + n.Name + " greet world"
	}
	fmt.Fprintln(c.ErrOrStderr(), "next:", next)
	return nil
}

func (n *newCell) fill(ctx context.Context, dir string) error {
	var sdk *sdkModule
	if n.kind == "go" {
		var err error
		if sdk, err = loadSDK(); err != nil {
			return err
		}
		n.Version = sdk.version
	}
	from := "template/" + n.kind
	all, err := fs.ReadDir(templates, from)
	if err != nil {
		return fmt.Errorf("new cell: %w", err)
	}
	for _, f := range all {
		name := strings.TrimSuffix(f.Name(), ".tmpl")
		if name == "go.mod" && moduleRoot(filepath.Dir(dir)) != "" {
			continue // the module around it is the one that has to know the SDK
		}
		text, err := templates.ReadFile(from + "/" + f.Name())
		if err != nil {
			return fmt.Errorf("new cell: %w", err)
		}
		t, err := template.New(name).Funcs(template.FuncMap{"toml": tomlList}).Parse(string(text))
		if err != nil {
			return fmt.Errorf("new cell: %w", err)
		}
		var out bytes.Buffer
		if err := t.Execute(&out, n); err != nil {
			return fmt.Errorf("new cell: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), out.Bytes(), 0o644); err != nil {
			return fmt.Errorf("new cell: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, ".gitignore"), []byte("/bin/\n/cache/\n/data/\n/log/\n/run/\n"), 0o644); err != nil {
		return fmt.Errorf("new cell: %w", err)
	}
	if n.kind != "go" {
		return nil
	}
	if _, err := gen.Build(dir, n.Name, "0.1.0"); err != nil {
		return err
	}
	if needsSDK(dir) {
		return tidy(ctx, dir, sdk)
	}
	return nil
}

// tidy lets go write go.sum, so that a plain go build works from then on, too.
func tidy(ctx context.Context, dir string, sdk *sdkModule) error {
	proxy, err := sdk.proxy()
	if err != nil {
		return err
	}
	// The checksums that Cell itself was built with, so that no checksum database is asked; tidy drops what is not needed.
	sum, err := cell.SDK.ReadFile("go.sum")
	if err == nil {
		have, _ := os.ReadFile(filepath.Join(dir, "go.sum"))                  // of what the module requires besides
		err = replaceFile(filepath.Join(dir, "go.sum"), append(have, sum...)) // another go may read it now
	}
	if err != nil {
		return fmt.Errorf("write go.sum: %w", err)
	}
	args := []string{"mod", "tidy"}
	if workFile(dir) != "" { // which tidy does not heed: it would look for the workspace's own modules elsewhere
		args = []string{"get", cell.Module + "/sdk@" + sdk.version}
	}
	c := exec.CommandContext(ctx, "go", args...)
	c.Dir, c.Env = dir, goEnviron(ctx, proxy)
	out, err := c.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return &codeError{exitError, "go is not installed", []string{"install Go 1.26 or newer, or: cell new --http NAME"}}
	}
	if err != nil {
		return &codeError{exitError, fmt.Sprintf("go %s: %s", strings.Join(args, " "), bytes.TrimSpace(out)), []string{"the first Go cell needs a module proxy that go can reach, once"}}
	}
	if err := knowGraph(ctx, dir, proxy); err != nil {
		return fmt.Errorf("look at the modules of %s: %w", relative(dir), err)
	}
	return nil
}

// tomlList writes words as a list; Go's quoting of printable text is TOML's.
func tomlList(words []string) string {
	q := make([]string, len(words))
	for i, w := range words {
		q[i] = strconv.Quote(w)
	}
	return "[" + strings.Join(q, ", ") + "]"
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
