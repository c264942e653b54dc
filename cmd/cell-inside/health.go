package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cell-network/cell/membrane/spec"
	"github.com/cell-network/cell/sdk/broker"
)

// watch looks whether the program works, and tells celld when that changes.
func watch(h *spec.Health) {
	failures, told, ready := 0, true, time.Now().Add(h.Grace)
	for begun := time.Now(); ; begun = time.Now() {
		err := check(h)
		if failures++; err == nil {
			failures, ready = 0, begun
		} else if begun.Before(ready) {
			failures = 0
		}
		switch {
		case err == nil && !told:
			told = report(h, true, "") == nil
		case failures >= h.Failures && failures%h.Failures == 0:
			why := fmt.Sprintf("%v (%d times)", err, failures)
			fmt.Fprintln(os.Stderr, "unhealthy:", why)
			_ = report(h, false, why) // said again, should celld be away
			told = false
		}
		time.Sleep(max(h.Interval-time.Since(begun), time.Millisecond))
	}
}

func report(h *spec.Health, well bool, why string) error {
	ctx, cancel := context.WithTimeout(context.Background(), max(h.Interval, time.Second))
	defer cancel()
	r := broker.Request{Op: broker.OpHealth, Target: why[:min(len(why), 512)]}
	if well {
		r.Number = 1
	}
	return broker.Do(ctx, r)
}

// check is one look at the program.
func check(h *spec.Health) error {
	ctx, cancel := context.WithTimeout(context.Background(), h.Timeout)
	defer cancel()
	if len(h.Command) > 0 {
		return command(ctx, h)
	}
	c, err := own(ctx, h.Port)
	if err != nil {
		return late(ctx, h, err)
	}
	defer c.Close()
	if h.HTTP == "" {
		return nil
	}
	deadline, _ := ctx.Deadline()
	_ = c.SetDeadline(deadline)
	// The request is so plain, and a client of HTTP so large, that it is written by hand (RFC 9112).
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: cell-health\r\nConnection: close\r\n\r\n", h.HTTP); err != nil {
		return late(ctx, h, err)
	}
	line, err := bufio.NewReader(io.LimitReader(c, 4<<10)).ReadString('\n')
	if err != nil {
		return late(ctx, h, fmt.Errorf("GET %s: %w", h.HTTP, err))
	}
	version, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	word, _, _ := strings.Cut(rest, " ")
	status, err := strconv.Atoi(word)
	switch {
	case err != nil || !strings.HasPrefix(version, "HTTP/"):
		return fmt.Errorf("GET %s: the answer is not HTTP", h.HTTP)
	case status >= 400:
		return fmt.Errorf("GET %s: %s", h.HTTP, rest)
	}
	return nil
}

// own connects to the program: to its port, or to the socket that it has from systemd.
func own(ctx context.Context, port int) (net.Conn, error) {
	if port == 0 {
		return broker.Own(ctx)
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(port))
}

func late(ctx context.Context, h *spec.Health, err error) error {
	if ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("no answer within %v", h.Timeout)
	}
	return err
}

// command runs a check, with all that it starts.
func command(ctx context.Context, h *spec.Health) error {
	c := exec.CommandContext(ctx, h.Command[0], h.Command[1:]...)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = time.Second // what it left behind may hold its output
	out, err := c.CombinedOutput()
	if ctx.Err() != nil {
		return fmt.Errorf("%s: no end within %v", h.Command[0], h.Timeout)
	}
	if err == nil {
		return nil
	}
	last := bytes.TrimSpace(out)
	if i := bytes.LastIndexByte(last, '\n'); i >= 0 {
		last = last[i+1:]
	}
	return fmt.Errorf("%s: %w %s", h.Command[0], err, last[:min(len(last), 200)])
}
