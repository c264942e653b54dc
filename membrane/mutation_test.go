package membrane_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cell-network/cell/membrane/spec"
)

// breakage is how a mechanism is taken away from the source of cell-membrane.
type breakage struct {
	file, from, to string
}

var breakages = map[string][]breakage{
	"filter": {{"launch.go", "if err := filter.Load(); err != nil {", "_ = filter.Load\n\tif err := error(nil); err != nil {"}},
	"no capability": {
		{"launch.go", "Cloneflags: unix.CLONE_PARENT, Credential: who.credential()}", `Cloneflags: unix.CLONE_PARENT, Credential: who.credential()}
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if unix.Prctl(unix.PR_CAPBSET_READ, c, 0, 0, 0) == nil && c != unix.CAP_SYS_RESOURCE {
			attr.AmbientCaps = append(attr.AmbientCaps, c)
		}
	}`},
		{"launch.go", "keep := uint64(0)", "keep := ^uint64(0)"},
		{"launch.go", "if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {", "if err := error(nil); err != nil {"},
		{"launch.go", "data[0].Inheritable, data[1].Inheritable = 0, 0", ""},
	},
	"view":   {{"view.go", `show("/usr")`, `for _, d := range []string{"/usr", "/root", "/home", "/srv", "/opt", "/mnt", "/media", "/boot", "/var", "/etc/ssh", "/etc/shadow", "/etc/ssl/private", "/dev/shm", "/dev/mem", "/dev/kmsg", "/dev/vda", "/run/user", "/run/dbus", "/run/udev", "/run/systemd"} { show(d) }`}, {"view.go", `{"tmpfs", "/dev/shm", "mode=1777"}, `, ""}},
	"closed": {{"view.go", "attr.Attr_set |= unix.MOUNT_ATTR_RDONLY", ""}, {"view.go", "&unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}", "&unix.MountAttr{}"}, {"view.go", "unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID", "unix.MOUNT_ATTR_NOSUID"}},
	"nosuid": {{"view.go", "Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV,", "Attr_set: unix.MOUNT_ATTR_NODEV,"}},
	"PID namespace": {
		{"launch.go", "if err := unix.Unshare(unix.CLONE_NEWPID); err != nil {", "if err := error(nil); err != nil {"},
		{"view.go", "for _, d := range devices {", "show(\"/proc\")\n\tfor _, d := range devices {"},
		{"view.go", "if hidden == 0 {", "if false {"},
		{"view.go", "err != nil && hidden == 0 {", "err != nil && false {"},
	},
	"network namespace": {{"launch.go", "flags |= unix.CLONE_NEWNET", ""}, {"view.go", "if !s.Internet {\n\t\tif err := loopback(s)", "if false {\n\t\tif err := loopback(s)"}},
	"IPC namespace":     {{"launch.go", "unix.CLONE_NEWIPC | ", ""}},
	"UTS namespace":     {{"launch.go", " | unix.CLONE_NEWUTS", ""}, {"view.go", "if err := unix.Sethostname([]byte(hostname(s))); err != nil {", "if err := error(nil); err != nil {"}},
	"another user":      {{"launch.go", "\tif w.namespace {\n\t\treturn nil", "\tif true {\n\t\treturn nil"}},
	"not dumpable":      {{"tiny_amd64.s", "MOVQ $4, DI                // PR_SET_DUMPABLE\n\tXORQ SI, SI", "MOVQ $4, DI\n\tMOVQ $1, SI"}},
}

// broken builds a cell-membrane without some of its mechanisms.
func broken(t *testing.T, mechanisms ...string) string {
	t.Helper()
	dir := t.TempDir()
	sources := map[string]string{}
	for _, m := range mechanisms {
		for _, b := range breakages[m] {
			text, ok := sources[b.file]
			if !ok {
				raw, err := os.ReadFile(b.file)
				if err != nil {
					t.Fatal(err)
				}
				text = string(raw)
			}
			if !strings.Contains(text, b.from) {
				t.Fatalf("%s no longer has %q: say here how %s is broken now", b.file, b.from, m)
			}
			sources[b.file] = strings.ReplaceAll(text, b.from, b.to)
		}
	}
	replace := map[string]string{}
	for file, text := range sources {
		abs, err := filepath.Abs(file)
		if err != nil {
			t.Fatal(err)
		}
		replace[abs] = filepath.Join(dir, file)
		if err := os.WriteFile(replace[abs], []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o644); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "cell-membrane")
	if out, err := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", dir+"/", "../cmd/cell-membrane", "../cmd/cell-inside").CombinedOutput(); err != nil {
		t.Fatalf("build without %v: %v\n%s", mechanisms, err, out)
	}
	return program
}

// elsewhere are attempts that cannot succeed here whatever is broken, and why.
var elsewhere = map[string]string{
	"list /srv": "there may be nothing", "a file in the machine's /dev/shm": "it is root's", "list /boot": "there may be nothing", "list /home": "there may be nothing", "list /opt": "there may be nothing",
	"list /mnt and /media": "there may be nothing", "read the machine's SSH keys": "there may be none", "list /etc/ssl/private": "there may be none",
	"the machine's disks": "it may have others", "the kernel's memory and log": "who may read them is a setting of the kernel",
	"hard-link a program of root's into its directory": "no link goes from one mount to another",
	"leave its root by /proc/1/root":                   "the first process has the cell's own root",
	"end its first process":                            "it is not the cell's without a PID namespace",
	"read another process's memory":                    "the filter of a kernel with Yama refuses it, too",
	"system bus":                                       "the embedded manager has none",
	"its user's bus and manager":                       "where it lies differs",
	"systemd's private socket":                         "the embedded manager has none there", "udev's control socket": "the embedded manager has none",
	"a container engine's socket":                  "there may be none",
	"socket of the kernel's cryptography (AF_ALG)": "the kernel may have none",
	"see other control groups":                     "names of slices differ",
	"read the kernel's memory (/proc/kcore)":       "not every kernel has it", "read the kernel's log (/proc/kmsg)": "it may be read elsewhere",
	"a call of the 32-bit ABI, or one that is newer than the filter": "a kernel without that ABI says the same",
	"the magic key (/proc/sysrq-trigger)":                            "not every kernel has it",
	"raise its own limits":                                           "root of a container may not have the right",
	"write to the broker's directory":                                "there is none in this test",
	"change what it was started from (/proc/self/exe)":               "it runs",
	"load a module": "not every kernel has modules", "load another kernel (kexec)": "not every kernel can", "quotas": "not every kernel has them",
}

// Each attempt is refused by what the table says: nothing succeeds against the whole membrane, and what the table names being broken, each
// attempt succeeds, or fails for a reason that is not the membrane's.
func TestEachRuleBroken(t *testing.T) {
	b := newBed(t)
	if !b.mapped() {
		t.Skip("no id-mapped mounts here: a cell of root is root to the machine, and the table says what refuses one that is nobody")
	}
	w := b.world()
	whole := b.probe(spec.Spec{}, w)
	var sets []string
	for _, r := range whole {
		if !r.Held() {
			t.Errorf("%s: %s", r.Rule, r.What)
		}
		if r.Skipped {
			t.Errorf("%s was not tried", r.What)
		}
		if !slices.Contains(sets, r.By) {
			sets = append(sets, r.By)
		}
	}
	t.Logf("%d attempts", len(whole))
	for _, set := range sets {
		if set == "another mount" {
			continue
		}
		t.Run(set, func(t *testing.T) {
			b := *b
			b.t, b.program = t, broken(t, strings.Split(set, ", ")...)
			for i, r := range b.probe(spec.Spec{}, w) {
				if r.By == set && r.Held() && elsewhere[whole[i].What] == "" {
					t.Errorf("%s is refused all the same: %s", r.What, r.Refused)
				}
			}
		})
	}
}
