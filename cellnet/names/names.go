// Package names answers for NAME.cell with the addresses of the cell, to programs of this machine. It serves what it is told and
// asks nobody: other names are refused, so that a resolver goes on to its next server.
package names

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// Domain is the one that cells are in.
const Domain = "cell."

// lifetime of an answer in seconds: cells move.
const lifetime = 2

// Serve answers on UDP and TCP until ctx ends. lookup is given a cell's name.
func Serve(ctx context.Context, at netip.AddrPort, lookup func(name string) []netip.Addr) error {
	packets, err := net.ListenPacket("udp6", at.String())
	if err != nil {
		return fmt.Errorf("serve names: %w", err)
	}
	streams, err := net.Listen("tcp6", at.String())
	if err != nil {
		packets.Close()
		return fmt.Errorf("serve names: %w", err)
	}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(answer(q, lookup)) })
	udp, tcp := &dns.Server{PacketConn: packets, Handler: handler}, &dns.Server{Listener: streams, Handler: handler}
	context.AfterFunc(ctx, func() {
		packets.Close()
		streams.Close()
	})
	go func() { _ = udp.ActivateAndServe() }()
	go func() { _ = tcp.ActivateAndServe() }()
	return nil
}

func answer(q *dns.Msg, lookup func(string) []netip.Addr) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	if len(q.Question) != 1 {
		m.Rcode = dns.RcodeFormatError
		return m
	}
	asked := q.Question[0]
	name, ours := strings.CutSuffix(strings.ToLower(asked.Name), "."+Domain)
	if !ours {
		m.Rcode = dns.RcodeRefused
		return m
	}
	m.Authoritative = true
	addrs := lookup(name)
	if len(addrs) == 0 {
		m.Rcode = dns.RcodeNameError
	}
	if asked.Qtype != dns.TypeAAAA && asked.Qtype != dns.TypeANY {
		return m
	}
	for _, a := range addrs {
		m.Answer = append(m.Answer, &dns.AAAA{
			Hdr: dns.RR_Header{Name: asked.Name, Rrtype: dns.TypeAAAA, Class: dns.ClassINET, Ttl: lifetime}, AAAA: a.AsSlice(),
		})
	}
	return m
}
