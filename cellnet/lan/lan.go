// Package lan lets machines on one network find each other by multicast DNS (RFC 6762) and DNS-based service discovery (RFC 6763). What
// it tells is a hint: anybody may say anything there, and WireGuard proves who answers.
package lan

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/pion/mdns/v2"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/cell-network/cell/cellnet/identity"
)

// Service is the type of service under which machines are found: avahi-browse _cell._udp lists them.
const Service = "_cell._udp"

// every is how often others are asked for.
const every = 15 * time.Second

// Find makes this machine known under a name, and calls found for what others say, until ctx ends. Interfaces without an address and
// the one called except take no part. It returns when nothing can be heard or said, or with ctx.
func Find(ctx context.Context, name string, key identity.Key, port uint16, except string, found func(identity.Key, netip.AddrPort)) error {
	ifaces, err := interfaces(except)
	if err != nil {
		return err
	}
	if len(ifaces) == 0 {
		return errors.New("mDNS: no interface has an address")
	}
	var c4 *ipv4.PacketConn
	var c6 *ipv6.PacketConn
	l4, err4 := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(224, 0, 0, 0), Port: 5353})
	if err4 == nil {
		c4 = ipv4.NewPacketConn(l4)
		defer l4.Close()
	}
	l6, err6 := net.ListenUDP("udp6", &net.UDPAddr{IP: net.ParseIP("ff02::"), Port: 5353})
	if err6 == nil {
		c6 = ipv6.NewPacketConn(l6)
		defer l6.Close()
	}
	if c4 == nil && c6 == nil {
		return fmt.Errorf("mDNS: %w", errors.Join(err4, err6))
	}
	host := "cell-" + key.Short() + ".local"
	server, err := mdns.NewServer(c4, c6, mdns.WithInterfaces(ifaces...), mdns.WithLocalNames(host), mdns.WithQueryInterval(every), mdns.WithService(mdns.ServiceInstance{
		Instance: name + " (" + key.Short() + ")", Service: Service, Domain: "local", Host: host + ".", Port: port,
		Text: []mdns.TXTEntry{mdns.NewTXTString("key", base64.RawURLEncoding.EncodeToString(key[:]))},
	}))
	if err != nil {
		return fmt.Errorf("mDNS: %w", err)
	}
	defer server.Close()
	server.OnServiceDiscovered(func(e mdns.ServiceEvent) {
		if k, at, ok := read(e); ok && k != key {
			found(k, at)
		}
	})
	if err := server.Browse(ctx, Service); err != nil && ctx.Err() == nil {
		return fmt.Errorf("mDNS: %w", err)
	}
	<-ctx.Done()
	return nil
}

// read takes a machine from what was found.
func read(e mdns.ServiceEvent) (k identity.Key, at netip.AddrPort, ok bool) {
	for _, t := range e.Instance.Text {
		if t.Key != "key" || len(t.Value) > 64 {
			continue
		}
		b, err := base64.RawURLEncoding.Strict().DecodeString(string(t.Value))
		if err != nil || len(b) != len(k) {
			return k, at, false
		}
		copy(k[:], b)
		ok = true
	}
	at = netip.AddrPortFrom(e.Addr.Unmap().WithZone(""), e.Instance.Port)
	a := at.Addr()
	return k, at, ok && at.Port() != 0 && a.IsValid() && a.IsGlobalUnicast()
}

func interfaces(except string) (all []net.Interface, err error) {
	ifaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	for _, i := range ifaces {
		if i.Name == except || i.Flags&net.FlagUp == 0 || i.Flags&net.FlagMulticast == 0 || i.Flags&net.FlagLoopback != 0 {
			continue
		}
		if addrs, err := i.Addrs(); err == nil && len(addrs) > 0 {
			all = append(all, i)
		}
	}
	return all, nil
}
