// Package nearest finds the word that somebody probably meant, for hints in errors.
package nearest

// Word returns the candidate with the smallest edit distance to word, or "" when none is near: a third of the letters and
// one more may differ, but never the whole word.
func Word(word string, candidates []string) string {
	best, limit := "", min(len(word)/3+2, len(word))
	for _, c := range candidates {
		if d := distance(word, c, limit); d < limit {
			best, limit = c, d
		}
	}
	return best
}

// distance is the Levenshtein distance, or a number of at least limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
