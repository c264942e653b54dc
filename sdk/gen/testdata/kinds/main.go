// Kinds is a cell that sends back whatever a genome can carry. Its names are chosen to be in the way.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	clock "time"

	cells "github.com/cell-network/cell/sdk"
	"github.com/cell-network/cell/t/sub"
)

// These hide what generated code might use.
var (
	nil    = 1
	time   = 2
	errors = 3
	true   = 4
)

func len() int    { return nil + time + errors + true }
func append() int { return 0 }

// Kinds counts its calls.
type Kinds struct {
	mu    sync.Mutex
	calls int
}

// All has every kind.
type All struct {
	B     bool
	I     int
	I8    int8
	I16   int16
	I32   int32
	I64   int64
	U     uint
	U8    uint8
	U16   uint16
	U32   uint32
	U64   uint64
	F32   float32
	F64   float64
	S     string
	Raw   []byte
	D     clock.Duration
	T     clock.Time
	O     *string
	OI    *int64
	OP    *Pos
	OL    *[]int64
	OM    *map[string]int
	L     []string
	LR    [][]byte
	LI    []int16
	LU    []uint32
	LB    []bool
	LF    []float32
	LD    []float64
	LL    [][]int8
	LO    []*Pos
	LP    []Pos
	M     map[string]Pos
	MI    map[int32][]string
	MB    map[bool]float64
	MC    map[Color]*Pos
	MM    map[uint8]map[string]int
	C     Color
	CS    []Color
	Word  Word
	IDs   IDs
	LIDs  []IDs
	Table Table
	Tree  Tree
	Next  *All
	Times []clock.Time
	Ds    []clock.Duration
	Thing sub.Thing
	Ls    map[sub.Level]sub.Thing
	Pos   // embedded
	*Link // embedded too

	A    [3]int16
	AB   [4]byte
	AL   [2][]string
	AA   [2][2]float32
	AP   [1]*Pos
	LA   [][2]bool
	MA   map[string][2]byte
	Hash Hash
	J    json.RawMessage
	LJ   []json.RawMessage
	Sh   Shape
	LS   []Shape
	MS   map[string]Shape
	AS   [2]Shape
	PP   Pair[Pos, string]
	PL   *Pair[[]Color, *sub.Thing]
	Sev  Severity
	Sum  Digest
}

// Pair is any two things.
type Pair[A, B any] struct {
	First  A // comes first
	Second B
}

// Hash is a short hash.
type Hash [4]byte

// Severity and Digest are made of what the standard library has.
type (
	Severity slog.Level
	Digest   [sha256.Size]byte
)

// Shape is a circle, a square or a group of shapes.
type Shape interface{ isShape() }

// Circle is round.
type Circle struct{ R float64 }

// Square is not.
type Square struct{ Side int32 }

// Group has shapes in it.
type Group struct{ In []Shape }

func (Circle) isShape()  {}
func (*Square) isShape() {}
func (Group) isShape()   {}

// Pos is a place.
type Pos struct{ X, Y int32 }

// Link has a field with a tag.
type Link struct {
	To string `json:"to"` // where it leads
}

// Color is open: values without a name are allowed.
type Color int32

// The colours.
const (
	Red   Color = 1 // like blood
	Green Color = 2
	blue  Color = 3
)

type (
	// Word is a text.
	Word string
	// IDs is a list with a name.
	IDs []uint64
	// Table is a map with a name.
	Table map[Word]IDs
	// Tree contains itself.
	Tree []Tree
)

// Missing says what is not there.
type Missing struct{ Key string }

func (e Missing) Error() string { return "missing" }

// Late is an error by pointer only.
type Late struct {
	By clock.Duration
	At *Pos
}

func (e *Late) Error() string { return "late" }

// Echo sends v back.
func (k *Kinds) Echo(ctx context.Context, v All) All {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.calls++
	return v
}

// Again sends the last of its items back.
func (k *Kinds) Again(ctx context.Context, items iter.Seq2[All, error]) (last All, err error) {
	for last, err = range items {
	}
	return last, err
}

// Hide has parameters with names that mean something in Go.
func (k *Kinds) Hide(ctx context.Context, time int, errors string, nil, len *bool, b []byte, f, ctx2 Word) (err int, b1 string, p1, r1 *bool, _ []byte, f1, cell Word) {
	return time, errors, nil, len, b, f, ctx2
}

// Sum adds.
//
//cell:repeatable
func (k *Kinds) Sum(_ context.Context, base int8, more ...int64) (sum int64, err error) {
	for _, n := range more {
		sum += n
	}
	return sum + int64(base), err
}

func (k *Kinds) Unnamed(context.Context, string, int) {}

func (k *Kinds) Words(ctx context.Context, words ...Word) ([]Word, map[Word]Word) {
	return words, map[Word]Word{}
}

// Fail answers with an error.
func (k *Kinds) Fail(ctx context.Context, how string) error {
	switch how {
	case "value":
		return fmt.Errorf("wrapped: %w", Missing{"k"})
	case "pointer":
		return &Missing{"p"}
	case "late":
		return fmt.Errorf("wrapped: %w", &Late{By: 5, At: &Pos{1, 2}})
	case "null":
		var late *Late
		return fmt.Errorf("null: %w", late)
	}
	return fmt.Errorf("something else")
}

// Close is not served, for it has no context; neither is hidden.
func (k *Kinds) Close() error                     { panic("not served") }
func (k *Kinds) hidden(ctx context.Context) error { panic("not served") }

func run() {
	k := &Kinds{calls: 1}
	cells.Main(k)
}

func main() { run() }
