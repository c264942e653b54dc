package node

import (
	"bufio"
	"bytes"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
)

// mflops estimates what all cores do at most: clock times operations on float64 that one core ends in a cycle with its widest vectors,
// as makers of processors count. Memory, heat and neighbours allow less.
var mflops = sync.OnceValue(func() uint64 {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return 0
	}
	mhz := clock(info)
	if khz, err := os.ReadFile("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq"); err == nil {
		if v, err := strconv.ParseUint(string(bytes.TrimSpace(khz)), 10, 64); err == nil {
			mhz = v / 1000
		}
	}
	return uint64(runtime.NumCPU()) * mhz * vectors(info)
})

// clock is that of the first processor in MHz, as /proc/cpuinfo has it on x86; zero where it does not say.
func clock(info []byte) uint64 {
	v, _ := strconv.ParseFloat(field(info, "cpu MHz"), 64)
	return uint64(v)
}

// vectors is how many operations on float64 a core ends in a cycle: two units that multiply and add whole vectors, where it has such.
func vectors(info []byte) uint64 {
	flags := strings.Fields(field(info, "flags") + " " + field(info, "Features"))
	for _, f := range []struct {
		flag string
		ops  uint64
	}{{"avx512f", 32}, {"fma", 16}, {"avx", 8}, {"sse2", 4}, {"asimd", 8}} {
		for _, has := range flags {
			if has == f.flag {
				return f.ops
			}
		}
	}
	return 1
}

// field is the first value of a key of /proc/cpuinfo.
func field(info []byte, key string) string {
	for lines := bufio.NewScanner(bytes.NewReader(info)); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == key {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
