// Catalog knows what is for sale.
package main

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/cell-network/cell/sdk"
)

// Catalog keeps its items in memory.
type Catalog struct {
	mu    sync.Mutex
	items map[string]Item
}

// Item is for sale.
type Item struct {
	Name  string
	Cents int64
	Stock int
	Sizes [3]float32 // in centimetres
}

// TooFew is returned when there is less of an item than wanted.
type TooFew struct{ Left int }

func (e *TooFew) Error() string { return fmt.Sprintf("only %d left", e.Left) }

// List streams the items, sorted by name.
func (c *Catalog) List(ctx context.Context) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		c.mu.Lock()
		items := slices.SortedFunc(maps.Values(c.items), func(a, b Item) int { return cmp.Compare(a.Name, b.Name) })
		c.mu.Unlock()
		for _, item := range items {
			if !yield(item, nil) {
				return
			}
		}
	}
}

// Import takes a stream of items and returns how many there were. Items of a name that is there are replaced.
func (c *Catalog) Import(ctx context.Context, items iter.Seq2[Item, error]) (count int, err error) {
	for item, err := range items {
		if err != nil {
			return count, err
		}
		c.mu.Lock()
		c.items[item.Name] = item
		c.mu.Unlock()
		count++
	}
	return count, nil
}

// Take takes items from the stock and returns what they cost, in cents.
func (c *Catalog) Take(ctx context.Context, name string, count int) (cents int64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	item := c.items[name]
	if count < 1 || item.Stock < count {
		return 0, &TooFew{item.Stock}
	}
	item.Stock -= count
	c.items[name] = item
	return item.Cents * int64(count), nil
}

func main() { sdk.Main(&Catalog{items: map[string]Item{}}) }
