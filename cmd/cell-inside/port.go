package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/internal/handoff"
	"github.com/cell-network/cell/membrane/spec"
	"github.com/cell-network/cell/sdk/broker"
)

// servePort runs a program that insists on a port and passes it the connections of the cell's socket. It is inside of the membrane with
// the program, for the program's network is nobody else's. ready is [life] ready of the cell.
func servePort(port, ready string, program []string) int {
	const listener = 3            // sd_listen_fds(3): the first is descriptor 3
	syscall.CloseOnExec(listener) // the program listens on its port
	if err := unix.SetNonblock(listener, true); err != nil {
		fmt.Fprintln(os.Stderr, "cell-inside serve-port: the socket:", err)
		return 1
	}
	c := exec.Command(program[0], program[1:]...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		if name == "LISTEN_FDS" || name == "LISTEN_PID" || name == "LISTEN_FDNAMES" || name == "NOTIFY_SOCKET" {
			continue
		}
		c.Env = append(c.Env, e)
	}
	saysReady := make(chan struct{})
	if ready == "notify" {
		if err := relay(saysReady); err != nil {
			fmt.Fprintln(os.Stderr, "cell-inside serve-port: take notifications:", err)
			return 1
		}
		c.Env = append(c.Env, "NOTIFY_SOCKET="+programNotify)
	}
	// systemd signals every process of the unit: the program ends by itself, and this one after it. The program would
	// inherit an ignored signal, but not a caught one.
	signal.Notify(make(chan os.Signal, 1), stops...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 203 // as systemd says that a program cannot be run (systemd.exec(5))
	}
	ended := make(chan struct{})
	go func() {
		_ = c.Wait()
		close(ended)
	}()
	address := "127.0.0.1:" + port
	if ready == "port" {
		for {
			p, err := net.DialTimeout("tcp", address, time.Second)
			if err == nil {
				p.Close()
				break
			}
			select {
			case <-ended:
				fmt.Fprintln(os.Stderr, "the program ended before it listened on port", port)
				return max(1, exitCode(c))
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	if ready == "notify" {
		select {
		case <-saysReady:
		case <-ended:
			return exitCode(c)
		}
	} else {
		if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
			fmt.Fprintln(os.Stderr, "cell-inside serve-port: notify readiness:", err)
		}
	}
	go handOut(port)
	go serve(listener, address)
	<-ended
	return exitCode(c)
}

// handOut gives celld sockets of this network, which it connects to the program's port for callers that can take a connection, so that
// nothing stands between the two. Who cannot take one comes through the cell's socket.
func handOut(port string) {
	for {
		over, err := broker.Serve(context.Background())
		if err != nil {
			time.Sleep(time.Second) // celld is away, or knows nothing of it
			continue
		}
		handoff.Serve(int(over.Fd()), func(question byte) (*os.File, error) {
			if question == spec.AskCount {
				return nil, errors.New(strconv.Itoa(established(port)))
			}
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return nil, err
			}
			return os.NewFile(uintptr(fd), "socket"), nil
		})
		over.Close()
	}
}

// established counts the connections that the program has (proc_net_tcp in the kernel's documentation: numbers are hexadecimal, and 01 is
// the state).
func established(port string) (n int) {
	number, _ := strconv.Atoi(port)
	suffix := fmt.Sprintf(":%04X", number)
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > 3 && strings.HasSuffix(f[1], suffix) && f[3] == "01" {
				n++
			}
		}
	}
	return n
}

// programNotify is where a program that insists on a port speaks to systemd.
const programNotify = "/run/notify-program"

// relay passes what the program says on to systemd, which listens to this process alone, and closes ready when it says that it is: before,
// callers wait in the socket's backlog. The program does not become the main process.
func relay(ready chan struct{}) error {
	from, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: programNotify, Net: "unixgram"})
	if err != nil {
		return err
	}
	to, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: os.Getenv("NOTIFY_SOCKET"), Net: "unixgram"})
	if err != nil {
		return err
	}
	raw, err := to.SyscallConn()
	if err != nil {
		return err
	}
	go func() {
		data, oob := make([]byte, 8192), make([]byte, 4096)
		for told := false; ; {
			n, oobn, _, _, err := from.ReadMsgUnix(data, oob)
			if err != nil {
				return
			}
			var keep []string
			isReady := false
			for line := range strings.Lines(string(data[:n])) {
				line = strings.TrimSuffix(line, "\n")
				isReady = isReady || line == "READY=1"
				if !strings.HasPrefix(line, "MAINPID=") {
					keep = append(keep, line)
				}
			}
			// A connected socket of this kind takes no message with descriptors from package net.
			_ = raw.Control(func(fd uintptr) {
				_ = unix.Sendmsg(int(fd), []byte(strings.Join(keep, "\n")), oob[:oobn], nil, 0)
			})
			if rights, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil {
				for _, r := range rights {
					if fds, err := unix.ParseUnixRights(&r); err == nil {
						for _, fd := range fds {
							unix.Close(fd)
						}
					}
				}
			}
			if isReady && !told {
				told = true
				close(ready)
			}
		}
	}()
	return nil
}

// exitCode is what a shell would report.
func exitCode(c *exec.Cmd) int {
	if ws, ok := c.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		switch ws.Signal() {
		case syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE:
			return 0 // it was stopped: what systemd takes for success, too (systemd.service(5), SuccessExitStatus=)
		}
		return 128 + int(ws.Signal())
	}
	return c.ProcessState.ExitCode()
}

// serve passes the callers that wait at a socket to the program, for good. A caller is taken from the socket only when the program has
// taken a connection: while it does not listen, as when it ends, callers wait for who comes after it.
func serve(listener int, address string) {
	again := func() { time.Sleep(20 * time.Millisecond) }
	for {
		ready := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
		if n, err := unix.Poll(ready, -1); n != 1 {
			if err != unix.EINTR {
				again()
			}
			continue
		}
		program, err := net.Dial("tcp", address)
		if err != nil {
			again()
			continue
		}
		caller, err := accept(listener)
		if err != nil {
			program.Close()
			if !errors.Is(err, unix.EAGAIN) {
				again() // out of descriptors: callers wait in the backlog
			}
			continue
		}
		go join(caller, program.(stream))
	}
}

// accept takes a caller that waits at a socket.
func accept(listener int) (stream, error) {
	fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "caller")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return c.(stream), nil
}
