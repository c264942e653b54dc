package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/sdk/broker"
)

// handover gives the program connections in place of its own sockets: its connect(2) waits (seccomp_unotify(2)) until a connection is
// had, which takes the place of the descriptor, and from then on nobody is in between. Where that would not do, connect(2) goes on as it
// is, to a listener of this program's, which copies.
type handover struct {
	listener int
	ways     []*way
	waiting  atomic.Int32 // goroutines that wait for the next one
}

// atHand is how many goroutines wait at most when nothing happens.
const atHand = 2

// What the kernel tells and takes, and how (seccomp.h).
type (
	notification struct {
		id         uint64
		pid, flags uint32
		number     int32
		arch       uint32
		at         uint64
		args       [6]uint64
	}
	response struct {
		id    uint64
		value int64
		err   int32
		flags uint32
	}
	addition struct {
		id                  uint64
		flags, from, to, on uint32
	}
)

const (
	notifReceive = 0xc0502100
	notifSend    = 0xc0182101
	notifValid   = 0x40082102
	notifAdd     = 0x40182103

	goOn    = 1 // of response: connect(2) as it is
	inPlace = 1 // of addition: take the descriptor's place
)

func (h *handover) ioctl(request uintptr, arg unsafe.Pointer) unix.Errno {
	for {
		_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(h.listener), request, uintptr(arg))
		if e != unix.EINTR {
			return e
		}
	}
}

// serve answers until the program has ended. Who has received one answers it itself, and sees to it that somebody waits for the next:
// another goroutine would have to be woken first, which takes longer than all the rest.
func (h *handover) serve() {
	for {
		var n notification
		h.waiting.Add(1)
		e := h.ioctl(notifReceive, unsafe.Pointer(&n))
		left := h.waiting.Add(-1)
		switch {
		case e == 0 && left == 0:
			go h.serve()
			fallthrough
		case e == 0:
			h.answer(n)
		case e == unix.ENOENT: // who asked is gone
		default:
			return
		}
		if h.waiting.Load() >= atHand {
			return
		}
	}
}

func (h *handover) answer(n notification) {
	r := response{id: n.id}
	switch err := h.connect(&n); {
	case err == nil:
	case errors.Is(err, errAsIs):
		r.flags = goOn
	default:
		r.err = -int32(unix.ECONNREFUSED)
	}
	h.ioctl(notifSend, unsafe.Pointer(&r)) // who asked may be gone
}

// errAsIs leaves connect(2) to the kernel.
var errAsIs = errors.New("as it is")

// soon is how long a program waits that does not want to wait, as its socket says: then it comes to the listener.
const soon = 50 * time.Millisecond

// connect makes the connection that a connect(2) asks for, and puts it in the place of its socket.
func (h *handover) connect(n *notification) error {
	w, local := h.wayTo(n)
	if w == nil || strings.Contains(w.name, ":") { // a host outside, to which the listener alone leads
		return errAsIs
	}
	p, err := socketOf(n)
	if err != nil {
		return w.copied(local)
	}
	defer p.close()
	number := uint64(broker.WantsTCP)
	if p.domain == unix.AF_UNIX {
		number = broker.WantsUnix
	}
	asked := w.ask(number) // the rest is looked at meanwhile
	if p.leadsElsewhere() {
		if err = w.copied(local); err == errAsIs {
			w.leave(w.make(asked))
		} else {
			go drop(w.make(asked))
		}
		return err
	}
	// The process is still the one that asked, not another one of its number.
	if id := n.id; h.ioctl(notifValid, unsafe.Pointer(&id)) != 0 {
		go drop(w.make(asked))
		return errAsIs
	}
	var c made
	if p.nonblock {
		coming := w.make(asked)
		select {
		case c = <-coming:
		case <-w.late():
			w.leave(coming)
			return errAsIs
		}
	} else {
		c = w.now(asked)
	}
	if c.err != nil {
		return c.err
	}
	if err = errAsIs; c.confined {
		err = h.put(n, p, int(c.conn.Fd()))
	}
	if errors.Is(err, errAsIs) && w.copied(local) == errAsIs {
		back := make(chan made, 1)
		back <- c
		w.leave(back)
		return errAsIs
	}
	c.conn.Close() // the program has it
	if err != nil {
		w.said.say(fmt.Errorf("connect to %s: hand over the connection: %w", w.name, err))
	}
	return err
}

// copied is what becomes of a connection that cannot be handed over: it goes to the listener, where there is one. local tells whether it
// is to the Unix socket.
func (w *way) copied(local bool) error {
	if !w.shared || local {
		return errAsIs
	}
	err := fmt.Errorf("connect to %s: with internet = true the program must not put its socket into an epoll set or duplicate it before it connects, and the called cell needs a port; use %s", w.name, w.socket())
	w.said.say(err)
	return err
}

// late is when a program that does not want to wait goes to the listener; never, where there is none.
func (w *way) late() <-chan time.Time {
	if w.shared {
		return nil
	}
	return time.After(soon)
}

// wayTo is the way that leads to the address of a connect(2), nil when none does, and whether that is the way's Unix socket.
func (h *handover) wayTo(n *notification) (w *way, local bool) {
	raw := make([]byte, min(n.args[2], unix.SizeofSockaddrUnix))
	if len(raw) < 2 {
		return nil, false
	}
	here := []unix.Iovec{{Base: &raw[0], Len: uint64(len(raw))}}
	there := []unix.RemoteIovec{{Base: uintptr(n.args[1]), Len: len(raw)}}
	if got, err := unix.ProcessVMReadv(int(n.pid), here, there, 0); err != nil || got != len(raw) {
		return nil, false
	}
	at, path := address(raw)
	for _, w := range h.ways {
		if path != "" && path == w.socket() || at != "" && at == w.at {
			return w, path != ""
		}
	}
	return nil, false
}

// address reads a struct sockaddr: an address with its port as net.JoinHostPort writes it, or the path of a Unix socket.
func address(raw []byte) (at, path string) {
	var a netip.Addr
	switch family := binary.NativeEndian.Uint16(raw); {
	case family == unix.AF_UNIX:
		path, _, _ = strings.Cut(string(raw[2:]), "\x00")
		return "", path
	case family == unix.AF_INET && len(raw) >= unix.SizeofSockaddrInet4:
		a = netip.AddrFrom4([4]byte(raw[4:8]))
	case family == unix.AF_INET6 && len(raw) >= unix.SizeofSockaddrInet6:
		a = netip.AddrFrom16([16]byte(raw[8:24])).Unmap()
	default:
		return "", ""
	}
	return net.JoinHostPort(a.String(), strconv.Itoa(int(binary.BigEndian.Uint16(raw[2:])))), ""
}

// socket is the socket that a program wants to connect.
type socket struct {
	process  int
	fd       int // here
	number   int // there
	domain   int
	nonblock bool
	cloexec  bool
}

func (p *socket) close() { unix.Close(p.fd) }

// mostDescriptors is how many descriptors of a process are looked at for others that lead to its socket.
const mostDescriptors = 512

// socketOf gets hold of the socket of a connect(2). It is an error when it is no stream, or connected already.
func socketOf(n *notification) (*socket, error) {
	p := &socket{process: int(n.pid), number: int(int32(n.args[0]))}
	process, err := unix.PidfdOpen(p.process, 0)
	if err != nil { // it is not the first thread of its process
		if p.process, err = processOf(n.pid); err != nil {
			return nil, err
		}
		if process, err = unix.PidfdOpen(p.process, 0); err != nil {
			return nil, err
		}
	}
	defer unix.Close(process)
	if p.fd, err = unix.PidfdGetfd(process, p.number, 0); err != nil {
		return nil, err
	}
	if err := p.look(); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *socket) look() error {
	kind, err := unix.GetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err == nil {
		p.domain, err = unix.GetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	}
	if err != nil {
		return err
	}
	if _, err := unix.Getpeername(p.fd); kind != unix.SOCK_STREAM || err != unix.ENOTCONN {
		return errAsIs
	}
	status, err := unix.FcntlInt(uintptr(p.fd), unix.F_GETFL, 0)
	p.nonblock = status&unix.O_NONBLOCK != 0
	return err
}

// leadsElsewhere tells whether the socket may not be exchanged: something else of the process leads to it, an epoll(7) or another
// descriptor, and would go on to lead to the old one; or that is not known.
func (p *socket) leadsElsewhere() bool {
	var st unix.Stat_t
	if err := unix.Fstat(p.fd, &st); err != nil {
		return true
	}
	own := fmt.Sprintf("socket:[%d]", st.Ino)
	dir, err := os.Open(fmt.Sprintf("/proc/%d/fd", p.process))
	if err != nil {
		return true
	}
	names, err := dir.Readdirnames(mostDescriptors + 1)
	dir.Close()
	if err != nil || len(names) > mostDescriptors {
		return true
	}
	for _, name := range names {
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", p.process, name))
		switch {
		case err != nil: // closed meanwhile
		case link == own && name != strconv.Itoa(p.number):
			return true
		case link == "anon_inode:[eventpoll]" && watchesFile(p.process, name, p.number):
			return true
		}
	}
	info, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", p.process, p.number))
	if err != nil {
		return true
	}
	bits, err := strconv.ParseUint(field(string(info), "flags:"), 8, 64)
	p.cloexec = bits&unix.O_CLOEXEC != 0
	return err != nil
}

// watchesFile tells whether an epoll descriptor of a process has one of its descriptors (proc_pid_fdinfo(5)).
func watchesFile(pid int, epoll string, number int) bool {
	info, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%s", pid, epoll))
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(info)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "tfd:" && f[1] == strconv.Itoa(number) {
			return true
		}
	}
	return false
}

func field(text, name string) string {
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, name); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// processOf is the process that a thread belongs to.
func processOf(thread uint32) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", thread))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(field(string(text), "Tgid:"))
}

// put gives the program the connection fd in the place of its socket, as that was set. The error is errAsIs when it is of another kind.
func (h *handover) put(n *notification, p *socket, fd int) error {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return err
	}
	if (domain == unix.AF_UNIX) != (p.domain == unix.AF_UNIX) {
		return errAsIs
	}
	p.settings(fd)
	if err := unix.SetNonblock(fd, p.nonblock); err != nil {
		return err
	}
	add := addition{id: n.id, flags: inPlace, from: uint32(fd), to: uint32(p.number)}
	if p.cloexec {
		add.on = unix.O_CLOEXEC
	}
	if e := h.ioctl(notifAdd, unsafe.Pointer(&add)); e != 0 {
		return e
	}
	return nil
}

// option is one of a socket that a program may have set before it connects.
type option struct{ level, name int }

var options = []option{
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE},
	{unix.SOL_SOCKET, unix.SO_OOBINLINE},
	{unix.SOL_SOCKET, unix.SO_RCVLOWAT},
	{unix.SOL_SOCKET, unix.SO_PASSCRED},
	{unix.IPPROTO_TCP, unix.TCP_NODELAY},
	{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE},
	{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL},
	{unix.IPPROTO_TCP, unix.TCP_KEEPCNT},
	{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT},
	{unix.IPPROTO_TCP, unix.TCP_CORK},
}

var (
	usualUnix = sync.OnceValue(func() map[option]int { return ofNew(unix.AF_UNIX) })
	usualTCP  = sync.OnceValue(func() map[option]int { return ofNew(unix.AF_INET) })
)

func usualOptions(local bool) map[option]int {
	if local {
		return usualUnix()
	}
	return usualTCP()
}

// ofNew are the options of a new socket, as far as it has them.
func ofNew(domain int) map[option]int {
	all := map[option]int{}
	fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return all
	}
	defer unix.Close(fd)
	for _, o := range slices.Concat(options, []option{{unix.SOL_SOCKET, unix.SO_RCVBUF}, {unix.SOL_SOCKET, unix.SO_SNDBUF}}) {
		if v, err := unix.GetsockoptInt(fd, o.level, o.name); err == nil {
			all[o] = v
		}
	}
	return all
}

// settings carries over what was set on the program's socket. The sizes of buffers only where they are not a new socket's: the kernel
// would no longer choose them.
func (p *socket) settings(fd int) {
	usual := usualOptions(p.domain == unix.AF_UNIX)
	changed := func(o option) (int, bool) {
		was, known := usual[o]
		if !known {
			return 0, false
		}
		is, err := unix.GetsockoptInt(p.fd, o.level, o.name)
		return is, err == nil && is != was
	}
	for _, o := range options {
		if v, ok := changed(o); ok {
			_ = unix.SetsockoptInt(fd, o.level, o.name, v)
		}
	}
	for _, name := range []int{unix.SO_RCVBUF, unix.SO_SNDBUF} {
		if v, ok := changed(option{unix.SOL_SOCKET, name}); ok {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, name, v/2) // it reads twice what was set (socket(7))
		}
	}
	if l, err := unix.GetsockoptLinger(p.fd, unix.SOL_SOCKET, unix.SO_LINGER); err == nil && l.Onoff != 0 {
		_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, l)
	}
	for _, name := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if tv, err := unix.GetsockoptTimeval(p.fd, unix.SOL_SOCKET, name); err == nil && (tv.Sec != 0 || tv.Usec != 0) {
			_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, name, tv)
		}
	}
}
