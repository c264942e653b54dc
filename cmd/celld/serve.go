package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// servePort runs a program that insists on a port and passes it the connections of the cell's socket. A user's manager
// needs it: there no two units, and no two processes of a unit, can share a private network, so the proxy that other
// managers put in front must be in the program's own process tree. ready is [life] ready of the cell.
func servePort(port, ready string, program []string) int {
	listener, err := net.FileListener(os.NewFile(3, "listener")) // sd_listen_fds(3): the first is descriptor 3
	if err != nil {
		fmt.Fprintln(os.Stderr, "celld serve-port: the socket:", err)
		return 1
	}
	c := exec.Command(program[0], program[1:]...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		if name == "LISTEN_FDS" || name == "LISTEN_PID" || name == "LISTEN_FDNAMES" || name == "NOTIFY_SOCKET" && ready != "notify" {
			continue
		}
		c.Env = append(c.Env, e)
	}
	// systemd signals every process of the unit: the program ends by itself, and this one after it. The program would
	// inherit an ignored signal, but not a caught one.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
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
	if ready != "notify" {
		if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
			fmt.Fprintln(os.Stderr, "celld serve-port: notify readiness:", err)
		}
	}
	go func() {
		for {
			caller, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				time.Sleep(20 * time.Millisecond) // out of descriptors: callers wait in the backlog
				continue
			}
			go join(caller.(*net.UnixConn), address)
		}
	}()
	<-ended
	return exitCode(c)
}

// exitCode is what a shell would report.
func exitCode(c *exec.Cmd) int {
	if ws, ok := c.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		if ws.Signal() == syscall.SIGTERM {
			return 0 // it was stopped
		}
		return 128 + int(ws.Signal())
	}
	return c.ProcessState.ExitCode()
}

// join passes bytes both ways, each way to its own end.
func join(caller *net.UnixConn, address string) {
	defer caller.Close()
	nc, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	program := nc.(*net.TCPConn)
	defer program.Close()
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(program, caller)
		_ = program.CloseWrite()
		close(done)
	}()
	_, _ = io.Copy(caller, program)
	_ = caller.CloseWrite()
	<-done
}
