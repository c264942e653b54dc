// Calculator is a cell that adds, subtracts and divides.
package main

import (
	"context"
	"math"

	"github.com/cell-network/cell/sdk"
)

// Calculator works with whole numbers.
type Calculator struct{}

// Overflow is returned when the result does not fit.
type Overflow struct{ A, B int64 }

func (e *Overflow) Error() string { return "overflow" }

// DivisionByZero is returned when a number is to be divided by zero.
type DivisionByZero struct{}

func (e *DivisionByZero) Error() string { return "division by zero" }

// Add returns a plus b.
func (Calculator) Add(ctx context.Context, a, b int64) (int64, error) {
	sum := a + b
	if (sum > a) != (b > 0) {
		return 0, &Overflow{a, b}
	}
	return sum, nil
}

// Sub returns a minus b.
func (Calculator) Sub(ctx context.Context, a, b int64) (int64, error) {
	difference := a - b
	if (difference < a) != (b > 0) {
		return 0, &Overflow{a, b}
	}
	return difference, nil
}

// Div returns a divided by b, without what remains.
func (Calculator) Div(ctx context.Context, a, b int64) (int64, error) {
	if b == 0 {
		return 0, &DivisionByZero{}
	}
	if a == math.MinInt64 && b == -1 {
		return 0, &Overflow{a, b}
	}
	return a / b, nil
}

func main() { sdk.Main(Calculator{}) }
