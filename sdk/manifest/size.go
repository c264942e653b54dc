package manifest

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// ParseBytes reads a size such as "512MB", "1.5G" or "4096". As in systemd, K, M, G and T are powers of 1024, with or
// without a following B or iB.
func ParseBytes(s string) (int64, error) {
	t := strings.TrimSpace(s)
	digits := strings.TrimRight(t, "KMGTiBkmgtb")
	unit := strings.ToUpper(t[len(digits):])
	factor := float64(1)
	switch strings.TrimSuffix(strings.TrimSuffix(unit, "B"), "I") {
	case "":
		if unit != "" && unit != "B" {
			return 0, fmt.Errorf("%q is not a size", s)
		}
	case "K":
		factor = 1 << 10
	case "M":
		factor = 1 << 20
	case "G":
		factor = 1 << 30
	case "T":
		factor = 1 << 40
	default:
		return 0, fmt.Errorf("%q is not a size", s)
	}
	digits = strings.TrimSpace(digits)
	if strings.Trim(digits, "0123456789.") != "" {
		return 0, fmt.Errorf("%q is not a size", s)
	}
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a size", s)
	}
	if n*factor >= math.MaxInt64/2 {
		return 0, fmt.Errorf("%q is too large", s)
	}
	return int64(n * factor), nil
}

// FormatBytes writes a size for people: "64M", "1.5G".
func FormatBytes(n int64) string {
	if n < 1<<10 {
		return strconv.FormatInt(n, 10) + "B"
	}
	f, unit := float64(n)/(1<<10), 0
	for f >= 1023.95 && unit < 3 {
		f /= 1 << 10
		unit++
	}
	s := strconv.FormatFloat(f, 'f', 1, 64)
	return strings.TrimSuffix(s, ".0") + "KMGT"[unit:unit+1]
}

// parseDuration reads "10m", "1h30m" or "7d".
func parseDuration(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, fmt.Errorf("%q is not a duration", s)
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a duration", s)
	}
	return d, nil
}
