package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// role is the variable that tells a process that it is a server, or the heavy caller: what, of which kind, at which socket.
const role = "CELL_BENCH_CALL"

const (
	roleServe = "serve"
	roleLoad  = "load"
)

// kindCopy is a server that no calls are made to.
const kindCopy = "copy"

// child does what role says, if it says something. It ends with its input, which the parent holds open as long as it lives.
func child() {
	what, rest, _ := strings.Cut(os.Getenv(role), ":")
	kind, socket, _ := strings.Cut(rest, ":")
	var err error
	switch what {
	case "":
		return
	case roleServe:
		err = serve(kind, socket)
	case roleLoad:
		err = load(kind, socket)
	default:
		err = fmt.Errorf("%s: unknown role %q", role, what)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "call:", what, kind+":", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serve(kind, socket string) error {
	run := copyItems
	if kind != kindCopy {
		t, ok := named(kind)
		if !ok {
			return errors.New("unknown kind")
		}
		run = t.serve
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- run(l) }()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		failed <- nil
	}()
	if _, err := os.Stdout.Write([]byte{'\n'}); err != nil {
		return err
	}
	return <-failed
}

// load makes calls for as long as it is asked to: every byte of input switches, and is answered when that is done.
func load(kind, socket string) error {
	t, ok := named(kind)
	if !ok {
		return errors.New("unknown kind")
	}
	callers, closeAll, err := dialMany(t, socket, manyCallers)
	if err != nil {
		return err
	}
	defer closeAll()
	in, data := bufio.NewReader(os.Stdin), message(large)
	if _, err := os.Stdout.Write([]byte{'\n'}); err != nil {
		return err
	}
	for {
		if _, err := in.ReadByte(); err != nil {
			return nil
		}
		var stop atomic.Bool
		var first, all sync.WaitGroup
		first.Add(len(callers))
		for _, call := range callers {
			all.Go(func() {
				try(call(data, unseen))
				for first.Done(); !stop.Load(); {
					try(call(data, unseen))
				}
			})
		}
		first.Wait()
		if _, err := os.Stdout.Write([]byte{'\n'}); err != nil {
			return err
		}
		_, err := in.ReadByte()
		stop.Store(true)
		all.Wait()
		if err != nil {
			return nil
		}
		if _, err := os.Stdout.Write([]byte{'\n'}); err != nil {
			return err
		}
	}
}

// dialMany makes a connection for all callers, or one for each where a connection carries one call at a time.
func dialMany(t transport, socket string, callers int) (calls []call, closeAll func(), err error) {
	var clients []client
	closeAll = func() {
		for _, c := range clients {
			c.close()
		}
	}
	for i := range callers {
		if i == 0 || t.solo {
			c, err := t.dial(socket)
			if err != nil {
				closeAll()
				return nil, nil, err
			}
			clients = append(clients, c)
		}
		calls = append(calls, clients[len(clients)-1].call)
	}
	return calls, closeAll, nil
}

// process is this program once more.
type process struct {
	socket string
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
}

// start returns when the process is ready.
func start(what, kind, socket string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{socket: socket, cmd: exec.Command(self)}
	p.cmd.Env = append(os.Environ(), role+"="+what+":"+kind+":"+socket)
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	if _, err := p.out.ReadByte(); err != nil {
		p.stop()
		return nil, fmt.Errorf("%s %s: %w", what, kind, err)
	}
	return p, nil
}

// toggle switches the heavy caller on or off, and returns when it has.
func (p *process) toggle() error {
	if _, err := p.in.Write([]byte{'\n'}); err != nil {
		return err
	}
	_, err := p.out.ReadByte()
	return err
}

func (p *process) stop() {
	_ = p.in.Close()
	_ = p.cmd.Wait()
}

// resident is the process's memory in bytes.
func (p *process) resident() (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for l := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(l, "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(v)[0], 10, 64)
			return kb << 10, err
		}
	}
	return 0, errors.New("no VmRSS")
}

// bed holds the servers, each started when it is first asked for.
type bed struct {
	dir     string
	servers map[string]*process
}

func newBed() (*bed, error) {
	dir, err := os.MkdirTemp("", "call")
	return &bed{dir, map[string]*process{}}, err
}

// server returns the server of a kind.
func (b *bed) server(kind string) (*process, error) {
	if p, ok := b.servers[kind]; ok {
		return p, nil
	}
	p, err := start(roleServe, kind, filepath.Join(b.dir, strconv.Itoa(len(b.servers))))
	if err != nil {
		return nil, err
	}
	b.servers[kind] = p
	return p, nil
}

func (b *bed) close() {
	for _, p := range b.servers {
		p.stop()
	}
	_ = os.RemoveAll(b.dir)
}
