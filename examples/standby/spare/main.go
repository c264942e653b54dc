// Spare answers questions.
package main

import (
	"context"

	"github.com/cell-network/cell/sdk"
)

// Spare knows the answer.
type Spare struct{}

// Answer answers.
func (Spare) Answer(ctx context.Context, question string) (string, error) {
	if question == "die" {
		panic("asked to")
	}
	return "42, says the spare", nil
}

func main() { sdk.Main(Spare{}) }
