package wire

// keepSlots is how many slots an empty queue keeps: a stream that is quiet must cost little.
const keepSlots = 16

// queue holds the items of a stream that were not read yet.
type queue struct {
	items [][]byte
	head  int   // the first item
	cost  int64 // of all, as in credit
}

func (q *queue) empty() bool { return q.head == len(q.items) }

func (q *queue) push(item []byte) {
	if len(q.items) == cap(q.items) && q.head > len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, item)
	q.cost += int64(len(item)) + itemCost
}

func (q *queue) pop() []byte {
	item := q.items[q.head]
	q.items[q.head] = nil
	q.head++
	q.cost -= int64(len(item)) + itemCost
	if q.empty() {
		q.items, q.head = q.items[:0], 0
		if cap(q.items) > keepSlots {
			q.items = nil
		}
	}
	return item
}
