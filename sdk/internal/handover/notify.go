package handover

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

// notifier tells systemd about the state of the process. The zero notifier tells nobody.
type notifier struct {
	addr     string        // path, or @ and an abstract name
	watchdog time.Duration // 0 for none
}

// takeNotifier reads and removes the variables that systemd sets for it.
func takeNotifier() notifier {
	n := notifier{addr: os.Getenv("NOTIFY_SOCKET")}
	micros, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	pid := os.Getenv("WATCHDOG_PID")
	if err == nil && micros > 0 && micros < int64(1<<62)/1000 && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		n.watchdog = time.Duration(micros) * time.Microsecond
	}
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		os.Unsetenv(name)
	}
	if n.addr == "" || n.addr[0] != '/' && n.addr[0] != '@' {
		return notifier{}
	}
	return n
}

// send sends lines of assignments, such as READY=1.
func (n notifier) send(state string) error {
	if n.addr == "" {
		return nil
	}
	c, err := net.Dial("unixgram", n.addr) // a leading @ stands for an abstract name here too
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(state)); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return nil
}

// watch tells systemd that the process is well, twice within the time that it allows, as long as check returns.
func (n notifier) watch(check func()) {
	if n.watchdog == 0 {
		return
	}
	for range time.Tick(max(n.watchdog/2, time.Millisecond)) {
		check()
		n.send("WATCHDOG=1")
	}
}
