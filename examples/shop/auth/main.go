// Auth knows who is signed in.
package main

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"github.com/cell-network/cell/examples/shop/auth/cells/users"
	"github.com/cell-network/cell/sdk"
)

// Auth keeps sessions in memory.
type Auth struct {
	mu       sync.Mutex
	sessions map[string]session
}

type session struct {
	user users.User
	ends time.Time
}

// Expired is returned for a token of no session that goes on.
type Expired struct{}

func (*Expired) Error() string { return "signed out" }

// Refused is returned when name and password do not belong together.
type Refused struct{}

func (*Refused) Error() string { return "wrong name or password" }

// SignIn begins a session of an hour and returns its token.
func (a *Auth) SignIn(ctx context.Context, name, password string) (token string, err error) {
	known, err := users.Dial(ctx)
	if err != nil {
		return "", err
	}
	defer sdk.Close(known)
	user, err := known.Check(ctx, name, password)
	if err != nil {
		return "", refused(err)
	}
	token = rand.Text()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sessions[token] = session{user, time.Now().Add(time.Hour)}
	return token, nil
}

// Who returns whose session a token is. Its type is the one of the cell that provides it.
func (a *Auth) Who(ctx context.Context, token string) (users.User, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s, ok := a.sessions[token]
	if !ok || time.Now().After(s.ends) {
		delete(a.sessions, token)
		return users.User{}, &Expired{}
	}
	return s.user, nil
}

func main() { sdk.Main(&Auth{sessions: map[string]session{}}) }
