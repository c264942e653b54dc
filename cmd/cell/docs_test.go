package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"

	"github.com/cell-network/cell/sdk/manifest"
)

var update = flag.Bool("update", false, "write the generated documentation")

func fresh(t *testing.T, file string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is out of date: go test ./cmd/cell -run %s -update", file, t.Name())
	}
}

// TestCLIDoc generates docs/cli.md from the commands themselves.
func TestCLIDoc(t *testing.T) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# The command `cell`\n\nGenerated from the command's own help (`go test ./cmd/cell -run TestCLIDoc -update`).\n\n")
	fmt.Fprintf(&b, "Standard output carries what was asked, standard error progress, errors (`cell: …`) and hints (`hint: …`).\n`--json` is the stable form for programs.\n\n")
	fmt.Fprintf(&b, "| exit status | meaning |\n|---|---|\n")
	for _, e := range exitCodes {
		fmt.Fprintf(&b, "| %d | %s |\n", e.Code, e.Text)
	}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, x := range c.Commands() {
			if !x.IsAvailableCommand() || x.Name() == "help" || x.Name() == "completion" {
				continue
			}
			text := x.Long
			if text == "" {
				text = x.Short + "."
			}
			fmt.Fprintf(&b, "\n## %s\n\n    %s\n\n", x.CommandPath(), x.UseLine())
			for _, part := range strings.Split(text, "\n\n") {
				if head, rest, ok := strings.Cut(part, "\n"); ok && (strings.HasSuffix(head, ":") || strings.ToUpper(head) == head) {
					fmt.Fprintf(&b, "%s\n\n%s\n\n", head, indent(rest))
					continue
				}
				fmt.Fprintf(&b, "%s\n\n", part)
			}
			x.LocalFlags().VisitAll(func(f *pflag.Flag) {
				if f.Name == "help" {
					return
				}
				short := ""
				if f.Shorthand != "" {
					short = "-" + f.Shorthand + ", "
				}
				fmt.Fprintf(&b, "- `%s--%s`: %s\n", short, f.Name, f.Usage)
			})
			if x.Example != "" {
				fmt.Fprintf(&b, "\nExamples:\n\n%s\n", indent(x.Example))
			}
			walk(x)
		}
	}
	walk(root())
	text := strings.ReplaceAll(b.String(), "\n\n\n", "\n\n")
	fresh(t, "../../docs/cli.md", []byte(text))
}

func indent(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		b.WriteString("    " + strings.TrimSpace(line) + "\n")
	}
	return strings.TrimRight(b.String(), "\n")
}

// sections says what each section of cell.toml is for.
var sections = map[string]string{
	"cell": "What the cell is and how it is made and started.", "resources": "What it needs and may have at most. Children's limits must fit into their parent's.",
	"life": "When it sleeps, how it becomes ready, how it ends.", "cells": "Its children, by the names they have in the tree.",
	"needs": "Cells it calls but does not own.", "auth": "Who may call it.", "secrets": "Secrets it reads.", "paths": "Directories beside its own.",
	"place": "Where it runs.", "net": "What it may reach outside of Cell, and what it opens to the outside.", "about": "Who answers for it.",
}

// TestManifestDoc generates docs/manifest.md from the table of keys and reads its example back.
func TestManifestDoc(t *testing.T) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# cell.toml\n\nGenerated from the table of keys (`go test ./cmd/cell -run TestManifestDoc -update`). Every key has one default; an unknown key is an\n"+
		"error with its place and the nearest known one. Sizes are powers of 1024 as in systemd (`64MB` is `64M` is `64MiB`); durations are\n"+
		"`90s`, `10m`, `1h30m`, `7d`. `cell explain NAME` shows a cell's manifest with every default filled in.\n\n")
	fmt.Fprintf(&b, "```toml\n%s```\n", example)
	section := ""
	for _, k := range manifest.Keys() {
		if k.Section != section {
			section = k.Section
			fmt.Fprintf(&b, "\n## [%s]\n\n%s\n\n| key | type | default | example | |\n|---|---|---|---|---|\n", section, sections[section])
		}
		doc := k.Doc
		if k.Later {
			doc += " **Not supported yet: using it is an error.**"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | `%s` | %s |\n", k.Name, k.Type, k.Default, strings.ReplaceAll(k.Example, "|", `\|`), doc)
	}
	fresh(t, "../../docs/manifest.md", b.Bytes())

	data, err := os.ReadFile("../../docs/manifest.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "```toml\n")
	code, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("docs/manifest.md has no example")
	}
	if _, errs := manifest.Parse("/shop", "docs/manifest.md", []byte(code)); len(errs) > 0 {
		t.Error(errs)
	}
}

const example = `[cell]
name    = "shop"
version = "2.1.0"
speaks  = "http"
exec    = ["bin/shop", "--quiet"]
build   = "go build -o bin/shop ."

[resources]
cpu    = { max = 2 }
memory = { min = "64MB", max = "1GB" }
tasks  = 256

[life]
idle_timeout = "10m"

[cells]
gateway = { path = "gateway", replicas = 3 }
billing = {}

[needs]
rates = { path = "../rates" }

[net]
publish = ["0.0.0.0:8080"]
`

// TestManPages makes the manual pages of the commands and of cell.toml from the same texts, into the directory that CELL_MAN_DIR
// names: make packages does so.
func TestManPages(t *testing.T) {
	dir := os.Getenv("CELL_MAN_DIR")
	if dir == "" {
		dir = t.TempDir()
	}
	date := time.Unix(0, 0).UTC()
	if text := os.Getenv("CELL_DATE"); text != "" {
		var err error
		if date, err = time.Parse(time.RFC3339, text); err != nil {
			t.Fatal(err)
		}
	}
	c := root()
	c.InitDefaultHelpCmd()
	c.InitDefaultCompletionCmd()
	if err := doc.GenManTree(c, &doc.GenManHeader{Section: "1", Source: "Cell", Manual: "Cell", Date: &date}, dir); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("% \"CELL.TOML\" \"5\" \"\" \"Cell\" \"Cell\"\n\n# NAME\n\ncell.toml - what a cell is and needs\n\n# DESCRIPTION\n\n" +
		"The one file that a cell's author writes. Every key has one default; an unknown key is an error.\n\n")
	section := ""
	for _, k := range manifest.Keys() {
		if k.Section != section {
			section = k.Section
			fmt.Fprintf(&b, "# [%s]\n\n", section)
		}
		fmt.Fprintf(&b, "**%s** = *%s*\n\n> %s Default: %s. Example: `%s = %s`.\n\n", k.Name, k.Type, k.Doc, k.Default, k.Name, k.Example)
	}
	b.WriteString("# SEE ALSO\n\n**cell**(1), **systemd.exec**(5), **systemd.resource-control**(5)\n")
	page := md2man.Render([]byte(b.String()))
	if err := os.WriteFile(filepath.Join(dir, "cell.toml.5"), page, 0o644); err != nil {
		t.Fatal(err)
	}
	written, err := filepath.Glob("../../packaging/man/*.md")
	if err != nil || len(written) == 0 {
		t.Fatal(written, err)
	}
	for _, file := range written {
		text, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, strings.TrimSuffix(filepath.Base(file), ".md")), md2man.Render(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"cell.1", "cell-mitosis.1", "cell-genome-diff.1", "cell.toml.5", "celld.8", "cellnetd.8", "cell-membrane.8", "cell-inside.8", "cell-http.1"} {
		page, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if !bytes.Contains(page, []byte(".TH ")) {
			t.Errorf("%s is no manual page", name)
		}
		if _, err := exec.LookPath("groff"); err != nil {
			t.Log("groff is not installed: the pages are not set")
			continue
		}
		if out, err := exec.Command("groff", "-t", "-K", "utf8", "-man", "-Tutf8", "-z", filepath.Join(dir, name)).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("groff on %s: %v\n%s", name, err, out)
		}
	}
}
