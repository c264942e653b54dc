package main

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	cell "github.com/cell-network/cell"
	"golang.org/x/mod/module"
)

// sdkModule is the SDK as a module of its own version: the hash of its content, so that another SDK is another version.
type sdkModule struct {
	version string
	mod     []byte
	files   map[string][]byte
}

// sdkNeeds are the modules that package sdk and its imports need; go.mod of the whole project lists more.
var sdkNeeds = regexp.MustCompile(`(?m)^\s*(?:require )?(google\.golang\.org/protobuf|golang\.org/x/sys|github\.com/godbus/dbus/v5) (v\S+)`)

func loadSDK() (*sdkModule, error) {
	m := &sdkModule{files: map[string][]byte{}}
	err := fs.WalkDir(cell.SDK, "sdk", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(name, "_test.go") {
			return err
		}
		data, err := cell.SDK.ReadFile(name)
		m.files[name] = data
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the SDK: %w", err)
	}
	full, err := cell.SDK.ReadFile("go.mod")
	if err != nil {
		return nil, fmt.Errorf("read the SDK: %w", err)
	}
	var mod bytes.Buffer
	fmt.Fprintf(&mod, "module %s\n\ngo 1.26\n", cell.Module)
	imported := func(path string) bool {
		for _, data := range m.files {
			if bytes.Contains(data, []byte(`"`+path)) {
				return true
			}
		}
		return false
	}
	for _, need := range sdkNeeds.FindAllSubmatch(full, -1) {
		if imported(string(need[1])) {
			fmt.Fprintf(&mod, "\nrequire %s %s\n", need[1], need[2])
		}
	}
	m.mod = mod.Bytes()
	m.files["go.mod"] = m.mod
	h := sha256.New()
	for _, name := range sortedKeys(m.files) {
		fmt.Fprintf(h, "%q %d\n%s", name, len(m.files[name]), m.files[name])
	}
	m.version = "v0.1.0-dev." + hex.EncodeToString(h.Sum(nil))[:12]
	return m, nil
}

func proxyDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache directory: %w", err)
	}
	return filepath.Join(cache, "cell", "sdk"), nil
}

// proxy writes the SDK as a module proxy of files (go help goproxy) below the user's cache and returns its URL.
func (m *sdkModule) proxy() (string, error) {
	root, err := proxyDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, filepath.FromSlash(cell.Module), "@v")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("write the SDK: %w", err)
	}
	url := "file://" + filepath.ToSlash(root)
	if _, err := os.Stat(filepath.Join(dir, m.version+".zip")); err == nil {
		return url, nil
	}
	var archive bytes.Buffer
	z := zip.NewWriter(&archive)
	for _, name := range sortedKeys(m.files) {
		w, err := z.CreateHeader(&zip.FileHeader{Name: path.Join(cell.Module+"@"+m.version, name), Method: zip.Deflate, Modified: time.Unix(315532800, 0).UTC()})
		if err == nil {
			_, err = w.Write(m.files[name])
		}
		if err != nil {
			return "", fmt.Errorf("write the SDK: %w", err)
		}
	}
	if err := z.Close(); err != nil {
		return "", fmt.Errorf("write the SDK: %w", err)
	}
	info := fmt.Sprintf(`{"Version":%q,"Time":"1980-01-01T00:00:00Z"}`, m.version)
	// The archive comes last: where it is the rest is, too.
	for _, f := range []struct {
		ext  string
		data []byte
	}{{".info", []byte(info)}, {".mod", m.mod}, {".zip", archive.Bytes()}} {
		if err := replaceFile(filepath.Join(dir, m.version+f.ext), f.data); err != nil {
			return "", fmt.Errorf("write the SDK: %w", err)
		}
	}
	return url, nil
}

// replaceFile writes a file whole or not at all.
func replaceFile(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err = f.Write(data); err == nil {
		err = f.Chmod(0o644)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	return err
}

// packagedProxy is the URL of the modules that a package of Cell brings for builds without a network; "" where there are none.
func packagedProxy() string {
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	dir := filepath.Join(filepath.Dir(self), "../share/cell/goproxy")
	if !isDir(dir) {
		return ""
	}
	return "file://" + filepath.ToSlash(dir)
}

// goEnviron is the environment of a Go build that finds the SDK although no proxy knows it.
func goEnviron(ctx context.Context, proxy string) []string {
	value := func(name string) string {
		out, err := exec.CommandContext(ctx, "go", "env", name).Output()
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(out))
	}
	proxies, private := proxy, cell.Module
	if p := packagedProxy(); p != "" {
		proxies += "," + p
	}
	if v := value("GOPROXY"); v != "" {
		proxies += "," + v
	}
	if v := value("GONOSUMDB"); v != "" {
		private += "," + v
	}
	return append(os.Environ(), "GOPROXY="+proxies, "GONOSUMDB="+private)
}

// knowGraph puts what go doc, gopls and go list ask of every module of the graph into the module cache: go build does not need it,
// and no proxy but Cell's own has the SDK's. A module that no proxy can be asked about is of the version that the graph names, at an
// unknown time.
func knowGraph(ctx context.Context, dir, proxy string) error {
	list := func(environ []string) ([]byte, error) {
		c := exec.CommandContext(ctx, "go", "list", "-m", "-e", "-f", "{{if .Error}}{{.Path}}@{{.Version}}{{end}}", "all")
		c.Dir, c.Env = dir, environ
		return c.Output()
	}
	unknown, err := list(goEnviron(ctx, proxy))
	if err != nil || len(bytes.TrimSpace(unknown)) == 0 {
		return err
	}
	root, err := proxyDir()
	if err != nil {
		return err
	}
	for _, at := range strings.Fields(string(unknown)) {
		name, version, _ := strings.Cut(at, "@")
		escaped, err := module.EscapePath(name)
		if err != nil || version == "" {
			continue // of a replaced module, or of none: go says what is wrong with it
		}
		info := filepath.Join(root, filepath.FromSlash(escaped), "@v", version+".info")
		if err := os.MkdirAll(filepath.Dir(info), 0o755); err != nil {
			return err
		}
		if err := replaceFile(info, fmt.Appendf(nil, `{"Version":%q}`, version)); err != nil {
			return err
		}
	}
	_, err = list(append(os.Environ(), "GOPROXY="+proxy, "GONOSUMDB="+cell.Module))
	return err
}

// fitModule makes the module around dir ask for the SDK that generated code is made for: a require line that is missing or
// names another version is written, with the checksums. A module that replaces the SDK keeps its version of it, and what else go
// demands to be written is added. The SDK's own module is left alone.
func fitModule(ctx context.Context, dir string) error {
	root := moduleRoot(dir)
	if root == "" {
		return &codeError{exitError, fmt.Sprintf("%s belongs to no Go module", relative(dir)), []string{"go mod init NAME   makes one"}}
	}
	sdk, err := loadSDK()
	if err != nil {
		return err
	}
	if _, fits, err := fitting(ctx, root, dir, sdk); fits || err != nil {
		return err
	}
	// Of several cells of one module that are built at once the first one mends it for all: what one go mod tidy has just taken away
	// another one would look for elsewhere.
	m, _ := tidying.LoadOrStore(root, &sync.Mutex{})
	m.(*sync.Mutex).Lock()
	defer m.(*sync.Mutex).Unlock()
	mod, fits, err := fitting(ctx, root, dir, sdk)
	if fits || err != nil {
		return err
	}
	if !replacesSDK.Match(mod) {
		edit := exec.CommandContext(ctx, "go", "mod", "edit", "-require="+cell.Module+"@"+sdk.version)
		edit.Dir = root
		if out, err := edit.CombinedOutput(); err != nil {
			return fmt.Errorf("require the SDK in %s: %s", relative(filepath.Join(root, "go.mod")), bytes.TrimSpace(out))
		}
	}
	if err := tidy(ctx, root, sdk); err != nil {
		return errors.Join(err, os.WriteFile(filepath.Join(root, "go.mod"), mod, 0o644))
	}
	return nil
}

var tidying sync.Map // *sync.Mutex, by the root of the module

// fitting tells whether the module has all that a build of dir wants of it, and returns its go.mod.
func fitting(ctx context.Context, root, dir string, sdk *sdkModule) (mod []byte, fits bool, err error) {
	if mod, err = os.ReadFile(filepath.Join(root, "go.mod")); err != nil {
		return nil, false, err
	}
	if name := moduleLine.FindSubmatch(mod); name != nil && string(name[1]) == cell.Module {
		return mod, true, nil
	}
	if replacesSDK.Match(mod) {
		return mod, complete(ctx, dir), nil
	}
	return mod, bytes.Contains(mod, []byte(cell.Module+" "+sdk.version)), nil
}

// complete tells whether the go.mod and go.sum around dir have all that a build of dir wants of them.
func complete(ctx context.Context, dir string) bool {
	c := exec.CommandContext(ctx, "go", "list", "-mod=readonly", "-deps", "-f", "", ".")
	c.Dir = dir
	out, err := c.CombinedOutput()
	return err == nil || !updateNeeded.Match(out) // what else is wrong the build says
}

// updateNeeded is what go says where a file of the module lacks a line, whatever the command.
var updateNeeded = regexp.MustCompile(`updates to go\.(mod|work) needed|missing go\.sum entry|go mod tidy|no required module provides`)

var replacesSDK = regexp.MustCompile(`(?m)^(replace\s+|\s+)` + regexp.QuoteMeta(cell.Module) + `(\s+v\S+)?\s+=>`)

// needsSDK tells whether the go.mod around a directory asks for the SDK by version.
func needsSDK(dir string) bool {
	mod, err := os.ReadFile(filepath.Join(moduleRoot(dir), "go.mod"))
	return err == nil && bytes.Contains(mod, []byte(cell.Module+" v"))
}
