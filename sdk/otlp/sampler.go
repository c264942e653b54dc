package otlp

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/cell-network/cell/sdk/wire"
)

// sampler decides which traces are recorded: by the id of the trace, so that all programs with the same ratio choose the same ones.
type sampler struct {
	parents bool   // what was decided further up holds
	below   uint64 // of 2⁶³
}

// parseSampler reads OTEL_TRACES_SAMPLER and its argument.
func parseSampler(name, arg string) (s sampler, err error) {
	kind, parents := strings.CutPrefix(name, "parentbased_")
	if name == "" {
		kind, parents = "always_on", true
	}
	s = sampler{parents: parents, below: 1 << 63}
	switch kind {
	case "always_on":
	case "always_off":
		s.below = 0
	case "traceidratio":
		ratio := 1.0
		if arg != "" {
			ratio, err = strconv.ParseFloat(arg, 64)
		}
		if err != nil || !(ratio >= 0 && ratio <= 1) {
			return s, fmt.Errorf("OTEL_TRACES_SAMPLER_ARG: %q is no ratio from 0 to 1", arg)
		}
		s.below = uint64(ratio * (1 << 63))
	default:
		return s, fmt.Errorf("OTEL_TRACES_SAMPLER: %q is not supported; hint: always_on, always_off and traceidratio are, and each with parentbased_ ahead", name)
	}
	return s, nil
}

// Sampled implements trace.Tracer.
func (s sampler) Sampled(trace [16]byte, parent wire.Span) bool {
	if s.parents && parent.ID != [8]byte{} {
		return parent.Flags&wire.Sampled != 0
	}
	return binary.BigEndian.Uint64(trace[8:])>>1 < s.below
}
