package record

import (
	"errors"
	"fmt"
	"net/netip"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cell-network/cell/cellnet/identity"
)

// WireGuardKey is a public key of WireGuard.
type WireGuardKey [32]byte

// Role says what a machine may do.
type Role uint8

// The roles.
const (
	RoleMember Role = 1 + iota // the same owner's: it may take machines in, evict them, run and call
	RoleGuest                  // it may call what [auth] of a cell allows it
	RoleDonor                  // it lends itself and calls nothing
)

// String is the role as people write it.
func (r Role) String() string {
	names := [...]string{"", "member", "guest", "donor"}
	if int(r) < len(names) {
		return names[r]
	}
	return "unknown"
}

// ParseRole reads what String wrote.
func ParseRole(s string) (Role, error) {
	for _, r := range []Role{RoleMember, RoleGuest, RoleDonor} {
		if r.String() == s {
			return r, nil
		}
	}
	return 0, fmt.Errorf("%q is not a role: member, guest or donor", s)
}

// FoundingBody is that of the record that founds a tissue.
type FoundingBody struct {
	Name  string
	Nonce []byte // makes the ids of two tissues of one name and machine differ
}

// Append appends the message.
func (m FoundingBody) Append(b []byte) []byte {
	return appendBytes(appendText(b, 1, m.Name), 2, m.Nonce)
}

// ParseFounding reads the body of a founding record.
func ParseFounding(b []byte) (m FoundingBody, err error) {
	err = Fields(b, func(n protowire.Number, _ uint64, b []byte) (err error) {
		switch n {
		case 1:
			m.Name, err = text(b, 63)
		case 2:
			m.Nonce = b
		}
		return err
	})
	if err == nil {
		err = identity.CheckName(m.Name)
	}
	return m, err
}

// MemberBody is that of a certificate of membership.
type MemberBody struct {
	Name string // of the machine
	Role Role
}

// Append appends the message.
func (m MemberBody) Append(b []byte) []byte {
	return appendUint(appendText(b, 1, m.Name), 2, uint64(m.Role))
}

// ParseMember reads the body of a certificate.
func ParseMember(b []byte) (m MemberBody, err error) {
	err = Fields(b, func(n protowire.Number, v uint64, b []byte) (err error) {
		switch n {
		case 1:
			m.Name, err = text(b, 63)
		case 2:
			m.Role = Role(min(v, 255))
		}
		return err
	})
	switch {
	case err != nil:
	case m.Role == 0 || m.Role > RoleDonor:
		err = errors.New("the role is not known")
	default:
		err = identity.CheckName(m.Name)
	}
	return m, err
}

// InviteBody is that of an invite.
type InviteBody struct {
	Role Role // that whoever comes with it gets
	Uses uint32
}

// Append appends the message.
func (m InviteBody) Append(b []byte) []byte {
	return appendUint(appendUint(b, 1, uint64(m.Role)), 2, uint64(m.Uses))
}

// ParseInvite reads the body of an invite.
func ParseInvite(b []byte) (m InviteBody, err error) {
	err = Fields(b, func(n protowire.Number, v uint64, _ []byte) error {
		switch n {
		case 1:
			m.Role = Role(min(v, 255))
		case 2:
			m.Uses = uint32(min(v, 1<<32-1))
		}
		return nil
	})
	if err == nil && (m.Role == 0 || m.Role > RoleDonor || m.Uses == 0) {
		err = errors.New("it has no role or no uses")
	}
	return m, err
}

// RevocationBody is that of a revocation.
type RevocationBody struct {
	// Keeps are marks of the records that the revoked key signed and that stay good: those that were known when it was revoked.
	Keeps  []uint64
	Reason string
}

const maxKeeps = 400

// Append appends the message.
func (m RevocationBody) Append(b []byte) []byte {
	var keeps []byte
	for _, k := range m.Keeps[:min(len(m.Keeps), maxKeeps)] {
		keeps = protowire.AppendFixed64(keeps, k)
	}
	return appendText(appendBytes(b, 1, keeps), 2, m.Reason)
}

// ParseRevocation reads the body of a revocation.
func ParseRevocation(b []byte) (m RevocationBody, err error) {
	err = Fields(b, func(n protowire.Number, _ uint64, b []byte) (err error) {
		switch n {
		case 1:
			for len(b) > 0 {
				k, size := protowire.ConsumeFixed64(b)
				if size < 0 {
					return protowire.ParseError(size)
				}
				m.Keeps, b = append(m.Keeps, k), b[size:]
			}
		case 2:
			m.Reason, err = text(b, 256)
		}
		return err
	})
	return m, err
}

// NodeBody are facts of a machine.
type NodeBody struct {
	WireGuard WireGuardKey
	Endpoints []netip.AddrPort // where it may be reached, as it sees itself; hints
	Version   string           // of its software
	Boot      []byte           // differs for each start of the daemon
	Cores     uint32
	Memory    uint64         // bytes
	Storage   uint64         // bytes
	Uptime    uint64         // seconds
	Port      uint16         // UDP, of WireGuard
	NAT       bool           // others see it at endpoints that are none of its own
	Helpers   []identity.Key // machines to which it keeps a path; they pass on that it is wanted
	Users     []User         // whose programs have addresses of their own
	Next      WireGuardKey   // that the machine will turn to; zero for none
	MFlops    uint64         // an estimate of what all cores do at most, in millions of operations on float64 a second
}

// User is one of a machine.
type User struct {
	Number uint16 // of the address
	Name   string
}

// MaxUsers is how many users a machine may name, MaxUser how long a name of one may be.
const MaxUsers, MaxUser = 48, 32

// maxHelpers is how many helpers a machine may name.
const maxHelpers = 4

// maxEndpoints is how many endpoints a machine may claim.
const maxEndpoints = 8

// Append appends the message.
func (m NodeBody) Append(b []byte) []byte {
	b = appendBytes(b, 1, m.WireGuard[:])
	for _, e := range m.Endpoints[:min(len(m.Endpoints), maxEndpoints)] {
		b = appendBytes(b, 2, appendEndpoint(e))
	}
	b = appendText(b, 3, m.Version)
	b = appendBytes(b, 4, m.Boot)
	b = appendUint(b, 5, uint64(m.Cores))
	b = appendUint(b, 6, m.Memory)
	b = appendUint(b, 7, m.Storage)
	b = appendUint(b, 8, m.Uptime)
	b = appendUint(b, 9, uint64(m.Port))
	if m.NAT {
		b = appendUint(b, 10, 1)
	}
	for _, h := range m.Helpers[:min(len(m.Helpers), maxHelpers)] {
		b = appendBytes(b, 11, h[:])
	}
	b = appendUint(b, 14, m.MFlops)
	if m.Next != (WireGuardKey{}) {
		b = appendBytes(b, 13, m.Next[:])
	}
	for _, u := range m.Users[:min(len(m.Users), MaxUsers)] {
		b = appendBytes(b, 12, appendText(appendUint(nil, 1, uint64(u.Number)), 2, u.Name))
	}
	return b
}

// ParseNode reads the facts of a machine.
func ParseNode(b []byte) (m NodeBody, err error) {
	err = Fields(b, func(n protowire.Number, v uint64, b []byte) (err error) {
		switch n {
		case 1:
			err = fixed(m.WireGuard[:], b)
		case 2:
			var e netip.AddrPort
			if e, err = ParseEndpoint(b); err == nil && len(m.Endpoints) < maxEndpoints {
				m.Endpoints = append(m.Endpoints, e)
			}
		case 3:
			m.Version, err = text(b, 64)
		case 4:
			m.Boot = b
		case 5:
			m.Cores = uint32(min(v, 1<<20))
		case 6:
			m.Memory = min(v, 1<<50)
		case 7:
			m.Storage = min(v, 1<<60)
		case 8:
			m.Uptime = min(v, 1<<40)
		case 9:
			m.Port = uint16(min(v, 1<<16-1))
		case 10:
			m.NAT = v != 0
		case 11:
			var k identity.Key
			if err = fixed(k[:], b); err == nil && len(m.Helpers) < maxHelpers {
				m.Helpers = append(m.Helpers, k)
			}
		case 14:
			m.MFlops = min(v, 1<<50)
		case 13:
			err = fixed(m.Next[:], b)
		case 12:
			var u User
			if u, err = parseUser(b); err == nil && len(m.Users) < MaxUsers {
				m.Users = append(m.Users, u)
			}
		}
		return err
	})
	switch {
	case err != nil:
	case m.WireGuard == WireGuardKey{}:
		err = errors.New("it has no key of WireGuard")
	case len(m.Boot) > 32:
		err = errors.New("its boot has more than 32 bytes")
	}
	return m, err
}

func parseUser(b []byte) (u User, err error) {
	err = Fields(b, func(n protowire.Number, v uint64, b []byte) (err error) {
		switch n {
		case 1:
			u.Number = uint16(min(v, 1<<16-1))
		case 2:
			u.Name, err = text(b, MaxUser)
		}
		return err
	})
	if err == nil && (u.Name == "" || u.Number < identity.FirstUser) {
		err = errors.New("a user without name or number")
	}
	return u, err
}

// AppendEndpoint is the message of an endpoint.
func AppendEndpoint(e netip.AddrPort) []byte { return appendEndpoint(e) }

func appendEndpoint(e netip.AddrPort) []byte {
	b, _ := e.MarshalBinary() // never fails
	return b
}

// ParseEndpoint reads an endpoint, and refuses what no machine can be reached at.
func ParseEndpoint(b []byte) (e netip.AddrPort, err error) {
	if err := e.UnmarshalBinary(b); err != nil {
		return e, err
	}
	e = netip.AddrPortFrom(e.Addr().Unmap(), e.Port())
	a := e.Addr()
	if !a.IsValid() || e.Port() == 0 || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a.Zone() != "" || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return e, fmt.Errorf("%v is no endpoint", e)
	}
	return e, nil
}

// Cell is one of the cells of a machine.
type Cell struct {
	Number    uint16 // among the addresses of its machine
	Name      string // in full
	Instances uint32
	Version   string
	Hash      string   // wire hash of its genome
	Accepts   []string // of older callers that it serves
	Speaks    string
	Port      uint16 // TCP, where programs reach it; 0 for none
}

const (
	maxCells   = 64 // of a page
	maxAccepts = 16
)

// CellsBody is a page of cells.
type CellsBody struct{ Cells []Cell }

// Append appends the message.
func (m CellsBody) Append(b []byte) []byte {
	for _, c := range m.Cells {
		b = appendBytes(b, 1, c.append(nil))
	}
	return b
}

func (c Cell) append(b []byte) []byte {
	b = appendUint(b, 1, uint64(c.Number))
	b = appendText(b, 2, c.Name)
	b = appendUint(b, 3, uint64(c.Instances))
	b = appendText(b, 4, c.Version)
	b = appendText(b, 5, c.Hash)
	for _, a := range c.Accepts[:min(len(c.Accepts), maxAccepts)] {
		b = appendText(b, 6, a)
	}
	b = appendText(b, 7, c.Speaks)
	return appendUint(b, 8, uint64(c.Port))
}

// ParseCells reads a page of cells.
func ParseCells(b []byte) (m CellsBody, err error) {
	err = Fields(b, func(n protowire.Number, _ uint64, b []byte) error {
		if n != 1 {
			return nil
		}
		if len(m.Cells) == maxCells {
			return fmt.Errorf("more than %d cells on a page", maxCells)
		}
		c, err := parseCell(b)
		m.Cells = append(m.Cells, c)
		return err
	})
	return m, err
}

func parseCell(b []byte) (c Cell, err error) {
	err = Fields(b, func(n protowire.Number, v uint64, b []byte) (err error) {
		switch n {
		case 1:
			c.Number = uint16(min(v, 1<<16-1))
		case 2:
			c.Name, err = text(b, 512)
		case 3:
			c.Instances = uint32(min(v, 1<<16))
		case 4:
			c.Version, err = text(b, 128)
		case 5:
			c.Hash, err = text(b, 128)
		case 6:
			var a string
			if a, err = text(b, 128); len(c.Accepts) < maxAccepts {
				c.Accepts = append(c.Accepts, a)
			}
		case 7:
			c.Speaks, err = text(b, 16)
		case 8:
			c.Port = uint16(min(v, 1<<16-1))
		}
		return err
	})
	if err == nil && (c.Name == "" || c.Number < identity.FirstCell || c.Number >= identity.FirstUser) {
		err = errors.New("a cell without name or number")
	}
	return c, err
}

// text is a string of at most that many bytes that can be shown to people.
func text(b []byte, most int) (string, error) {
	if len(b) > most {
		return "", fmt.Errorf("a text of %d bytes, allowed are %d", len(b), most)
	}
	if !utf8.Valid(b) {
		return "", errors.New("a text that is not UTF-8")
	}
	for _, c := range string(b) {
		if c < ' ' || c == 0x7f {
			return "", errors.New("a text with control characters")
		}
	}
	return string(b), nil
}
