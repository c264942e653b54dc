package replicas

const (
	budgetShare = 0.05 // tokens for each call
	budgetBurst = 32   // tokens at most, and at the beginning
)

// budget bounds how many calls are made twice, so that a cell in trouble does not get twice as many. It is guarded by the lock
// of its pool.
type budget struct{ tokens float64 }

// earn is for every call.
func (b *budget) earn() {
	if b.tokens < budgetBurst {
		b.tokens = min(b.tokens+budgetShare, budgetBurst)
	}
}

// retry takes a token for a call that failed.
func (b *budget) retry() bool { return b.take(1) }

// hedge takes a token for a call that only is slow: the second half is left to those that failed.
func (b *budget) hedge() bool { return b.take(budgetBurst / 2) }

func (b *budget) take(least float64) bool {
	if b.tokens < least {
		return false
	}
	b.tokens--
	return true
}
