// Billing takes money.
package main

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/cell-network/cell/sdk"
)

// Billing numbers its receipts.
type Billing struct{ last atomic.Int64 }

// Payment is how somebody pays.
type Payment interface{ isPayment() }

// Card is paid with at once.
type Card struct {
	Number string
	Limit  int64 // in cents
}

// Voucher pays as long as there is something on it.
type Voucher struct {
	Code  string
	Cents int64
}

// Invoice is paid later.
type Invoice struct{ Address []string }

func (Card) isPayment()    {}
func (Voucher) isPayment() {}
func (Invoice) isPayment() {}

// Receipt says that somebody paid.
type Receipt struct {
	Number string
	Cents  int64
	By     string
}

// Declined is returned when a payment does not cover the sum.
type Declined struct{ Reason string }

func (e *Declined) Error() string { return e.Reason }

// Charge takes cents from a payment.
func (b *Billing) Charge(ctx context.Context, name string, cents int64, with Payment) (Receipt, error) {
	how := ""
	switch p := with.(type) {
	case Card:
		if p.Limit < cents {
			return Receipt{}, &Declined{fmt.Sprintf("the card's limit is %d", p.Limit)}
		}
		how = "card"
	case Voucher:
		if p.Cents < cents {
			return Receipt{}, &Declined{fmt.Sprintf("the voucher has %d left", p.Cents)}
		}
		how = "voucher"
	case Invoice:
		how = "invoice"
	default:
		return Receipt{}, &Declined{"no payment"}
	}
	return Receipt{fmt.Sprintf("R%04d", b.last.Add(1)), cents, how}, nil
}

func main() { sdk.Main(&Billing{}) }
