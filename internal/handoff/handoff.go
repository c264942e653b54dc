// Package handoff asks another process for a descriptor. A question is one byte over a socket that the two share, with the end of another
// socket, on which the answer comes: so questions may overlap, and who answers late or never holds up nobody else.
package handoff

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// longest is how long a text of an answer may be in bytes.
const longest = 1024

// Refused is an answer without a descriptor: why there is none.
type Refused struct{ Why string }

func (e *Refused) Error() string { return e.Why }

// Ask sends a question over the socket over, of type SOCK_SEQPACKET, and waits until ctx ends for what comes back: a descriptor, or a
// Refused.
func Ask(ctx context.Context, over int, question byte) (*os.File, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socket pair: %w", err)
	}
	mine := os.NewFile(uintptr(pair[0]), "answer")
	defer mine.Close()
	err = unix.Sendmsg(over, []byte{question}, unix.UnixRights(pair[1]), nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
	unix.Close(pair[1])
	if err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = mine.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := mine.SyscallConn()
	if err != nil {
		return nil, err
	}
	text, fd := make([]byte, longest), -1
	var n int
	var rerr error
	err = raw.Read(func(s uintptr) bool {
		n, fd, rerr = receive(int(s), text)
		return rerr != unix.EAGAIN
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("wait for the answer: %w", err)
	case rerr != nil:
		return nil, fmt.Errorf("read the answer: %w", rerr)
	case fd >= 0:
		return os.NewFile(uintptr(fd), "handed over"), nil
	case n == 0:
		return nil, errors.New("there was no answer")
	}
	return nil, &Refused{string(text[:n])}
}

// receive reads a packet and the one descriptor that may come along, else -1.
func receive(s int, data []byte) (n, fd int, err error) {
	oob := make([]byte, unix.CmsgSpace(4)) // no room for a second one
	var oobn int
	for {
		if n, oobn, _, _, err = unix.Recvmsg(s, data, oob, unix.MSG_CMSG_CLOEXEC); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return 0, -1, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		return n, -1, nil
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return n, -1, nil
	}
	return n, fds[0], nil
}

// Serve answers what is asked over a socket, each question with a goroutine of its own, until nobody can ask any more. It closes what
// answer returns.
func Serve(over int, answer func(question byte) (*os.File, error)) {
	data := make([]byte, 2)
	for {
		n, to, err := receive(over, data)
		if err != nil || n == 0 {
			return
		}
		if to < 0 {
			continue
		}
		question := data[0]
		go func() {
			defer unix.Close(to)
			f, err := answer(question)
			if err != nil {
				why := err.Error()
				if why == "" {
					why = "refused"
				}
				_ = unix.Sendmsg(to, []byte(why[:min(len(why), longest)]), nil, nil, unix.MSG_NOSIGNAL)
				return
			}
			defer f.Close()
			_ = unix.Sendmsg(to, []byte{0}, unix.UnixRights(int(f.Fd())), nil, unix.MSG_NOSIGNAL)
		}()
	}
}
