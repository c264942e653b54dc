package manifest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// SystemDirs are where a program without a slash in its name is looked for, in this order, after Cell's own directory.
var SystemDirs = []string{"/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"}

// Program is the absolute path of the cell's program as exec names it, and whether a program is there: an absolute path, one in the
// cell's directory where the name has a slash, else one in beside, which is Cell's own directory, or in SystemDirs.
func (m *Manifest) Program(beside string) (path string, found bool) {
	name := filepath.Clean(m.Exec[0])
	switch {
	case filepath.IsAbs(name):
		return name, runnable(name)
	case strings.Contains(m.Exec[0], "/"):
		path = filepath.Join(m.Dir, name)
		return path, runnable(path)
	}
	for _, dir := range append([]string{beside}, SystemDirs...) {
		if path = filepath.Join(dir, name); runnable(path) {
			return path, true
		}
	}
	return filepath.Join("/usr/bin", name), false
}

func runnable(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0
}

// MissingPaths reports the lines of [paths] that name nothing on this machine.
func (t *Tree) MissingPaths() Errors {
	var errs Errors
	for _, n := range t.Nodes {
		for _, p := range n.Manifest.Paths {
			if _, err := os.Stat(p.Path); errors.Is(err, os.ErrNotExist) {
				errs.add(n.file(), p.Pos, "%s: there is no %s on this machine", p.Name, short(p.Path)).hint("make it, or remove the line")
			}
		}
	}
	errs.sort()
	return errs
}

// Programs reports the cells of a tree whose program is not on this machine. A program that the cell's build makes, or that lies in
// bin/, is not looked for.
func (t *Tree) Programs(beside string) Errors {
	var errs Errors
	for _, n := range t.Nodes {
		m := n.Manifest
		path, found := m.Program(beside)
		if found || m.InBin() || m.Build != "" && strings.HasPrefix(path, m.Dir+"/") {
			continue
		}
		switch st, err := os.Stat(path); {
		case err == nil && st.Mode().IsRegular():
			errs.add(n.file(), m.at("cell.exec"), "exec: %s is not executable", short(path)).hint("chmod +x %s", short(path))
		case strings.Contains(m.Exec[0], "/"):
			errs.add(n.file(), m.at("cell.exec"), "exec: there is no program %s", short(path)).hint("name one that is there, or write [cell] build = \"…\" that makes it")
		default:
			errs.add(n.file(), m.at("cell.exec"), "exec: there is no program %q in %s", short(m.Exec[0]), strings.Join(SystemDirs, ", ")).
				hint("install it, or name its path; one that the build makes lies in bin/")
		}
	}
	errs.sort()
	return errs
}
