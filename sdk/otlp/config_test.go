package otlp

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cell-network/cell/sdk/wire"
)

// settings is an environment.
type settings map[string]string

func (s settings) get(name string) string { return s[name] }

func TestConfigure(t *testing.T) {
	const all, traces = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	for _, test := range []struct {
		name string
		env  settings
		want string // service, URL and timeout; off; or a part of the error
	}{
		{"nothing", settings{}, "off"},
		{"no endpoint", settings{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_TRACES_SAMPLER": "nonsense"}, "off"},
		{"disabled", settings{all: "cell:collector", "OTEL_SDK_DISABLED": "TRUE"}, "off"},
		{"no exporter", settings{all: "cell:collector", "OTEL_TRACES_EXPORTER": "none"}, "off"},

		{"URL", settings{all: "http://a:4318", "CELL_NAME": "shop.work:2"}, "shop.work http://a:4318/v1/traces 10s"},
		{"URL with a path", settings{all: "https://a/otel/", "OTEL_SERVICE_NAME": "s"}, "s https://a/otel/v1/traces 10s"},
		{"URL of traces is taken as it is", settings{all: "http://b", traces: "http://a:1/here", "OTEL_SERVICE_NAME": "s"}, "s http://a:1/here 10s"},
		{"cell", settings{all: "cell:shop.collector", "OTEL_SERVICE_NAME": "s"}, "s http://shop.collector/v1/traces 10s"},
		{"socket", settings{traces: "unix:///run/otel.sock", "OTEL_SERVICE_NAME": "s"}, "s http://localhost/v1/traces 10s"},
		{"timeout", settings{all: "http://a", "OTEL_EXPORTER_OTLP_TIMEOUT": "250", "OTEL_SERVICE_NAME": "s"}, "s http://a/v1/traces 250ms"},
		{"timeout of traces", settings{all: "http://a", "OTEL_EXPORTER_OTLP_TIMEOUT": "1", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "2", "OTEL_SERVICE_NAME": "s"}, "s http://a/v1/traces 2ms"},
		{"protocol", settings{all: "http://a", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_SERVICE_NAME": "s"}, "s http://a/v1/traces 10s"},
		{"no cell", settings{all: "http://a"}, "unknown_service:otlp.test http://a/v1/traces 10s"},

		{"other exporter", settings{all: "http://a", "OTEL_TRACES_EXPORTER": "zipkin"}, `OTEL_TRACES_EXPORTER: "zipkin" is not supported; hint: otlp and none are`},
		{"gRPC", settings{all: "http://a", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, `OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" is not supported; hint: http/protobuf is`},
		{"JSON for traces", settings{all: "http://a", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"}, `OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: "http/json" is not`},
		{"no URL", settings{traces: "collector:4318"}, `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "collector:4318" is no endpoint; hint: cell:NAME`},
		{"no host", settings{all: "http:///v1"}, "is no endpoint"},
		{"relative socket", settings{all: "unix:otel.sock"}, "is no endpoint"},
		{"bad name", settings{all: "cell:a/b"}, `"a/b" is no cell's name`},
		{"no name", settings{all: "cell:"}, `"" is no cell's name`},
		{"time", settings{all: "http://a", "OTEL_EXPORTER_OTLP_TIMEOUT": "5s"}, `OTEL_EXPORTER_OTLP_TIMEOUT: "5s" is no number of milliseconds`},
		{"no time", settings{all: "http://a", "OTEL_EXPORTER_OTLP_TIMEOUT": "0"}, `is no number of milliseconds`},
		{"sampler", settings{all: "http://a", "OTEL_TRACES_SAMPLER": "jaeger_remote"}, `OTEL_TRACES_SAMPLER: "jaeger_remote" is not supported; hint: always_on`},
		{"ratio", settings{all: "http://a", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "1.5"}, `OTEL_TRACES_SAMPLER_ARG: "1.5" is no ratio`},
		{"NaN", settings{all: "http://a", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "NaN"}, `is no ratio`},
		{"credential that is not there", settings{all: "http://a", "OTEL_EXPORTER_OTLP_HEADERS_FILE": "key"}, "OTEL_EXPORTER_OTLP_HEADERS_FILE: no credential key was handed over; hint: a file has a slash in its name, as in ./key"},
		{"file that is not there", settings{all: "http://a", "OTEL_EXPORTER_OTLP_HEADERS_FILE": "/nowhere/key"}, "OTEL_EXPORTER_OTLP_HEADERS_FILE: open /nowhere/key: no such file"},
	} {
		c, err := configure(test.env.get)
		got := "off"
		if c != nil {
			got = fmt.Sprint(c.service, " ", c.url, " ", c.timeout)
		}
		switch {
		case err != nil && (c != nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %v, want %s", test.name, err, test.want)
		case err == nil && got != test.want:
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

// Neither errors nor the log have what may be secret.
func TestSecretsAreNotInTheEnvironment(t *testing.T) {
	for _, env := range []settings{
		{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_EXPORTER_OTLP_HEADERS": "authorization=hunter2"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "authorization=hunter2"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://me:hunter2@a"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://me:hunter2@a:b:c%zz"},
	} {
		if c, err := configure(env.get); c != nil || err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v: %v", env, err)
		}
	}
}

func TestHeadersFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "key")
	write := func(text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
	}
	write("Authorization: Bearer a:b\n\nx-team:  red \r\nx-team: blue", 0o400)
	for _, env := range []settings{
		{"OTEL_EXPORTER_OTLP_HEADERS_FILE": file},
		{"OTEL_EXPORTER_OTLP_HEADERS_FILE": "key", "CREDENTIALS_DIRECTORY": dir},
		{"OTEL_EXPORTER_OTLP_HEADERS_FILE": "/nowhere/else", "OTEL_EXPORTER_OTLP_TRACES_HEADERS_FILE": file},
	} {
		env["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://a"
		c, err := configure(env.get)
		if err != nil {
			t.Errorf("%v: %v", env, err)
			continue
		}
		if c.headers.Get("Authorization") != "Bearer a:b" || strings.Join(c.headers.Values("X-Team"), "+") != "red+blue" {
			t.Errorf("%v: %v", env, c.headers)
		}
	}
	for text, want := range map[string]string{
		"hunter2":                            "line 1 is no header; hint: it is written as NAME: VALUE",
		"A: b\n: hunter2":                    "line 2 is no header",
		"A b: hunter2":                       "line 1 is no header",
		"Ä: hunter2":                         "line 1 is no header",
		"A: hunter2\x00":                     "line 1 is no header",
		strings.Repeat("A: hunter2\n", 2000): "longer than 16384 bytes",
	} {
		write(text, 0o600)
		if _, err := readHeaders(file, ""); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	write("A: b", 0o604)
	if _, err := readHeaders(file, ""); err == nil || !strings.Contains(err.Error(), "everybody may use it; hint: chmod 600 "+file) {
		t.Error(err)
	}
}

func FuzzHeaders(f *testing.F) {
	f.Add([]byte("Authorization: Bearer a\nB:\n\n"))
	f.Add([]byte(":"))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := parseHeaders(data)
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := h.Write(&b); err != nil { // HTTP's own writer, which replaces newlines
			t.Fatal(err)
		}
		n := 0
		for _, values := range h {
			n += len(values)
		}
		if got := bytes.Count(b.Bytes(), []byte("\r\n")); got != n {
			t.Errorf("%q: %d headers were written as %d", data, n, got)
		}
	})
}

// A socket's endpoint is reached through the socket, whatever proxy there is.
func TestSocketEndpoint(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, dial, err := parseEndpoint("unix://"+path, true)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	nc, err := dial(ctx, "tcp", "localhost:80")
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
}

func TestSampler(t *testing.T) {
	var (
		recorded, not = wire.Span{ID: [8]byte{1}, Flags: wire.Sampled}, wire.Span{ID: [8]byte{1}}
		low, high     = [16]byte{0xff, 8: 0x10}, [16]byte{8: 0xf0} // by the lower half, as everywhere in OpenTelemetry
	)
	for _, test := range []struct {
		name, arg string
		want      string // of the first of a trace, low and high; within a recorded span, and one that is not
	}{
		{"", "", "++ +-"},
		{"always_on", "", "++ ++"},
		{"always_off", "", "-- --"},
		{"parentbased_always_on", "", "++ +-"},
		{"parentbased_always_off", "", "-- +-"},
		{"traceidratio", "", "++ ++"},
		{"traceidratio", "0", "-- --"},
		{"traceidratio", "0.5", "+- --"},
		{"traceidratio", "1", "++ ++"},
		{"parentbased_traceidratio", "0.5", "+- +-"},
		{"parentbased_traceidratio", "0.05", "-- +-"},
	} {
		s, err := parseSampler(test.name, test.arg)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for i, is := range []bool{s.Sampled(low, wire.Span{}), s.Sampled(high, wire.Span{}), s.Sampled(high, recorded), s.Sampled(high, not)} {
			if i == 2 {
				got += " "
			}
			got += map[bool]string{true: "+", false: "-"}[is]
		}
		if got != test.want {
			t.Errorf("%s %s: %s, want %s", test.name, test.arg, got, test.want)
		}
	}
}
