// Command asker is the cell of a test: it says who it is to everybody who connects and then, for each line "TARGET", what
// celld answers when it asks for TARGET. Outside of a cell the words of its command line are the targets.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/cell-network/cell/sdk/broker"
)

func main() {
	for _, target := range os.Args[1:] {
		fmt.Println(ask(target))
	}
	if len(os.Args) > 1 {
		return
	}
	l, err := net.FileListener(os.NewFile(3, "socket"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			os.Exit(1)
		}
		go serve(c)
	}
}

func serve(c net.Conn) {
	defer c.Close()
	fmt.Fprintln(c, os.Getenv("CELL_NAME"))
	for in := bufio.NewScanner(c); in.Scan(); {
		switch in.Text() {
		case "network":
			all, _ := net.Interfaces()
			fmt.Fprintln(c, len(all))
		case "socket":
			fmt.Fprintln(c, broker.Paths())
		default:
			fmt.Fprintln(c, ask(in.Text()))
		}
	}
}

// ask is "ok INSTANCE GREETING" or "CODE: MESSAGE".
func ask(target string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, grant, err := broker.Connect(ctx, target, "")
	if e, ok := errors.AsType[*broker.Error](err); ok {
		return fmt.Sprintf("%v: %s", e.Code, e.Message)
	}
	if err != nil {
		return "error: " + err.Error()
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	greeting, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return "no greeting: " + err.Error()
	}
	return "ok " + grant.Instance + " " + greeting[:len(greeting)-1]
}
