// Shop is the front of a tree of cells: who signed in buys from the catalog and is billed.
package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/cell-network/cell/examples/shop/cells/audit"
	"github.com/cell-network/cell/examples/shop/cells/auth"
	"github.com/cell-network/cell/examples/shop/cells/billing"
	"github.com/cell-network/cell/examples/shop/cells/catalog"
	"github.com/cell-network/cell/sdk"
)

// Shop sells. It connects to the cells behind it when it first needs them.
type Shop struct {
	auth    func() (*auth.Auth, error)
	catalog func() (*catalog.Catalog, error)
	billing func() (*billing.Billing, error)
	audit   func() (*audit.Audit, error)
}

// NotSignedIn is returned for a token that nobody signed in with.
type NotSignedIn struct{}

func (*NotSignedIn) Error() string { return "sign in first" }

// SoldOut is returned when there is less of something than was asked for.
type SoldOut struct {
	Item string
	Left int
}

func (e *SoldOut) Error() string { return fmt.Sprintf("only %d of %s left", e.Left, e.Item) }

// Declined is returned when the payment was not accepted.
type Declined struct{ Reason string }

func (e *Declined) Error() string { return "payment declined: " + e.Reason }

// Line is what is bought, and how many of it.
type Line struct {
	Item  string
	Count int
}

// Bought says what was bought by whom, and what it cost in cents.
type Bought struct {
	By      string
	Total   int64
	Receipt string
}

// Buy takes the lines from the catalog and bills them.
func (s *Shop) Buy(ctx context.Context, token string, lines []Line, with billing.Payment) (*Bought, error) {
	signedIn, err := s.auth()
	if err != nil {
		return nil, err
	}
	user, err := signedIn.Who(ctx, token)
	if _, ok := errors.AsType[*auth.Expired](err); ok {
		return nil, &NotSignedIn{}
	}
	if err != nil {
		return nil, err
	}
	goods, err := s.catalog()
	if err != nil {
		return nil, err
	}
	var total int64
	for _, l := range lines {
		price, err := goods.Take(ctx, l.Item, l.Count)
		if e, ok := errors.AsType[*catalog.TooFew](err); ok {
			return nil, &SoldOut{l.Item, e.Left}
		}
		if err != nil {
			return nil, err
		}
		total += price
	}
	bills, err := s.billing()
	if err != nil {
		return nil, err
	}
	receipt, err := bills.Charge(ctx, user.Name, total, with)
	if e, ok := errors.AsType[*billing.Declined](err); ok {
		return nil, &Declined{e.Reason}
	}
	if err != nil {
		return nil, err
	}
	// An event: the purchase does not wait for the books.
	if books, err := s.audit(); err == nil {
		_ = books.Record(ctx, audit.Entry{Who: user.Name, What: fmt.Sprintf("bought for %d", total)})
	}
	return &Bought{user.Name, total, receipt.Number}, nil
}

// Shelf lists what is for sale, as text for people.
func (s *Shop) Shelf(ctx context.Context) (string, error) {
	goods, err := s.catalog()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for item, err := range goods.List(ctx) {
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%s ×%d %d.%02d\n", item.Name, item.Stock, item.Cents/100, item.Cents%100)
	}
	return strings.TrimSpace(b.String()), nil
}

// once connects at the first call; a connection that could not be made is tried again by the next one.
func once[C any](dial func(context.Context, ...sdk.DialOption) (C, error)) func() (C, error) {
	var mu sync.Mutex
	var client C
	var have bool
	return func() (C, error) {
		mu.Lock()
		defer mu.Unlock()
		if have {
			return client, nil
		}
		c, err := dial(context.Background())
		if err == nil {
			client, have = c, true
		}
		return c, err
	}
}

func main() {
	sdk.Main(&Shop{once(auth.Dial), once(catalog.Dial), once(billing.Dial), once(audit.Dial)})
}
