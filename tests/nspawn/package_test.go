package nspawn

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// inRoot are the packages of a release's root beside its base. The packages of Cell depend on some and recommend others.
const inRoot = "systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,polkitd,systemd-resolved,iproute2,curl,python3,rpm,bash-completion"

// release is the root of a Debian release, made once and kept in the user's cache.
func release(t *testing.T, name string) string {
	t.Helper()
	need(t)
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		if os.Getenv("CELL_TEST_REQUIRE") == "all" {
			t.Fatal("mmdebstrap is not installed")
		}
		t.Skip("mmdebstrap is not installed (packaging/deps.sh installs it)")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(name + inRoot))
	dir := filepath.Join(cache, "cell", "roots", name+"-"+hex.EncodeToString(sum[:6]))
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".new-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	out, err := exec.Command("mmdebstrap", "--quiet", "--variant=minbase", "--include="+inRoot, name, tmp).CombinedOutput()
	if err != nil {
		t.Fatalf("make a root of %s: %v\n%s", name, err, out)
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// packages are the packages of two versions, by version.
var packages = sync.OnceValues(func() (dir string, err error) {
	dir = filepath.Join(built, "packages")
	for _, version := range []string{"0.0.1", "0.0.2"} {
		c := exec.Command("packaging/packages.sh", filepath.Join(dir, version), "amd64")
		c.Dir, c.Env = "../..", append(os.Environ(), "CELL_VERSION="+version)
		if out, err := c.CombinedOutput(); err != nil {
			return "", fmt.Errorf("make the packages: %w\n%s", err, out)
		}
	}
	return dir, nil
})

func pkg(t *testing.T, version, format string) string {
	t.Helper()
	dir, err := packages()
	if err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(dir, version, "*."+format))
	if err != nil || len(found) != 1 {
		t.Fatalf("packages of %s: %v, %v", version, found, err)
	}
	return found[0]
}

// bring copies a package into the machine and returns where it is.
func (m *machine) bring(t *testing.T, version, format string) string {
	t.Helper()
	data, err := os.ReadFile(pkg(t, version, format))
	if err != nil {
		t.Fatal(err)
	}
	name := "/srv/cell-" + version + "." + format
	m.write(name, string(data), 0o644)
	return name
}

// system lists the files of the machine that no user and no log made.
func (m *machine) system() []string {
	m.t.Helper()
	var names []string
	err := filepath.WalkDir(m.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // a file that has just gone
		}
		name := strings.TrimPrefix(path, m.root)
		if notSystem.MatchString(name) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		names = append(names, name)
		return nil
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return names
}

// What a running system writes, package managers know, or users have.
var notSystem = regexp.MustCompile(`^/(proc|sys|dev|run|tmp|home|root|srv|var/(log|tmp|cache|spool)|var/lib/(dpkg|apt|rpm|systemd|private|polkit-1|dbus)|etc/(\.pwd\.lock|machine-id|passwd-|group-|shadow-|gshadow-))(/|$)`)

// life is a package from its installation to its purge, with cells that run on over an upgrade and a downgrade.
type life struct {
	format         string
	install        func(path string) []string // also over another version
	remove         []string
	purge          []string // after remove; empty where there is no such thing
	keepsWanted    bool     // what was wanted is there until the purge
	startsByItself bool
}

func (m *machine) live(t *testing.T, l life) {
	m.cell("/srv/app", "app", "one", 0)
	m.cell("/home/alice/web", "web", "one", alice)
	m.cell("/home/alice/own", "own", "one", alice)
	m.boot()
	one, two := m.bring(t, "0.0.1", l.format), m.bring(t, "0.0.2", l.format)
	before := m.system()
	m.run(0, l.install(one)...)
	m.has(0, []string{"cell", "--version"}, "0.0.1")
	if !l.startsByItself { // as the distribution's presets say
		m.run(0, "systemctl", "enable", "--now", "celld")
	}
	m.active(0, "celld.service")
	m.run(0, "systemctl", "is-enabled", "celld.service")
	m.run(0, "cell", "mitosis", "/srv/app")
	m.run(alice, "cell", "mitosis", "/home/alice/web")
	pids := func() string {
		return m.property("cell@app.service", "MainPID") + " " + m.property("cell@web.service", "MainPID")
	}
	m.sealed(0, plain, "app")
	m.sealed(alice, plain, "web")
	if strings.Contains(l.format, "deb") { // and in her own manager
		own := func(words ...string) []string { return append([]string{"env", "CELL_MANAGER=user"}, words...) }
		m.run(0, "systemctl", "start", fmt.Sprintf("user@%d", alice))
		m.run(alice, own("cell", "mitosis", "/home/alice/own")...)
		m.sealed(alice, own, "own")
		m.run(alice, own("cell", "apoptosis", "own")...)
		m.run(0, "systemctl", "stop", fmt.Sprintf("user@%d", alice))
	}
	cells, celld := pids(), m.property("celld.service", "MainPID")
	for _, next := range []struct{ path, version string }{{two, "0.0.2"}, {one, "0.0.1"}} {
		m.run(0, l.install(next.path)...)
		m.has(0, []string{"cell", "--version"}, next.version)
		m.active(0, "celld.service")
		if now := pids(); now != cells {
			t.Errorf("%s: processes of cells %s, before %s", next.version, now, cells)
		}
		if now := m.property("celld.service", "MainPID"); now == celld {
			t.Errorf("%s: celld is still the old one", next.version)
		} else {
			celld = now
		}
		for dir, uid := range map[string]int{"/srv/app": 0, "/home/alice/web": alice} {
			if got := m.get(uid, dir, "/"); got != "one" {
				t.Errorf("%s: %s says %q", next.version, dir, got)
			}
		}
		m.has(0, []string{"cell", "status"}, "app", "web", "ready")
	}
	m.run(0, "bash", "-c", "source /usr/share/bash-completion/bash_completion && source /usr/share/bash-completion/completions/cell && complete -p cell")
	for _, f := range []string{"/usr/share/man/man1/cell.1.gz", "/usr/share/man/man5/cell.toml.5.gz", "/usr/share/man/man8/celld.8.gz", "/usr/share/man/man8/cellnetd.8.gz", "/usr/share/doc/cell/sbom.spdx.json"} {
		m.run(0, "test", "-s", f)
	}

	m.run(0, l.remove...)
	if out := m.run(0, "sh", "-c", "command -v cell celld cellnetd; ls -d /run/cell; systemctl list-units --no-legend 'cell*'; true"); strings.TrimSpace(strings.ReplaceAll(out, "ls: cannot access '/run/cell': No such file or directory", "")) != "" {
		t.Errorf("after the removal there still is:\n%s", out)
	}
	m.run(0, "sh", "-c", "! systemctl is-active cell@app.socket")
	if _, code := m.try(0, "test", "-e", "/var/lib/cell/wanted.json"); (code == 0) != l.keepsWanted {
		t.Errorf("after the removal: what was wanted is there: %v", code == 0)
	}
	if l.keepsWanted { // installed again it brings the cells back
		m.run(0, l.install(two)...)
		m.active(0, "cell@app.socket")
		if got := m.get(0, "/srv/app", "/"); got != "one" {
			t.Errorf("after the package came back: %q", got)
		}
		m.run(0, l.remove...)
	}
	if len(l.purge) > 0 {
		m.run(0, l.purge...)
	}
	for _, name := range m.system() {
		if _, found := slices.BinarySearch(before, name); !found && !slices.Contains(before, name) {
			t.Errorf("left behind: %s", name)
		}
	}
	m.has(0, []string{"ls", "/srv/app", "/home/alice/web"}, "cell.toml") // what is the users' stays
}

// TestPackages installs, upgrades, downgrades, removes and purges the packages on each release.
func TestPackages(t *testing.T) {
	deb := life{
		format:  "deb",
		install: func(path string) []string { return []string{"dpkg", "-i", path} },
		remove:  []string{"dpkg", "-r", "cell"}, purge: []string{"dpkg", "-P", "cell"}, keepsWanted: true, startsByItself: true,
	}
	rpm := life{
		format: "rpm", // in a root that dpkg has filled, so that dependencies are not known to rpm
		install: func(path string) []string {
			return []string{"rpm", "-U", "--oldpackage", "--nodeps", path}
		},
		remove: []string{"rpm", "-e", "cell"},
	}
	for _, c := range []struct {
		release string
		life    life
	}{{"bookworm", deb}, {"trixie", deb}, {"trixie", rpm}} {
		t.Run(c.release+" "+c.life.format, func(t *testing.T) { bareMachine(t, release(t, c.release)).live(t, c.life) })
	}
}

// TestPackagesAreClean asks the distributions' own checkers, and builds the same package again.
func TestPackagesAreClean(t *testing.T) {
	need(t)
	for _, tool := range []string{"lintian", "rpm", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed (packaging/deps.sh installs it)", tool)
		}
	}
	deb, rpm := pkg(t, "0.0.1", "deb"), pkg(t, "0.0.1", "rpm")
	if out, err := exec.Command("lintian", "--allow-root", "--fail-on", "error,warning", deb).CombinedOutput(); err != nil {
		t.Errorf("lintian: %v\n%s", err, out)
	}
	if out, err := exec.Command("rpm", "-K", "--nosignature", rpm).CombinedOutput(); err != nil || !strings.Contains(string(out), "digests OK") {
		t.Errorf("rpm -K: %v\n%s", err, out)
	}
	if _, err := exec.LookPath("rpmlint"); err != nil {
		t.Log("rpmlint is not installed (packaging/deps.sh installs it)")
	} else if out, err := overlaid(t, "rpmlint", "-r", "../../packaging/rpm/rpmlintrc", rpm).CombinedOutput(); err != nil || !strings.Contains(string(out), " 0 errors, 0 warnings") {
		t.Errorf("rpmlint: %v\n%s", err, out)
	}
	again := t.TempDir()
	c := exec.Command("packaging/packages.sh", again, "amd64")
	c.Dir, c.Env = "../..", append(os.Environ(), "CELL_VERSION=0.0.1")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, p := range []string{deb, rpm} {
		first, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		second, err := os.ReadFile(filepath.Join(again, filepath.Base(p)))
		if err != nil {
			t.Fatal(err)
		}
		if sha256.Sum256(first) != sha256.Sum256(second) {
			t.Errorf("%s: two builds differ", filepath.Base(p))
		}
	}
}

// overlaid prepares a program that cannot write to this machine's /usr. rpmlint unpacks a package with cpio, which writes to where the
// names in it say, and nfpm's begin with a slash: it would install the package here.
func overlaid(t *testing.T, words ...string) *exec.Cmd {
	t.Helper()
	dir := t.TempDir()
	return exec.Command("unshare", append([]string{
		"--mount", "--propagation=private", "sh", "-ec", `mount -t tmpfs none "$0"; mkdir "$0/upper" "$0/work"
mount -t overlay -o "lowerdir=/usr,upperdir=$0/upper,workdir=$0/work" none /usr; exec "$@"`, dir,
	}, words...)...)
}

// TestPackagedSDK makes and builds a Go cell with what the package brings, an empty module cache and no proxy.
func TestPackagedSDK(t *testing.T) {
	need(t)
	root, work := t.TempDir(), t.TempDir()
	if out, err := exec.Command("dpkg-deb", "-x", pkg(t, "0.0.1", "deb"), root).CombinedOutput(); err != nil {
		t.Fatalf("unpack: %v\n%s", err, out)
	}
	c := exec.Command("sh", "-ec", root+"/usr/bin/cell new greeter && cd greeter && go build -o /dev/null . && go list -m all && go doc . Greeter")
	c.Dir = work
	c.Env = append(os.Environ(), "HOME="+work, "GOMODCACHE="+work+"/modules", "GOFLAGS=-modcacherw", "GOPROXY=off", "XDG_CACHE_HOME="+work+"/cache")
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
