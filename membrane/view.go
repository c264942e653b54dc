package membrane

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/membrane/spec"
)

// tinyPath is where the program of the first process lies in a cell.
const tinyPath = "/.cell"

// emptyPath is a directory with nothing in it.
const emptyPath = "/.empty"

// etc is what programs need of /etc: names, certificates, time zone, locale, and what language runtimes are configured with. Nothing in
// them is secret: everybody may read them.
var etc = []string{
	"alternatives", "crypto-policies", "fonts", "gai.conf", "host.conf", "java*", "ld.so.cache", "locale.conf", "localtime", "mime.types",
	"nsswitch.conf", "os-release", "perl", "php", "pki", "protocols", "python*", "services", "ssl", "timezone", "OpenCL", "vulkan",
}

// etcParts are the parts of directories of etc that have others beside them.
var etcParts = map[string][]string{
	"ssl": {"certs", "openssl.cnf"}, "pki": {"ca-trust", "java", "tls/cert.pem", "tls/certs", "tls/openssl.cnf"},
}

// devices are those that do nothing to the machine.
var devices = []string{"null", "zero", "full", "random", "urandom", "tty"}

// view gives the process the view that its program will have, and starts the first process in it: started is told when the program is
// there. o.trees are what owned names, or empty.
func view(s *spec.Spec, who identity, o opened) (started int, err error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return -1, fmt.Errorf("part from the machine's mounts: %w", err)
	}
	// What is to be seen is opened before anything is covered: a cell's directory may lie anywhere.
	var mounts []mount
	for i, t := range owned(s) {
		m := mount{thing: t, fd: -1}
		if i < len(o.trees) {
			m.fd = o.trees[i]
		} else {
			fd, err := t.open()
			if err != nil {
				return -1, err
			}
			m.fd = fd
		}
		if m.fd >= 0 {
			mounts = append(mounts, m)
		}
	}
	machines, links, err := machinesThings(s)
	if err != nil {
		return -1, err
	}
	var early []mount
	for _, o := range machines {
		fd, err := o.open()
		if err != nil {
			return -1, err
		}
		if fd >= 0 {
			early = append(early, mount{o, fd})
		}
	}
	texts, err := texts(s, who)
	if err != nil {
		return -1, err
	}
	groups, err := ownGroups()
	if err != nil {
		groups = -1 // runtimes that size themselves by limits then see the machine's
	}

	const base = "/tmp" // any directory of every machine
	if err := unix.Mount("tmpfs", base, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755,size=16m"); err != nil {
		return -1, fmt.Errorf("mount an empty root: %w", err)
	}
	if err := os.Mkdir(base+"/proc", 0o755); err != nil {
		return -1, err
	}
	// The kernel gives a new /proc only to who sees the whole of the old one, which ends with the old root.
	started, hidden, err := firstProcess(who, base+"/proc")
	if err != nil {
		return -1, err
	}
	if hidden != 0 {
		fmt.Fprintf(os.Stderr, "cell-membrane: %s has no /proc, as this machine hides a part of its own: %v\n", s.Name, hidden)
	}
	if err := unix.Chdir(base); err != nil {
		return -1, fmt.Errorf("enter the new root: %w", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return -1, fmt.Errorf("change the root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return -1, fmt.Errorf("leave the old root: %w", err)
	}
	unix.Umask(0o022)
	for _, d := range []string{emptyPath, "/dev", "/tmp", "/run", "/etc", "/sys", "/var/lib", "/var/cache", "/var/log"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return -1, err
		}
	}
	for at, options := range map[string]string{"/tmp": "mode=1777", "/run": fmt.Sprintf("mode=755,uid=%d,gid=%d", who.uid, who.gid)} {
		if err := unix.Mount("tmpfs", at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
			return -1, fmt.Errorf("mount an empty %s: %w", at, err)
		}
	}
	for name, to := range links {
		if err := link(to, name); err != nil {
			return -1, err
		}
	}
	for name, text := range texts {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			return -1, err
		}
	}
	if err := os.WriteFile(tinyPath, tinyELF(), 0o755); err != nil {
		return -1, err
	}
	for _, m := range append(early, mounts...) {
		if err := m.attach(); err != nil {
			return -1, err
		}
	}
	if err := hide(s); err != nil {
		return -1, err
	}
	if err := putSecrets(s, who, o.secrets); err != nil {
		return -1, err
	}
	if err := kernel(groups); err != nil {
		return -1, err
	}
	if err := unix.Sethostname([]byte(hostname(s))); err != nil {
		return -1, fmt.Errorf("set the host name: %w", err)
	}
	if !s.Internet {
		if err := loopback(s); err != nil {
			return -1, err
		}
		// Ports below 1024 are the cell's own to open.
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0); err != nil && hidden == 0 {
			return -1, fmt.Errorf("open low ports: %w", err)
		}
	}
	if hidden == 0 {
		for _, p := range []string{"sys", "sysrq-trigger", "irq", "bus", "fs"} {
			if err := readOnly("/proc/" + p); err != nil {
				return -1, err
			}
		}
	}
	if err := unix.MountSetattr(unix.AT_FDCWD, "/", 0, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
		return -1, fmt.Errorf("close the root: %w", err)
	}
	return started, unix.Chdir("/")
}

// mount is a thing whose mount is open and has no place yet.
type mount struct {
	thing
	fd int
}

// attach puts it to its place, which it makes.
func (m mount) attach() error {
	defer unix.Close(m.fd)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV, Propagation: unix.MS_PRIVATE}
	switch {
	case strings.HasPrefix(m.to, "/dev/"):
		attr.Attr_set = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC
	case !m.write:
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if err := unix.MountSetattr(m.fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		return fmt.Errorf("restrict %s: %w", m.to, err)
	}
	if to, err := os.Readlink(m.to); err == nil { // it is there inside, too, where the link leads
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(m.to), to)
		}
		m.to = filepath.Clean(to)
	}
	if _, err := os.Lstat(m.to); err != nil {
		if err := m.place(); err != nil {
			return err
		}
	}
	if err := unix.MoveMount(m.fd, "", unix.AT_FDCWD, m.to, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("show %s: %w", m.to, err)
	}
	return nil
}

// place makes what a thing is mounted on.
func (m mount) place() error {
	var st unix.Stat_t
	if err := unix.Fstatat(m.fd, "", &st, unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("look at %s: %w", m.from, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return os.MkdirAll(m.to, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(m.to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(m.to, nil, 0o644)
}

func link(to, name string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.Symlink(to, name)
}

// machinesThings are what a cell sees of the machine: mounts, and links by name.
func machinesThings(s *spec.Spec) (things []thing, links map[string]string, err error) {
	links = map[string]string{
		"/dev/fd": "/proc/self/fd", "/dev/stdin": "fd/0", "/dev/stdout": "fd/1", "/dev/stderr": "fd/2", "/dev/ptmx": "pts/ptmx",
		"/var/run": "../run", "/var/tmp": "../tmp", "/run/shm": "../dev/shm",
	}
	show := func(from string) { things = append(things, thing{from: from, to: from, optional: true, follow: true}) }
	show("/usr")
	for _, d := range []string{"/bin", "/sbin", "/lib", "/lib64", "/lib32", "/libx32"} {
		if to, err := os.Readlink(d); err == nil {
			links[d] = to
		} else {
			show(d)
		}
	}
	all, err := os.ReadDir("/etc")
	if err != nil {
		return nil, nil, err
	}
	for _, e := range all {
		name := e.Name()
		if !slices.ContainsFunc(etc, func(p string) bool {
			start, many := strings.CutSuffix(p, "*")
			return name == p || many && strings.HasPrefix(name, start)
		}) {
			continue
		}
		path := "/etc/" + name
		if parts, ok := etcParts[name]; ok {
			for _, part := range parts {
				show(path + "/" + part)
			}
			continue
		}
		if to, err := os.Readlink(path); err == nil && !strings.HasPrefix(to, "/run") {
			links[path] = to
		} else {
			show(path)
		}
	}
	for _, d := range devices {
		show("/dev/" + d)
	}
	for _, d := range s.Devices {
		things = append(things, thing{from: d, to: d})
	}
	for _, d := range []string{"/sys/devices/system/cpu", "/sys/devices/system/node"} {
		show(d) // how many processors there are
	}
	show("/run/systemd/journal/socket")
	show("/run/systemd/journal/dev-log")
	links["/dev/log"] = "../run/systemd/journal/dev-log"
	if s.Notify {
		things = append(things, thing{from: os.Getenv("NOTIFY_SOCKET"), to: spec.Notify, follow: true})
	}
	if s.Internet {
		// Who resolves names may write the file again, into a directory of its own.
		to, err := filepath.EvalSymlinks("/etc/resolv.conf")
		switch {
		case err != nil:
		case strings.HasPrefix(to, "/run/"):
			show(filepath.Dir(to))
			links["/etc/resolv.conf"] = to
		default:
			show("/etc/resolv.conf")
		}
	}
	return things, links, nil
}

// name is what the program's user is called inside.
func (w identity) name(s *spec.Spec) string {
	if s.Root {
		return "root"
	}
	if name, _ := lookUp("/etc/passwd", w.uid); name != "" {
		return name
	}
	return "cell"
}

// lookUp finds the name of an id in a file of the form of passwd(5) or group(5).
func lookUp(file string, id int) (name, text string) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", ""
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Split(line, ":"); len(f) > 3 && f[2] == fmt.Sprint(id) {
			name = f[0]
		}
	}
	return name, string(b)
}

// texts are files that are written for the cell. A foreign cell is not told who lives on the machine.
func texts(s *spec.Spec, who identity) (map[string]string, error) {
	uid, gid := who.uid, who.gid
	user, passwd := lookUp("/etc/passwd", uid)
	group, groups := lookUp("/etc/group", gid)
	if s.Foreign || passwd == "" {
		user, passwd = "", "root:x:0:0:root:/root:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
	}
	if s.Foreign || groups == "" {
		group, groups = "", "root:x:0:\nnogroup:x:65534:\n"
	}
	if s.Root {
		user, group = "root", "root"
	}
	if user == "" {
		passwd = ending(passwd) + fmt.Sprintf("cell:x:%d:%d:cell:%s:/usr/sbin/nologin\n", uid, gid, filepath.Join(s.Inside(), "data"))
	}
	if group == "" {
		groups = ending(groups) + fmt.Sprintf("cell:x:%d:\n", gid)
	}
	name := hostname(s)
	hosts := "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
	if s.Internet && !s.Foreign {
		if b, err := os.ReadFile("/etc/hosts"); err == nil {
			hosts = ending(string(b))
		} else if !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	for host, at := range addresses(s) {
		hosts += at + " " + host + "\n"
	}
	return map[string]string{
		"/etc/passwd": passwd, "/etc/group": groups, "/etc/hostname": name + "\n", "/etc/hosts": hosts + "127.0.1.1 " + name + "\n",
	}, nil
}

func ending(text string) string {
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text
}

// hostname is the instance's name in the form of a host's (hostname(7)), at most 63 characters.
func hostname(s *spec.Spec) string {
	name := strings.NewReplacer(":", "-", "_", "-").Replace(s.Name)
	if len(name) > 63 {
		name = strings.TrimLeft(name[len(name)-63:], "-.")
	}
	return name
}

// hide covers the directories of other cells in this one's.
func hide(s *spec.Spec) error {
	b, err := os.ReadFile(filepath.Join(s.Inside(), spec.Children))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		d := strings.TrimSuffix(line, "\n")
		at := filepath.Join(s.Inside(), d)
		if st, err := os.Lstat(at); !filepath.IsLocal(d) || d == "." || err != nil || !st.IsDir() {
			continue // it has gone since
		}
		if err := unix.Mount(emptyPath, at, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("hide %s: %w", at, err)
		}
		if err := unix.MountSetattr(unix.AT_FDCWD, at, 0, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
			return fmt.Errorf("hide %s: %w", at, err)
		}
	}
	return nil
}

// kernel mounts what the kernel shows a cell of itself, and terminals and shared memory of its own.
func kernel(groups int) error {
	if groups >= 0 {
		const at = "/sys/fs/cgroup"
		if err := os.MkdirAll(at, 0o755); err != nil {
			return err
		}
		if err := unix.MoveMount(groups, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("mount %s: %w", at, err)
		}
		unix.Close(groups)
	}
	for _, m := range []struct{ fs, at, options string }{
		{"tmpfs", "/dev/shm", "mode=1777"}, {"devpts", "/dev/pts", "newinstance,ptmxmode=0666,mode=620"},
	} {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.fs, m.at, m.fs, unix.MS_NOSUID|unix.MS_NOEXEC, m.options); err != nil {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	return nil
}

// ownGroups mounts the tree of control groups from the cell's own down, without a place.
func ownGroups() (int, error) {
	ctx, err := unix.Fsopen("cgroup2", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(ctx)
	if err := unix.FsconfigCreate(ctx); err != nil {
		return -1, err
	}
	return unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
}

// readOnly closes a directory or file that is there, with what is mounted below it.
func readOnly(at string) error {
	fd, err := thing{from: at, optional: true}.open()
	if err != nil || fd < 0 {
		return err
	}
	defer unix.Close(fd)
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
		return fmt.Errorf("restrict %s: %w", at, err)
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("close %s: %w", at, err)
	}
	return nil
}

// loopback starts the one interface of a new network namespace, which also has the addresses of hosts outside: what connects to one is taken
// by cell-inside.
func loopback(s *spec.Spec) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("start the loopback interface: %w", err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, lo)
	}
	if err == nil {
		lo.SetUint16(lo.Uint16() | unix.IFF_UP)
		err = unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
	}
	if err != nil {
		return fmt.Errorf("start the loopback interface: %w", err)
	}
	taken := map[netip.Addr]bool{}
	for _, h := range s.Hosts {
		host, _ := spec.SplitHost(h)
		a, err := netip.ParseAddr(host)
		if err != nil || taken[a] {
			continue // a name
		}
		if err := haveAddress(fd, len(taken), a); err != nil {
			return fmt.Errorf("give the loopback interface the address %v: %w", a, err)
		}
		taken[a] = true
	}
	return nil
}

// haveAddress gives the loopback interface an address more (netdevice(7)); an IPv4 one needs an alias of its own.
func haveAddress(fd, number int, a netip.Addr) error {
	if a.Is6() {
		six, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(six)
		request := struct { // struct in6_ifreq; the loopback interface is the first one
			address [16]byte
			prefix  uint32
			index   int32
		}{a.As16(), 128, 1}
		if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(six), unix.SIOCSIFADDR, uintptr(unsafe.Pointer(&request))); e != 0 {
			return e
		}
		return nil
	}
	for _, set := range []struct {
		request uint
		value   [4]byte
	}{{unix.SIOCSIFADDR, a.As4()}, {unix.SIOCSIFNETMASK, [4]byte{255, 255, 255, 255}}} {
		alias, err := unix.NewIfreq(fmt.Sprintf("lo:%d", number))
		if err == nil {
			err = alias.SetInet4Addr(set.value[:])
		}
		if err == nil {
			err = unix.IoctlIfreq(fd, set.request, alias)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
