package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cell-network/cell/internal/httpdoor"
)

// A door that is replaced lets connections without a request go first, and answers those with one.
func TestKeepAlive(t *testing.T) {
	entered, gate := make(chan bool), make(chan bool)
	config := httpdoor.Config{Files: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			entered <- true
			<-gate
		}
		fmt.Fprintln(w, "done")
	})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, config, []net.Listener{l}, time.Minute) }()
	ask := func(path string) (net.Conn, *bufio.Reader) {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path)
		return c, bufio.NewReader(c)
	}
	answer := func(in *bufio.Reader) *http.Response {
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) != "done\n" {
			t.Fatalf("%q, %v", body, err)
		}
		return r
	}
	_, idle := ask("/")
	if answer(idle).Close {
		t.Error("a connection is not kept alive")
	}
	_, busy := ask("/slow")
	<-entered
	stop()
	if _, err := idle.ReadByte(); err != io.EOF {
		t.Errorf("the idle connection: %v", err)
	}
	close(gate)
	if !answer(busy).Close {
		t.Error("the client is not told that the connection ends")
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestParse(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	token, short := write("token", "a-long-enough-token\n"), write("short", "x")
	c, err := parse([]string{"--token-file", token, "--host", "App.example", "--origin", "https://a.example", "--origin", "https://b.example", "--files", dir}, os.Stderr)
	if err != nil || c.Token != "a-long-enough-token" || len(c.Hosts) != 1 || c.Hosts[0] != "app.example" || len(c.Origins) != 2 || c.Files == nil {
		t.Errorf("%+v %v", c, err)
	}
	if c, err := parse([]string{"--anyone"}, os.Stderr); err != nil || c.Token != "" || c.Files != nil {
		t.Errorf("%+v %v", c, err)
	}
	for _, bad := range []struct{ args, want string }{
		{"", "who may call?"},
		{"--anyone --token-file " + token, "who may call?"},
		{"--token-file " + short, "can be guessed"},
		{"--token-file " + dir + "/none", "no such file"},
		{"--anyone --files " + dir + "/none", "no such file"},
		{"--anyone --max-body 0", "is not a size"},
		{"--anyone more", `"more"`},
		{"--nonsense", "not defined"},
	} {
		var out bytes.Buffer
		if _, err := parse(strings.Fields(bad.args), &out); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%s: %v, want %s", bad.args, err, bad.want)
		}
	}
}
