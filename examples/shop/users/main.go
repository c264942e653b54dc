// Users knows who is a customer.
package main

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"sync"
	"time"

	"github.com/cell-network/cell/sdk"
)

// Users keeps customers in memory.
type Users struct {
	mu      sync.Mutex
	byName  map[string]User
	secrets map[string]secret
}

type secret struct{ salt, key []byte }

// User is a customer.
type User struct {
	Name  string
	Since time.Time
	Email *string // nil when not given
}

// Taken is returned for a name that somebody has.
type Taken struct{ Name string }

func (e *Taken) Error() string { return "the name " + e.Name + " is taken" }

// WrongPassword is returned for a name and a password that do not belong together.
type WrongPassword struct{}

func (*WrongPassword) Error() string { return "wrong name or password" }

// Registered tells of each new customer.
var Registered sdk.Topic[User]

// Register makes a customer.
func (u *Users) Register(ctx context.Context, name, password string, email *string) (User, error) {
	s := secret{salt: make([]byte, 16)}
	_, _ = rand.Read(s.salt) // never fails
	key, err := derive(password, s.salt)
	if err != nil {
		return User{}, err
	}
	s.key = key
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, taken := u.byName[name]; taken {
		return User{}, &Taken{name}
	}
	user := User{name, time.Now(), email}
	u.byName[name], u.secrets[name] = user, s
	Registered.Publish(user)
	return user, nil
}

// Check returns the customer of that name and password.
func (u *Users) Check(ctx context.Context, name, password string) (User, error) {
	u.mu.Lock()
	user, s := u.byName[name], u.secrets[name]
	u.mu.Unlock()
	key, err := derive(password, s.salt)
	if err != nil {
		return User{}, err
	}
	if subtle.ConstantTimeCompare(key, s.key) == 0 {
		return User{}, &WrongPassword{}
	}
	return user, nil
}

func derive(password string, salt []byte) ([]byte, error) {
	return pbkdf2.Key(sha256.New, password, salt, 100_000, 32)
}

func main() { sdk.Main(&Users{byName: map[string]User{}, secrets: map[string]secret{}}) }
