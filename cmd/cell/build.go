package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cell-network/cell/internal/durable"
	"github.com/cell-network/cell/sdk/manifest"
)

// whyBuild says why a cell's program has to be built or staged anew, "" when it has not.
func whyBuild(m *manifest.Manifest) (string, error) {
	want, err := sourceHash(m)
	if err != nil {
		return "", err
	}
	staged, _ := os.Readlink(filepath.Join(m.Dir, "run/staged"))
	switch {
	case staged == "":
		return "never built", nil
	case staged != "versions/"+want:
		return "source changed", nil
	}
	if _, err := os.Stat(filepath.Join(m.Dir, "run", staged)); err != nil {
		return "its files are gone", nil
	}
	return "", nil
}

// build makes a cell's program and stages it: run/versions/HASH holds a copy of bin/, run/staged names it, and celld
// switches to it. Before, it generates the packages through which the cell calls what it needs, and the cell's own code. It
// reports whether anything was built, what is worth saying of the cell's interface, and what the build wrote.
func build(ctx context.Context, x *interfaces, tree *manifest.Tree, n *manifest.Node) (built bool, note, output string, err error) {
	m := n.Manifest
	if err := x.rules(m); err != nil {
		return false, "", "", err
	}
	if err := x.generate(m); err != nil {
		return false, "", "", err
	}
	why, err := whyBuild(m)
	if err != nil || why == "" {
		return false, "", "", err
	}
	if generated(m) {
		r := x.of(m.Dir)
		if r.err == nil {
			r.err = x.compatible(ctx, tree, n, r)
		}
		if r.err == nil {
			r.err = release(m.Dir, r.source.Old, r.genome)
		}
		if r.err == nil {
			r.err = r.source.Write()
		}
		if r.err == nil {
			r.err = fitModule(ctx, m.Dir)
		}
		if r.err != nil {
			return false, "", "", r.err
		}
		note = changed(r.source.Old, r.genome)
	}
	built, output, err = compile(ctx, m)
	return built, note, output, err
}

// compile makes a cell's program of its source and stages it.
func compile(ctx context.Context, m *manifest.Manifest) (built bool, output string, err error) {
	if m.Build != "" {
		if output, err = runBuild(ctx, m); err != nil {
			return false, output, err
		}
	}
	// The build itself may have changed the source, as code generators do.
	hash, err := sourceHash(m)
	if err != nil {
		return false, output, err
	}
	return true, output, stage(m, hash)
}

// keepOutput bounds what is kept of a build's output.
const keepOutput = 64 << 10

// tail keeps the last bytes written to it.
type tail struct{ buf bytes.Buffer }

func (t *tail) Write(p []byte) (int, error) {
	t.buf.Write(p)
	if over := t.buf.Len() - keepOutput; over > 0 {
		t.buf.Next(over)
	}
	return len(p), nil
}

func runBuild(ctx context.Context, m *manifest.Manifest) (string, error) {
	if err := os.MkdirAll(filepath.Join(m.Dir, "bin"), 0o755); err != nil {
		return "", err
	}
	var out tail
	c := exec.CommandContext(ctx, "/bin/sh", "-c", m.Build)
	c.Dir, c.Stdout, c.Stderr = m.Dir, &out, &out
	if needsSDK(m.Dir) {
		sdk, err := loadSDK()
		if err != nil {
			return "", err
		}
		proxy, err := sdk.proxy()
		if err != nil {
			return "", err
		}
		c.Env = goEnviron(ctx, proxy)
	}
	// A build is a group of processes: an interrupt must reach what the shell started, too.
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGTERM) }
	c.WaitDelay = 3 * time.Second
	err := c.Run()
	if ctx.Err() != nil {
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		return out.buf.String(), ctx.Err()
	}
	if err != nil {
		return out.buf.String(), fmt.Errorf("%s: %w", m.Build, err)
	}
	return out.buf.String(), nil
}

// stage makes a version of what bin/ holds now. It works on a copy and renames, so that an interrupted or full disk
// leaves the versions as they were.
func stage(m *manifest.Manifest, hash string) error {
	versions := filepath.Join(m.Dir, "run/versions")
	if err := os.MkdirAll(versions, 0o755); err != nil {
		return fmt.Errorf("stage: %w", err)
	}
	tmp, err := os.MkdirTemp(versions, ".new-")
	if err != nil {
		return fmt.Errorf("stage: %w", err)
	}
	defer os.RemoveAll(tmp)
	if m.InBin() {
		program := strings.TrimPrefix(filepath.Clean(m.Exec[0]), "bin/")
		if err := os.CopyFS(tmp, os.DirFS(filepath.Join(m.Dir, "bin"))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("stage: %w", err)
		}
		st, err := os.Stat(filepath.Join(tmp, program))
		switch {
		case err != nil && m.Build == "":
			return &codeError{exitError, m.Exec[0] + " is not there", []string{`write [cell] build = "…" that makes it, or exec = ["/path/of/a/program"]`}}
		case err != nil:
			return &codeError{exitError, fmt.Sprintf("%s did not make %s", m.Build, m.Exec[0]), nil}
		case st.Mode()&0o111 == 0:
			return &codeError{exitError, m.Exec[0] + " is not executable", []string{"chmod +x " + m.Exec[0]}}
		}
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return fmt.Errorf("stage: %w", err)
	}
	if err := durable.Sync(tmp); err != nil {
		return fmt.Errorf("stage: %w", err)
	}
	dir := filepath.Join(versions, hash)
	if err := os.Rename(tmp, dir); err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, syscall.ENOTEMPTY) {
		return fmt.Errorf("stage: %w", err)
	}
	link := filepath.Join(m.Dir, "run/staged")
	_ = os.Remove(link + ".new")
	if err := os.Symlink("versions/"+hash, link+".new"); err != nil {
		return fmt.Errorf("stage: %w", err)
	}
	if err := os.Rename(link+".new", link); err != nil {
		return fmt.Errorf("stage: %w", err)
	}
	return prune(m.Dir)
}

// prune removes versions that nothing names any more; a process that still runs one keeps its file.
func prune(dir string) error {
	keep := map[string]bool{}
	for _, l := range []string{"exec", "staged", "previous"} {
		if target, err := os.Readlink(filepath.Join(dir, "run", l)); err == nil {
			keep[filepath.Base(target)] = true
		}
	}
	all, err := os.ReadDir(filepath.Join(dir, "run/versions"))
	if err != nil {
		return fmt.Errorf("prune: %w", err)
	}
	for _, v := range all {
		if !keep[v.Name()] {
			if err := os.RemoveAll(filepath.Join(dir, "run/versions", v.Name())); err != nil {
				return fmt.Errorf("prune: %w", err)
			}
		}
	}
	return nil
}
