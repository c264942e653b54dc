package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/cell-network/cell/sdk/genome"
	"github.com/cell-network/cell/sdk/manifest"
)

// newMajor makes room for a version of a cell that breaks its callers: what runs now stays beside it as NAME-vN, a cell of
// its own made of the program that was built last, and the cell gets the next major version. celld leads each caller to the
// one that serves the genome it was built against.
func newMajor(w io.Writer, dir string) error {
	m, errs := manifest.Load(dir)
	if len(errs) > 0 {
		return errs
	}
	old, err := readGenome(filepath.Join(m.Dir, genome.File))
	if errors.Is(err, fs.ErrNotExist) {
		return &codeError{exitError, fmt.Sprintf("%s was never built: there is no version to keep", m.Name), []string{"cell build " + relative(m.Dir)}}
	}
	if err != nil {
		return err
	}
	built := filepath.Join(m.Dir, "run/staged")
	if _, err := os.Stat(built); err != nil || !m.InBin() {
		return &codeError{exitError, fmt.Sprintf("the program of %s %s is not kept here", m.Name, old.Version), []string{"take that version from version control and run cell build, then make the change again"}}
	}
	if major(old.Version) == "0" {
		return &codeError{exitUsage, fmt.Sprintf("%s is at version %s: before 1.0.0 nothing is promised", m.Name, old.Version), nil}
	}
	if r := newInterfaces().of(m.Dir); r.err == nil && r.genome != nil && genome.Worst(genome.Compare(old, r.genome)) != genome.Break {
		return &codeError{
			exitUsage, fmt.Sprintf("nothing breaks callers of %s %s", m.Name, old.Version),
			[]string{"make the change first; cell build is enough for one that callers live with"},
		}
	}
	name := m.Name + "-v" + major(old.Version)
	to := filepath.Join(filepath.Dir(m.Dir), filepath.Base(m.Dir)+"-v"+major(old.Version))
	if _, err := os.Lstat(to); err == nil {
		return &codeError{exitError, relative(to) + " is there already", nil}
	}
	text, err := os.ReadFile(filepath.Join(m.Dir, manifest.File))
	if err != nil {
		return err
	}
	next := genome.Bump(old.Version, []genome.Change{{Verdict: genome.Break}})
	changed, err := setKey(string(text), "cell", "version", next)
	if err != nil {
		return err
	}
	parent, parentText, err := withSibling(m, name, filepath.Base(to))
	if err != nil {
		return err
	}
	// Everything is made aside first: the directory appears whole.
	tmp, err := os.MkdirTemp(filepath.Dir(m.Dir), "."+name+"-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := keepVersion(tmp, string(text), name, built, old); err != nil {
		return err
	}
	if err := os.Rename(tmp, to); err != nil {
		return err
	}
	if parent != "" {
		if err := replaceFile(parent, []byte(parentText)); err != nil {
			return errors.Join(err, os.RemoveAll(to))
		}
	}
	if err := replaceFile(filepath.Join(m.Dir, manifest.File), []byte(changed)); err != nil {
		return err
	}
	fmt.Fprintf(w, "%s: keeps version %s for its callers\n", relative(to), old.Version)
	fmt.Fprintf(w, "%s: is version %s from now on\n", relative(m.Dir), next)
	if parent == "" {
		fmt.Fprintf(w, "next: cell mitosis %s && cell mitosis %s\n", relative(to), relative(m.Dir))
	}
	return nil
}

// keepVersion fills the directory of the old version: its manifest under the new name, its genome and its program.
func keepVersion(dir, text, name, built string, old *genome.Genome) error {
	text, err := setKey(text, "cell", "name", name)
	if err == nil {
		text, err = setKey(text, "cell", "version", old.Version)
	}
	if err != nil {
		return err
	}
	program := "bin/" + old.Cell
	text, err = setExec(text, program)
	if err != nil {
		return err
	}
	data, err := old.Marshal()
	if err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, manifest.File), []byte(text), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, genome.File), data, 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, ".gitignore"), []byte("/cache/\n/data/\n/log/\n/run/\n"), 0o644); err != nil {
		return err
	}
	return os.CopyFS(filepath.Join(dir, "bin"), os.DirFS(built))
}

// withSibling adds the old version to the [cells] of the cell whose child m is: the file and its new text, or nothing.
func withSibling(m *manifest.Manifest, name, path string) (file, text string, err error) {
	dir := filepath.Dir(m.Dir)
	parent, errs := manifest.Load(dir)
	if len(errs) > 0 {
		return "", "", nil // it is no cell: m is a root
	}
	for _, c := range parent.Cells {
		at, err := filepath.EvalSymlinks(filepath.Join(dir, c.Path))
		if err != nil || at != m.Dir {
			continue
		}
		file = filepath.Join(dir, manifest.File)
		data, err := os.ReadFile(file)
		if err != nil {
			return "", "", err
		}
		lines := strings.SplitAfter(string(data), "\n")
		i := c.Pos.Line - 1
		if i >= len(lines) {
			return "", "", fmt.Errorf("%s changed", relative(file))
		}
		lines[i] = strings.TrimSuffix(lines[i], "\n") + fmt.Sprintf("\n%s = { path = %q }\n", name, path)
		return file, strings.Join(lines, ""), nil
	}
	return "", "", nil
}

// setKey sets a key that holds a string, in a section written [section]; a key that is missing is added behind its head.
func setKey(text, section, key, value string) (string, error) {
	return setLine(text, section, key, fmt.Sprintf("%q", value))
}

func setExec(text, program string) (string, error) {
	line := regexp.MustCompile(`(?m)^\s*exec\s*=\s*\[[^\]]*\]`)
	if at := line.FindString(text); at != "" && !strings.Contains(at, program) {
		return text, nil // another program than the default: it was kept as it is
	}
	return setLine(text, "cell", "exec", fmt.Sprintf("[%q]", program))
}

func setLine(text, section, key, value string) (string, error) {
	head := regexp.MustCompile(`(?m)^\s*\[` + section + `\][^\n]*\n`)
	at := head.FindStringIndex(text)
	if at == nil {
		if strings.Contains(text, "\n[") || strings.HasPrefix(text, "[") || strings.TrimSpace(text) == "" {
			return fmt.Sprintf("[%s]\n%s = %s\n\n%s", section, key, value, text), nil
		}
		return "", fmt.Errorf("the manifest has no line [%s]", section)
	}
	end := len(text)
	if next := regexp.MustCompile(`(?m)^\s*\[`).FindStringIndex(text[at[1]:]); next != nil {
		end = at[1] + next[0]
	}
	body := text[at[1]:end]
	line := regexp.MustCompile(`(?m)^(\s*` + key + `\s*=\s*)("[^"\n]*"|\[[^\]]*\])`)
	if loc := line.FindStringSubmatchIndex(body); loc != nil {
		body = body[:loc[4]] + value + body[loc[5]:]
	} else {
		body = key + " = " + value + "\n" + body
	}
	return text[:at[1]] + body + text[end:], nil
}
