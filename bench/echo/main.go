// Command echo is the program that is measured: it says that it is ready, answers each connection with one byte, and
// stays. It knows nothing of Cell, so every rival can run it.
package main

import (
	"net"
	"os"
	"time"
)

func main() {
	if path := os.Getenv("NOTIFY_SOCKET"); path != "" {
		if c, err := net.Dial("unixgram", path); err == nil {
			_, _ = c.Write([]byte("READY=1"))
			c.Close()
		}
	}
	if len(os.Args) > 1 && os.Args[1] == "once" {
		return
	}
	l, err := net.FileListener(os.NewFile(3, "socket"))
	if err != nil {
		time.Sleep(time.Hour) // started without a socket: only its start is measured
		return
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = c.Write([]byte("!"))
		c.Close()
	}
}
