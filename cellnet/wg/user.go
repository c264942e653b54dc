package wg

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

// user is wireguard-go in this process: its tunnels end with the process.
type user struct {
	name string
	dev  *device.Device
}

func openUser(name string, private Key, port uint16) (Device, error) {
	t, err := tun.CreateTUN(name, MTU)
	if err != nil {
		return nil, fmt.Errorf("make the interface %s on /dev/net/tun: %w", name, err)
	}
	silent := &device.Logger{Verbosef: device.DiscardLogf, Errorf: device.DiscardLogf}
	d := &user{name, device.NewDevice(t, conn.NewDefaultBind(), silent)}
	err = d.SetKey(private)
	if err == nil {
		err = d.set(fmt.Sprintf("listen_port=%d\n", port))
	}
	if err == nil {
		err = d.dev.Up()
	}
	if err != nil {
		d.dev.Close()
		return nil, fmt.Errorf("open UDP port %d: %w", port, err)
	}
	return d, nil
}

func (d *user) Name() string { return d.name }
func (d *user) Kind() string { return "user space: " + errNoKernel.Error() }

// set speaks WireGuard's cross-platform configuration protocol.
func (d *user) set(text string) error { return d.dev.IpcSet(text) }

func (d *user) SetKey(private Key) error {
	if err := d.set("private_key=" + hex.EncodeToString(private[:]) + "\n"); err != nil {
		return fmt.Errorf("set the key of %s: %w", d.name, err)
	}
	return nil
}

func (d *user) Port() (uint16, error) {
	text, err := d.dev.IpcGet()
	if err != nil {
		return 0, fmt.Errorf("read the interface %s: %w", d.name, err)
	}
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "listen_port="); ok {
			n, err := strconv.ParseUint(v, 10, 16)
			return uint16(n), err
		}
	}
	return 0, nil
}

func (d *user) Set(peers ...Peer) error {
	has, err := d.Peers()
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, p := range peers {
		s, known := has[p.Key]
		if known && s.same(p) {
			continue
		}
		fmt.Fprintf(&b, "public_key=%x\n", p.Key[:])
		if p.Endpoint.IsValid() && s.Endpoint != p.Endpoint {
			fmt.Fprintf(&b, "endpoint=%v\n", p.Endpoint)
		}
		if s.Keepalive != p.Keepalive || !known {
			fmt.Fprintf(&b, "persistent_keepalive_interval=%d\n", int(p.Keepalive.Seconds()))
		}
		if !s.allows(p.Allowed) {
			b.WriteString("replace_allowed_ips=true\n")
			if p.Allowed.IsValid() {
				fmt.Fprintf(&b, "allowed_ip=%v\n", p.Allowed)
			}
		}
	}
	if b.Len() == 0 {
		return nil
	}
	if err := d.set(b.String()); err != nil {
		return fmt.Errorf("set peers of %s: %w", d.name, err)
	}
	return nil
}

func (d *user) Remove(keys ...Key) error {
	var b strings.Builder
	for _, k := range keys {
		fmt.Fprintf(&b, "public_key=%x\nremove=true\n", k[:])
	}
	if err := d.set(b.String()); err != nil {
		return fmt.Errorf("remove peers of %s: %w", d.name, err)
	}
	return nil
}

func (d *user) Peers() (map[Key]State, error) {
	text, err := d.dev.IpcGet()
	if err != nil {
		return nil, fmt.Errorf("read the interface %s: %w", d.name, err)
	}
	return parsePeers(text), nil
}

// parsePeers reads the peers of what the configuration protocol gives.
func parsePeers(text string) map[Key]State {
	all := map[Key]State{}
	var key Key
	var s State
	in := false
	done := func() {
		if in {
			all[key] = s
		}
	}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), "=")
		n, _ := strconv.ParseInt(value, 10, 64)
		switch name {
		case "public_key":
			done()
			b, err := hex.DecodeString(value)
			in, s = err == nil && len(b) == len(key), State{}
			copy(key[:], b)
		case "endpoint":
			if e, err := netip.ParseAddrPort(value); err == nil {
				s.Endpoint = unmapped(e)
			}
		case "last_handshake_time_sec":
			if n > 0 {
				s.Handshake = time.Unix(n, 0)
			}
		case "last_handshake_time_nsec": // comes after the seconds
			if !s.Handshake.IsZero() {
				s.Handshake = s.Handshake.Add(time.Duration(n))
			}
		case "rx_bytes":
			s.Received = n
		case "tx_bytes":
			s.Sent = n
		case "persistent_keepalive_interval":
			s.Keepalive = time.Duration(n) * time.Second
		case "allowed_ip":
			if p, err := netip.ParsePrefix(value); err == nil {
				s.Allowed = append(s.Allowed, p)
			}
		}
	}
	done()
	return all
}

func (d *user) Close() error {
	d.dev.Close()
	return nil
}
