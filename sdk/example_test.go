package sdk_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/cell-network/cell/sdk"
)

// News is a topic of a cell: an exported variable of the package of the served type. Callers get a method News.
var News sdk.Topic[string]

func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	news := News.Listen(ctx) // from now on
	News.Publish("two for one")
	News.Publish("closed on Monday")
	count := 0
	for item, err := range news {
		if err != nil {
			break
		}
		fmt.Println(item)
		if count++; count == 2 {
			stop()
		}
	}
	// Output:
	// two for one
	// closed on Monday
}

func ExampleMayHaveRun() {
	pay := func() error { return &sdk.Denied{Cell: "bank", Method: "Pay", Reason: "not the same owner"} }
	err := pay()
	if denied, ok := errors.AsType[*sdk.Denied](err); ok {
		fmt.Println(denied.Reason)
	}
	fmt.Println("try again elsewhere:", !sdk.MayHaveRun(err))
	// Output:
	// not the same owner
	// try again elsewhere: true
}
