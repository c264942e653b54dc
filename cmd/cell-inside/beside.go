package main

import (
	"errors"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/membrane/spec"
)

// besideSocket is where who started this says which process the program is.
const besideSocket = 1

// beside runs beside the program until that ends: it takes the program's connections to what it may reach, asks for each, and looks whether
// the program works. A word that begins with = is a check of its health, spec.Shared says that the network is the machine's, others are ways.
// The program does not run before it has said
// that it listens.
func beside(words []string) int {
	// systemd signals every process of the unit: the program's connections last as long as it does.
	signal.Ignore(stops...)
	unix.CloseOnExec(besideSocket)
	unix.CloseOnExec(dialSocket) // which may not be there
	// What the program is made to do must not reach into what asks celld in its name.
	err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	if err == nil {
		err = os.MkdirAll(spec.NeedsAt, 0o755)
	}
	var check *spec.Health
	var ways []*way
	hosts, shared := 0, false
	for _, word := range words {
		if err != nil {
			break
		}
		if text, ok := strings.CutPrefix(word, "="); ok {
			check, err = spec.ParseHealth(text)
			continue
		}
		if word == spec.Shared {
			shared = true
			continue
		}
		w := wayOf(word, &hosts)
		w.shared = shared
		ways = append(ways, w)
		err = w.listen()
	}
	program, connects, rerr := programOf()
	if err == nil {
		err = rerr
	}
	if err != nil {
		_, _ = unix.Write(besideSocket, []byte(err.Error()))
		return 1
	}
	if connects >= 0 {
		go (&handover{listener: connects, ways: ways}).serve()
	}
	if _, err := unix.Write(besideSocket, []byte("listening")); err != nil {
		return 1
	}
	unix.Close(besideSocket)
	if check != nil {
		go watch(check)
	}
	for {
		if n, err := unix.Poll([]unix.PollFd{{Fd: int32(program), Events: unix.POLLIN}}, -1); n > 0 || err != unix.EINTR {
			return 0
		}
	}
}

// rests is how long after the last connection memory that was used for it is given back.
const rests = 20 * time.Second

var giveBack = sync.OnceValue(func() *time.Timer { return time.AfterFunc(rests, debug.FreeOSMemory) })

// programOf waits for a descriptor of the program's process, and that of its connect(2), which is -1 where nobody waits.
func programOf() (program, connects int, err error) {
	oob := make([]byte, unix.CmsgSpace(8))
	_, n, _, _, err := unix.Recvmsg(besideSocket, make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, -1, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return -1, -1, errors.New("the program was not started")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	switch {
	case err != nil:
		return -1, -1, err
	case len(fds) == 1:
		return fds[0], -1, nil
	}
	return fds[0], fds[1], nil
}
