package wg

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// kernel is an interface of the kernel. It outlives this process: tunnels go on while no daemon is there.
type kernel struct {
	name string
	ctl  *wgctrl.Client
}

func openKernel(name string, private Key, port uint16) (Device, error) {
	err := netlink.LinkAdd(&netlink.Wireguard{LinkAttrs: netlink.LinkAttrs{Name: name}})
	switch {
	case errors.Is(err, syscall.EEXIST):
		if l, err := netlink.LinkByName(name); err != nil || l.Type() != "wireguard" {
			return nil, fmt.Errorf("make the interface %s: another one has that name", name)
		}
	case errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENODEV):
		return nil, errNoKernel
	case err != nil:
		return nil, fmt.Errorf("make the interface %s: %w", name, err)
	}
	ctl, err := wgctrl.New()
	if err != nil {
		return nil, fmt.Errorf("control WireGuard: %w", err)
	}
	d := &kernel{name, ctl}
	if err := d.begin(private, port); err != nil {
		ctl.Close()
		return nil, err
	}
	return d, nil
}

func (d *kernel) begin(private Key, port uint16) error {
	dev, err := d.ctl.Device(d.name)
	if err != nil {
		return fmt.Errorf("read the interface %s: %w", d.name, err)
	}
	if err := d.SetKey(private); err != nil {
		return err
	}
	if port == 0 || dev.ListenPort == int(port) {
		return nil
	}
	n := int(port)
	if err := d.ctl.ConfigureDevice(d.name, wgtypes.Config{ListenPort: &n}); err != nil {
		return fmt.Errorf("open UDP port %d: %w", port, err)
	}
	return nil
}

func (d *kernel) Name() string { return d.name }
func (d *kernel) Kind() string { return "kernel" }

func (d *kernel) Port() (uint16, error) {
	dev, err := d.ctl.Device(d.name)
	if err != nil {
		return 0, fmt.Errorf("read the interface %s: %w", d.name, err)
	}
	return uint16(dev.ListenPort), nil
}

func (d *kernel) SetKey(private Key) error {
	dev, err := d.ctl.Device(d.name)
	if err == nil && Key(dev.PrivateKey) == private {
		return nil
	}
	k := wgtypes.Key(private)
	if err := d.ctl.ConfigureDevice(d.name, wgtypes.Config{PrivateKey: &k}); err != nil {
		return fmt.Errorf("set the key of %s: %w", d.name, err)
	}
	return nil
}

func (d *kernel) Set(peers ...Peer) error {
	has, err := d.Peers()
	if err != nil {
		return err
	}
	var change []wgtypes.PeerConfig
	for _, p := range peers {
		s, known := has[p.Key]
		if known && s.same(p) {
			continue
		}
		keepalive := p.Keepalive
		c := wgtypes.PeerConfig{PublicKey: wgtypes.Key(p.Key), PersistentKeepaliveInterval: &keepalive}
		if p.Endpoint.IsValid() && s.Endpoint != p.Endpoint {
			c.Endpoint = net.UDPAddrFromAddrPort(p.Endpoint)
		}
		if !s.allows(p.Allowed) {
			c.ReplaceAllowedIPs = true
			if p.Allowed.IsValid() {
				c.AllowedIPs = []net.IPNet{{IP: p.Allowed.Addr().AsSlice(), Mask: net.CIDRMask(p.Allowed.Bits(), 128)}}
			}
		}
		change = append(change, c)
	}
	if len(change) == 0 {
		return nil
	}
	if err := d.ctl.ConfigureDevice(d.name, wgtypes.Config{Peers: change}); err != nil {
		return fmt.Errorf("set peers of %s: %w", d.name, err)
	}
	return nil
}

func (d *kernel) Remove(keys ...Key) error {
	if len(keys) == 0 {
		return nil
	}
	var change []wgtypes.PeerConfig
	for _, k := range keys {
		change = append(change, wgtypes.PeerConfig{PublicKey: wgtypes.Key(k), Remove: true, UpdateOnly: true})
	}
	if err := d.ctl.ConfigureDevice(d.name, wgtypes.Config{Peers: change}); err != nil {
		return fmt.Errorf("remove peers of %s: %w", d.name, err)
	}
	return nil
}

func (d *kernel) Peers() (map[Key]State, error) {
	dev, err := d.ctl.Device(d.name)
	if err != nil {
		return nil, fmt.Errorf("read the interface %s: %w", d.name, err)
	}
	all := make(map[Key]State, len(dev.Peers))
	for _, p := range dev.Peers {
		s := State{Handshake: p.LastHandshakeTime, Received: p.ReceiveBytes, Sent: p.TransmitBytes, Keepalive: p.PersistentKeepaliveInterval}
		if s.Handshake.Unix() <= 0 {
			s.Handshake = time.Time{}
		}
		if p.Endpoint != nil {
			s.Endpoint = unmapped(p.Endpoint.AddrPort())
		}
		for _, n := range p.AllowedIPs {
			if a, ok := netip.AddrFromSlice(n.IP); ok {
				bits, _ := n.Mask.Size()
				s.Allowed = append(s.Allowed, netip.PrefixFrom(a, bits))
			}
		}
		all[Key(p.PublicKey)] = s
	}
	return all, nil
}

// Close removes the interface.
func (d *kernel) Close() error {
	defer d.ctl.Close()
	return Delete(d.name)
}

// Delete removes an interface that a process may have left; that it is not there is no error.
func Delete(name string) error {
	l, err := netlink.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(l)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ENODEV) {
		return fmt.Errorf("remove the interface %s: %w", name, err)
	}
	return nil
}

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
