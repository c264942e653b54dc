// Command legacy is an ordinary web server on an ordinary port.
package main

import (
	"fmt"
	"log"
	"net/http"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello from port 3000") })
	log.Fatal(http.ListenAndServe("127.0.0.1:3000", nil))
}
