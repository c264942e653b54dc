// Command misfit is a server for tests of what goes wrong. Its first argument says how it behaves; it serves HTTP on the
// socket that systemd hands over, or on PORT, and answers with its version and process.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

var version = "1"

func main() {
	mode := ""
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	switch mode {
	case "fail":
		fmt.Fprintln(os.Stderr, "misfit: cannot open the ledger")
		os.Exit(3)
	case "leave":
		return
	case "fork":
		// A daemon of the old kind: the child goes on, the parent leaves.
		c := exec.Command(os.Args[0], "serve")
		c.ExtraFiles = []*os.File{os.NewFile(3, "socket")}
		if err := c.Start(); err != nil {
			panic(err)
		}
		return
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
	case "silent":
		select {} // with Type=notify it never becomes ready
	}
	var l net.Listener
	var err error
	if port := os.Getenv("PORT"); port != "" {
		l, err = net.Listen("tcp", "127.0.0.1:"+port)
	} else {
		l, err = net.FileListener(os.NewFile(3, "socket"))
	}
	if err != nil {
		panic(err)
	}
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "misfit %s %s pid %d\n", version, mode, os.Getpid())
	})
	http.HandleFunc("/die", func(http.ResponseWriter, *http.Request) { os.Exit(9) })
	http.HandleFunc("/env", func(w http.ResponseWriter, _ *http.Request) {
		for _, e := range os.Environ() {
			fmt.Fprintln(w, e)
		}
	})
	http.HandleFunc("/read", func(w http.ResponseWriter, r *http.Request) {
		data, err := os.ReadFile(r.FormValue("path"))
		fmt.Fprintln(w, len(data), err)
	})
	http.HandleFunc("/write", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, os.WriteFile(r.FormValue("path"), []byte("x"), 0o644))
	})
	http.HandleFunc("/eat", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.FormValue("mb"))
		b := make([]byte, n<<20)
		for i := range b {
			b[i] = 1
		}
		fmt.Fprintln(w, len(b))
	})
	http.HandleFunc("/fork", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.FormValue("n"))
		// A shell forks: this program itself would end where it cannot start a thread.
		out, err := os.CreateTemp("", "fork")
		if err != nil {
			fmt.Fprintln(w, err)
			return
		}
		c := exec.Command("/bin/sh", "-c", "for i in $(seq "+strconv.Itoa(n)+"); do sleep 30 & done; echo started all")
		c.Stdout, c.Stderr, c.SysProcAttr = out, out, &syscall.SysProcAttr{Setpgid: true}
		if err := c.Start(); err == nil {
			_ = c.Wait()
			_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		}
		text, _ := os.ReadFile(out.Name())
		w.Write(text)
	})
	http.HandleFunc("/fill", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.FormValue("mb"))
		fmt.Fprintln(w, os.WriteFile(r.FormValue("path"), make([]byte, n<<20), 0o644))
	})
	http.HandleFunc("/spin", func(w http.ResponseWriter, r *http.Request) {
		d, _ := time.ParseDuration(r.FormValue("for"))
		for end := time.Now().Add(d); time.Now().Before(end); {
		}
		fmt.Fprintln(w, "spun")
	})
	http.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		d, _ := time.ParseDuration(r.FormValue("for"))
		time.Sleep(d)
		fmt.Fprintln(w, "slow", version)
	})
	srv := &http.Server{}
	term := make(chan os.Signal, 1)
	if mode != "deaf" {
		signal.Notify(term, syscall.SIGTERM)
	}
	done := make(chan struct{})
	go func() {
		<-term
		_ = srv.Shutdown(context.Background())
		close(done)
	}()
	if err := srv.Serve(l); err != http.ErrServerClosed {
		panic(err)
	}
	<-done
}
