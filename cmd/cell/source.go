package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"go/parser"
	"go/token"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cell-network/cell/sdk/manifest"
)

// notSource are directories at the top of a cell that are not its source.
var notSource = []string{"run", "cache", "log", "data", ".git"}

// sourceHash is the content address of what a build reads: the cell's own files, other cells' below it excepted, and for Go
// the packages that it imports of modules whose source is at hand, what decides on modules and versions, and the toolchain.
func sourceHash(m *manifest.Manifest) (string, error) {
	h := sha256.New()
	skip := slices.Clone(notSource)
	if m.Build != "" {
		skip = append(skip, "bin")
	}
	fmt.Fprintf(h, "build %q %q\n", m.Build, m.Exec[0])
	err := hashDir(h, m.Dir, true, skip)
	if err == nil && m.Build != "" && isGo(m.Dir) {
		err = hashModule(h, m.Dir)
	}
	if err != nil {
		return "", fmt.Errorf("read the source of %s: %w", m.Name, err)
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

func isGo(dir string) bool {
	found, _ := filepath.Glob(filepath.Join(dir, "*.go"))
	return len(found) > 0
}

func hashDir(h hash.Hash, dir string, deep bool, skip []string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		if d.IsDir() {
			if rel == "." {
				return nil
			}
			if _, err := os.Lstat(filepath.Join(path, manifest.File)); err == nil || !deep || slices.Contains(skip, rel) {
				return fs.SkipDir // a directory with a cell.toml is another cell
			}
			return nil
		}
		switch {
		case slices.Contains(skip, rel) || rel == manifest.File:
			// cell.toml is no source: what of it matters to the build is hashed, the rest is the units' definition.
			return nil
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			fmt.Fprintf(h, "%q -> %q\n", rel, target)
			return err
		case !d.Type().IsRegular():
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		st, err := f.Stat()
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%q %d %v\n", rel, st.Size(), st.Mode()&0o111 != 0)
		_, err = io.Copy(h, f)
		return err
	})
}

// hashModule follows the imports of dir's packages inside of the modules whose source is at hand.
func hashModule(h hash.Hash, dir string) error {
	m, err := findModules(dir)
	if err != nil || m == nil {
		return err
	}
	fmt.Fprintf(h, "%s\n%s\n", toolchain(), m.text.Bytes())
	seen, todo := map[string]bool{dir: true}, []string{dir}
	names := map[string]string{dir: ""}
	for len(todo) > 0 {
		pkg := todo[0]
		todo = todo[1:]
		imports, embeds, err := localImports(pkg)
		if err != nil {
			return err
		}
		if pkg != dir {
			fmt.Fprintf(h, "package %q\n", names[pkg])
			if err := hashDir(h, pkg, embeds, []string{".git"}); err != nil {
				return err
			}
		}
		for _, imp := range imports {
			if next := m.find(imp); next != "" && !seen[next] {
				seen[next], names[next] = true, imp
				todo = append(todo, next)
			}
		}
	}
	return nil
}

// localImports lists what the Go files of a directory import, and tells whether they embed files.
func localImports(dir string) (imports []string, embeds bool, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, false, err
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		src, err := os.ReadFile(file)
		if err != nil {
			return nil, false, err
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, src, parser.ImportsOnly)
		if err != nil {
			continue // the compiler says it better
		}
		for _, i := range f.Imports {
			path := strings.Trim(i.Path.Value, "\"`")
			imports = append(imports, path)
			embeds = embeds || path == "embed"
		}
	}
	slices.Sort(imports)
	return slices.Compact(imports), embeds, nil
}
