package main

import (
	"errors"

	"github.com/cell-network/cell/examples/shop/auth/cells/users"
)

// refused makes this cell's own error of the one that users answers.
func refused(err error) error {
	if _, ok := errors.AsType[*users.WrongPassword](err); ok {
		return &Refused{}
	}
	return err
}
