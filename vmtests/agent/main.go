// Command agent runs in a guest of the vmtests: it takes shell scripts from a virtio port and answers with what they wrote.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
)

type request struct {
	Script string
	User   string // who runs it; empty is root
}

type answer struct {
	Code   int
	Output string
}

func main() {
	port, err := os.OpenFile("/dev/virtio-ports/cell", os.O_RDWR, 0)
	if err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
	in, out := json.NewDecoder(port), json.NewEncoder(port)
	for {
		var r request
		if err := in.Decode(&r); err != nil {
			fmt.Fprintln(os.Stderr, "agent:", err)
			os.Exit(1) // systemd starts it again
		}
		if err := out.Encode(run(r)); err != nil {
			fmt.Fprintln(os.Stderr, "agent:", err)
			os.Exit(1)
		}
	}
}

func run(r request) answer {
	c := exec.Command("/bin/sh", "-c", r.Script)
	if r.User != "" {
		c = exec.Command("runuser", "-u", r.User, "--", "/bin/sh", "-c", r.Script)
	}
	c.Dir = "/"
	c.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"}
	if r.User != "" {
		c.Env[1] = "HOME=/home/" + r.User
	}
	text, err := c.CombinedOutput()
	a := answer{Output: string(text)}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		a.Code = exit.ExitCode()
	case err != nil:
		a.Code, a.Output = 127, err.Error()
	}
	return a
}
