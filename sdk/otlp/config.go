package otlp

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cell-network/cell/sdk/broker"
)

const (
	tracesPath     = "/v1/traces"
	defaultTimeout = 10 * time.Second
	maxHeaders     = 16 << 10 // bytes of the file
)

// config is what the environment says.
type config struct {
	endpoint string // as it was written, for the log
	url      string
	dial     func(ctx context.Context, network, address string) (net.Conn, error) // nil: over the network
	headers  http.Header
	timeout  time.Duration // of one delivery
	sampler
	service, instance string
}

// configure reads the variables; without an endpoint, or when they say so, there is no config.
func configure(env func(string) string) (*config, error) {
	const prefix = "OTEL_EXPORTER_OTLP_"
	// A variable for traces alone comes before that for all signals.
	variable := func(name string) (value, from string) {
		for _, from = range []string{prefix + "TRACES_" + name, prefix + name} {
			if value = env(from); value != "" {
				break
			}
		}
		return value, from
	}
	endpoint, from := variable("ENDPOINT")
	if endpoint == "" || strings.EqualFold(env("OTEL_SDK_DISABLED"), "true") {
		return nil, nil
	}
	switch exporter := env("OTEL_TRACES_EXPORTER"); exporter {
	case "", "otlp":
	case "none":
		return nil, nil
	default:
		return nil, fmt.Errorf("OTEL_TRACES_EXPORTER: %q is not supported; hint: otlp and none are", exporter)
	}
	if protocol, from := variable("PROTOCOL"); protocol != "" && protocol != "http/protobuf" {
		return nil, fmt.Errorf("%s: %q is not supported; hint: http/protobuf is, which collectors take on port 4318", from, protocol)
	}
	if value, from := variable("HEADERS"); value != "" { // which is in cell.toml, and everybody's who may look at the process
		return nil, fmt.Errorf("%s: an environment is no place for secrets; hint: name a file in %sHEADERS_FILE, with lines such as Authorization: Bearer …", from, prefix)
	}
	c := &config{endpoint: endpoint, timeout: defaultTimeout, instance: env("CELL_NAME")}
	var err error
	if c.url, c.dial, err = parseEndpoint(endpoint, from == prefix+"ENDPOINT"); err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	if value, from := variable("TIMEOUT"); value != "" {
		ms, err := strconv.ParseUint(value, 10, 31)
		if err != nil || ms == 0 {
			return nil, fmt.Errorf("%s: %q is no number of milliseconds", from, value)
		}
		c.timeout = time.Duration(ms) * time.Millisecond
	}
	if name, from := variable("HEADERS_FILE"); name != "" {
		if c.headers, err = readHeaders(name, env("CREDENTIALS_DIRECTORY")); err != nil {
			return nil, fmt.Errorf("%s: %w", from, err)
		}
	}
	if c.sampler, err = parseSampler(env("OTEL_TRACES_SAMPLER"), env("OTEL_TRACES_SAMPLER_ARG")); err != nil {
		return nil, err
	}
	cell, _, _ := strings.Cut(c.instance, ":")
	c.service = cmp.Or(env("OTEL_SERVICE_NAME"), cell, "unknown_service:"+filepath.Base(os.Args[0]))
	return c, nil
}

// parseEndpoint says where to send to. To a URL for all signals the path of traces is added, as the specification wants it.
func parseEndpoint(text string, all bool) (to string, dial func(context.Context, string, string) (net.Conn, error), err error) {
	if name, ok := strings.CutPrefix(text, "cell:"); ok {
		if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" {
			return "", nil, fmt.Errorf("%q is no cell's name", name)
		}
		return "http://" + name + tracesPath, func(ctx context.Context, _, _ string) (net.Conn, error) {
			nc, _, err := broker.Connect(ctx, name, "")
			if err != nil {
				return nil, err // not nc, which as an interface were not nil
			}
			return nc, nil
		}, nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "", nil, errors.New("it is no URL") // whose text may have a password
	case u.User != nil:
		return "", nil, fmt.Errorf("%s has a user, and an environment is no place for secrets; hint: send an Authorization header from a file", u.Redacted())
	case u.Scheme == "unix" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
		return "http://localhost" + tracesPath, func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", u.Path)
		}, nil
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "":
		if all {
			u = u.JoinPath(tracesPath)
		}
		return u.String(), nil, nil
	}
	return "", nil, fmt.Errorf("%q is no endpoint; hint: cell:NAME for a cell that speaks http, unix:///PATH, or a URL such as http://localhost:4318", text)
}

// readHeaders reads the headers to send along. A name without a slash is that of a systemd credential.
func readHeaders(name, credentials string) (http.Header, error) {
	if !strings.Contains(name, "/") {
		if credentials == "" {
			return nil, fmt.Errorf("no credential %s was handed over; hint: a file has a slash in its name, as in ./%s", name, name)
		}
		name = filepath.Join(credentials, name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("%s: everybody may use it; hint: chmod 600 %s", name, name)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxHeaders+1))
	if err != nil {
		return nil, err
	}
	h, err := parseHeaders(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return h, nil
}

// parseHeaders reads a header a line, as HTTP writes them. Its errors have no value, which may be a secret.
func parseHeaders(data []byte) (http.Header, error) {
	if len(data) > maxHeaders {
		return nil, fmt.Errorf("longer than %d bytes", maxHeaders)
	}
	h, n := http.Header{}, 0
	for line := range bytes.Lines(data) {
		n++
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		name, value, found := strings.Cut(string(line), ":")
		value = strings.TrimSpace(value)
		if !found || name == "" || strings.ContainsFunc(name, func(r rune) bool { return !isTokenRune(r) }) ||
			strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return nil, fmt.Errorf("line %d is no header; hint: it is written as NAME: VALUE", n)
		}
		h.Add(name, value)
	}
	return h, nil
}

// isTokenRune tells what RFC 9110 allows in the name of a header.
func isTokenRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r < 0x80 && strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}
