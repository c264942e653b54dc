package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"golang.org/x/mod/modfile"
)

var moduleLine = regexp.MustCompile(`(?m)^module\s+"?([^\s"]+)"?`)

// moduleRoot is the directory of the module around dir, "" where there is none.
func moduleRoot(dir string) string { return above(dir, "go.mod") }

// above is the nearest directory from dir upwards that has the file, "" where none has.
func above(dir, file string) string {
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
	}
}

// workFile is the go.work that holds for dir, "" for none: the one that GOWORK names, or the nearest above.
func workFile(dir string) string {
	switch v := os.Getenv("GOWORK"); v {
	case "":
	case "off":
		return ""
	default:
		return v
	}
	if dir = above(dir, "go.work"); dir == "" {
		return ""
	}
	return filepath.Join(dir, "go.work")
}

// goModules are the modules whose source is at hand for a build: the one around the cell, those of its workspace, and those
// that a replace line leads to a directory. See https://go.dev/ref/mod.
type goModules struct {
	text bytes.Buffer      // the files that decide which modules are used, and in which version
	dirs map[string]string // by the path of the module
}

// findModules finds the modules for a build in dir; nil where there is none. Files that do not parse count as they are: the go
// command says what is wrong with them.
func findModules(dir string) (*goModules, error) {
	root := moduleRoot(dir)
	if root == "" {
		return nil, nil
	}
	m := &goModules{dirs: map[string]string{}}
	modules := []string{root}
	if work := workFile(dir); work != "" {
		text, err := m.read(work)
		if err != nil {
			return nil, err
		}
		_, _ = m.read(strings.TrimSuffix(work, ".work") + ".work.sum") // may be missing
		if f, err := modfile.ParseWork(work, text, nil); err == nil {
			for _, u := range f.Use {
				if d := at(filepath.Dir(work), u.Path); d != root {
					modules = append(modules, d)
				}
			}
			m.replaced(filepath.Dir(work), f.Replace)
		}
	}
	for _, d := range modules {
		text, err := m.read(filepath.Join(d, "go.mod"))
		if err != nil {
			return nil, err
		}
		_, _ = m.read(filepath.Join(d, "go.sum")) // may be missing
		f, err := modfile.Parse(filepath.Join(d, "go.mod"), text, nil)
		if err != nil || f.Module == nil {
			continue
		}
		m.dirs[f.Module.Mod.Path] = d
		m.replaced(d, f.Replace)
	}
	return m, nil
}

func (m *goModules) read(file string) ([]byte, error) {
	data, err := os.ReadFile(file)
	if err == nil {
		fmt.Fprintf(&m.text, "%d\n%s\n", len(data), data)
	}
	return data, err
}

func (m *goModules) replaced(dir string, all []*modfile.Replace) {
	for _, r := range all {
		if modfile.IsDirectoryPath(r.New.Path) && m.dirs[r.Old.Path] == "" {
			m.dirs[r.Old.Path] = at(dir, r.New.Path)
			_, _ = m.read(filepath.Join(m.dirs[r.Old.Path], "go.mod")) // the go command says that it is missing
		}
	}
}

func at(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

// find is the directory of an imported package, "" when its source is not that of a module at hand.
func (m *goModules) find(imp string) string {
	module := ""
	for path := range m.dirs {
		if (imp == path || strings.HasPrefix(imp, path+"/")) && len(path) > len(module) {
			module = path
		}
	}
	if module != "" {
		if dir := filepath.Join(m.dirs[module], strings.TrimPrefix(imp, module)); isDir(dir) {
			return dir
		}
	}
	for _, root := range m.dirs {
		if dir := filepath.Join(root, "vendor", imp); isDir(dir) {
			return dir
		}
	}
	return ""
}

func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

// toolchain is what of the go command's settings changes what it makes. A line of go.mod that asks for another toolchain is
// hashed with that file.
var toolchain = sync.OnceValue(func() string {
	c := exec.Command("go", "env", "GOVERSION", "GOOS", "GOARCH", "GOFLAGS", "GOEXPERIMENT", "CGO_ENABLED", "GOAMD64", "GOARM64")
	c.Dir = os.TempDir()
	out, _ := c.Output() // without Go nothing is built
	return string(out)
})
