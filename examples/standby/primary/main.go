// Primary answers questions.
package main

import (
	"context"

	"github.com/cell-network/cell/sdk"
)

// Primary knows the answer.
type Primary struct{}

// Answer answers.
func (Primary) Answer(ctx context.Context, question string) (string, error) {
	if question == "die" {
		panic("asked to")
	}
	return "42, says the primary", nil
}

func main() { sdk.Main(Primary{}) }
