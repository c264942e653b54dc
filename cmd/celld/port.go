package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"
)

// waitPort is the ExecStartPost of a program that insists on a port: it runs inside of the program's sandbox and ends
// when the port accepts. systemd bounds it with the start's own time limit; MAINPID is the program (systemd.exec(5)).
func waitPort(port string) int {
	pid, err := strconv.Atoi(os.Getenv("MAINPID"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "celld wait-port: MAINPID is not set")
		return 2
	}
	for {
		c, err := net.DialTimeout("tcp", "127.0.0.1:"+port, time.Second)
		if err == nil {
			c.Close()
			return 0
		}
		// ESRCH alone means that it ended; another user's process answers EPERM.
		if syscall.Kill(pid, 0) == syscall.ESRCH {
			fmt.Fprintln(os.Stderr, "the program ended before it listened on port", port)
			return 1
		}
		time.Sleep(20 * time.Millisecond)
	}
}
