package gpu

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/cell-network/cell/sdk/api"
)

// lag is how late a device's counter may be: NVIDIA's are renewed some ten times a second.
const lag = 100 * time.Millisecond

// gap is how long two looks may be apart: what happened between is not known after that, as the machine may have been asleep.
const gap = 30 * time.Second

// Meter adds up what control groups use of devices. It divides a device's energy by how busy each keeps it, whole: what an idle device
// draws while a cell has it is that cell's too. What nobody used is nobody's.
type Meter struct {
	mu   sync.Mutex
	last map[string]Sample
	sums map[use]*sum
}

type use struct{ cgroup, uuid string }

type sum struct {
	joules, wrong float64
	source        string
	known         bool
	busy          float64
	seen          time.Time
}

// NewMeter makes one that has seen nothing.
func NewMeter() *Meter {
	return &Meter{last: map[string]Sample{}, sums: map[use]*sum{}}
}

// remember is how long the sums of a control group without processes are kept.
const remember = time.Hour

// Add takes a look at a device.
func (m *Meter) Add(s Sample) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before, ok := m.last[s.UUID]
	m.last[s.UUID] = s
	shares := divide(s)
	for group := range shares {
		k := use{group, s.UUID}
		if m.sums[k] == nil {
			m.sums[k] = &sum{}
		}
		m.sums[k].seen = s.At
	}
	for k, v := range m.sums {
		if s.At.Sub(v.seen) > remember {
			delete(m.sums, k)
		}
	}
	passed := s.At.Sub(before.At)
	if !ok || passed <= 0 || passed > gap {
		return
	}
	joules, source := spent(before, s)
	// Who came or went between the looks was there for a part of the time.
	changed := !slices.Equal(groups(before), groups(s))
	for group, share := range shares {
		if group == "" {
			continue // it belongs to nobody who could be told
		}
		v := m.sums[use{group, s.UUID}]
		if s.Busy != nil {
			v.busy += passed.Seconds() * float64(*s.Busy) / 100 * share.part
		}
		if math.IsNaN(joules) {
			continue
		}
		mine := joules * share.part
		v.known = true
		v.joules += mine
		switch {
		case changed:
			v.wrong += mine
		case share.guessed:
			v.wrong += joules * max(share.part, 1-share.part)
		case share.part < 1:
			v.wrong += mine * 0.1 // utilisation is a whole number of percent over some samples
		}
		if s.Power != nil {
			v.wrong = max(v.wrong, *s.Power*lag.Seconds()*share.part)
		}
		from := source
		if from == api.ByCounter && share.part < 1 {
			from = api.ByShare
		}
		v.source = worse(v.source, from)
	}
}

// worse is the less certain of two sources.
func worse(a, b string) string {
	order := []string{"", api.ByCounter, api.ByShare, api.ByPower}
	if slices.Index(order, a) > slices.Index(order, b) {
		return a
	}
	return b
}

// spent is what a device used between two looks, or not a number.
func spent(before, now Sample) (joules float64, source string) {
	if before.Energy != nil && now.Energy != nil {
		if *now.Energy < *before.Energy {
			return math.NaN(), "" // the driver was loaded anew
		}
		return *now.Energy - *before.Energy, api.ByCounter
	}
	if before.Power != nil && now.Power != nil {
		return (*before.Power + *now.Power) / 2 * now.At.Sub(before.At).Seconds(), api.ByPower
	}
	return math.NaN(), ""
}

type share struct {
	part    float64 // of the device; all parts make 1
	guessed bool    // how busy each kept it is not known
}

// divide says whose a device's use is.
func divide(s Sample) map[string]share {
	busy, n := map[string]float64{}, map[string]int{}
	total, told := 0.0, false
	for _, p := range s.Processes {
		if p.Kind == "graphics" {
			continue // a display's server has it open all the time
		}
		n[p.Cgroup]++
		if p.Busy != nil {
			b := float64(min(*p.Busy, 100)) // drivers have told of more
			busy[p.Cgroup] += b
			total += b
			told = true
		}
	}
	out := map[string]share{}
	for group := range n {
		switch {
		case len(n) == 1:
			out[group] = share{part: 1}
		case total > 0:
			out[group] = share{part: busy[group] / total}
		default:
			// All idle by what is told, or nothing is told.
			out[group] = share{part: 1 / float64(len(n)), guessed: !told}
		}
	}
	return out
}

func groups(s Sample) []string {
	var out []string
	for _, p := range s.Processes {
		if p.Kind != "graphics" {
			out = append(out, p.Cgroup)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Uses is what each control group uses and has used, of each device.
func (m *Meter) Uses() []api.GPUUse {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := []api.GPUUse{}
	for k, v := range m.sums {
		u := api.GPUUse{Cgroup: k.cgroup, UUID: k.uuid, Busy: v.busy, Memory: memory(m.last[k.uuid], k.cgroup)}
		if v.known {
			joules := v.joules
			u.Joules, u.Error, u.Source = &joules, v.wrong, v.source
		}
		out = append(out, u)
	}
	slices.SortFunc(out, func(a, b api.GPUUse) int {
		return cmp.Or(cmp.Compare(a.UUID, b.UUID), cmp.Compare(a.Cgroup, b.Cgroup))
	})
	return out
}

// memory is what a control group's processes have of a device; nil when the driver does not say it of each.
func memory(s Sample, cgroup string) *uint64 {
	var total uint64
	for _, p := range s.Processes {
		if p.Cgroup != cgroup {
			continue
		}
		if p.Memory == nil {
			return nil
		}
		total += *p.Memory
	}
	return &total
}
