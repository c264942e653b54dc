package main

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cell-network/cell/sdk/api"
	"github.com/cell-network/cell/sdk/stats"
)

func newMetrics() *cobra.Command {
	return &cobra.Command{
		Use: "metrics [NAME]", ValidArgsFunction: cellNames, Short: "Print what cells used and counted, for Prometheus", Args: args(0, 1, "at most one name"),
		Long: `Print what the running cells used and counted since they started, in Prometheus' text format: calls
by method and how they ended, their times as a histogram, bytes, calls in flight, memory, processor
time and restarts. The cells are not asked, so that those that sleep stay asleep; they are left out.`,
		Example: "  cell metrics\n  cell metrics shop > /var/lib/node_exporter/textfile/cell.prom",
		RunE: func(c *cobra.Command, words []string) error {
			all, err := measure(c, words)
			if err != nil {
				return err
			}
			enzymes, err := devices(c, words)
			if err != nil {
				return err
			}
			if err := writeMetrics(c.OutOrStdout(), all); err != nil {
				return err
			}
			return writeDevices(c.OutOrStdout(), enzymes, len(words) == 0)
		},
	}
}

func measure(c *cobra.Command, words []string) ([]stats.Instance, error) {
	m, err := manager(c.Context())
	if err != nil {
		return nil, err
	}
	name := ""
	if len(words) == 1 {
		name = words[0]
	}
	return m.Measure(c.Context(), name)
}

// devices are the machine's graphics processors with what the named cell, and those below it, used of them.
func devices(c *cobra.Command, words []string) (api.Enzymes, error) {
	m, err := manager(c.Context())
	if err != nil {
		return api.Enzymes{}, err
	}
	all, err := m.Enzymes(c.Context())
	all.Uses = slices.DeleteFunc(all.Uses, func(u api.GPUUse) bool {
		base, _, _ := strings.Cut(u.Cell, ":")
		return u.Cell == "" || len(words) == 1 && u.Cell != words[0] && base != words[0] && !strings.HasPrefix(base, words[0]+".")
	})
	return all, err
}

// writeDevices writes what cells use of graphics processors, and the devices themselves. What the driver does not tell is left out.
func writeDevices(out io.Writer, all api.Enzymes, whole bool) error {
	w := bufio.NewWriter(out)
	family := func(name, kind, help string, samples []string) {
		if len(samples) == 0 {
			return
		}
		fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
		for _, s := range samples {
			fmt.Fprintln(w, name+s)
		}
	}
	uses := func(more func(api.GPUUse) (labels string, value any)) (out []string) {
		for _, u := range all.Uses {
			base, _, _ := strings.Cut(u.Cell, ":")
			if l, v := more(u); v != nil {
				out = append(out, fmt.Sprintf("{cell=%q,instance=%q,uuid=%q%s} %v", base, u.Cell, u.UUID, l, v))
			}
		}
		return out
	}
	family("cell_gpu_memory_bytes", "gauge", "Memory of a device that the instance has.", uses(func(u api.GPUUse) (string, any) { return "", value(u.Memory) }))
	family("cell_gpu_energy_joules_total", "counter", "Energy of a device that the instance used.", uses(func(u api.GPUUse) (string, any) {
		return ",source=" + strconv.Quote(u.Source), value(u.Joules)
	}))
	family("cell_gpu_energy_error_joules", "gauge", "By how much cell_gpu_energy_joules_total may be wrong.", uses(func(u api.GPUUse) (string, any) {
		if u.Joules == nil {
			return "", nil
		}
		return "", u.Error
	}))
	family("cell_gpu_busy_seconds_total", "counter", "How long the instance kept the device busy.", uses(func(u api.GPUUse) (string, any) { return "", u.Busy }))
	if !whole {
		return w.Flush()
	}
	each := func(get func(api.GPU) any) (out []string) {
		for _, d := range all.Devices {
			if v := get(d); v != nil {
				out = append(out, fmt.Sprintf("{uuid=%q,name=%q} %v", d.UUID, d.Name, v))
			}
		}
		return out
	}
	family("cell_gpu_device_memory_bytes", "gauge", "Memory of the device.", each(func(d api.GPU) any { return d.Memory }))
	family("cell_gpu_device_memory_used_bytes", "gauge", "Memory of the device that is used.", each(func(d api.GPU) any { return value(d.Used) }))
	family("cell_gpu_device_busy_percent", "gauge", "How busy the device is.", each(func(d api.GPU) any { return value(d.Busy) }))
	family("cell_gpu_device_power_watts", "gauge", "What the device draws.", each(func(d api.GPU) any { return value(d.Power) }))
	family("cell_gpu_device_energy_joules_total", "counter", "What the device has drawn since its driver was loaded.", each(func(d api.GPU) any { return value(d.Energy) }))
	family("cell_gpu_device_temperature_celsius", "gauge", "Temperature of the device.", each(func(d api.GPU) any { return value(d.Temperature) }))
	family("cell_gpu_device_usable", "gauge", "Whether the device may be granted.", each(func(d api.GPU) any {
		if d.Problem != "" {
			return 0
		}
		return 1
	}))
	return w.Flush()
}

// value is what a driver tells, or nil; a floating-point number is written in full.
func value[T any](v *T) any {
	if v == nil {
		return nil
	}
	if f, ok := any(*v).(float64); ok {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return *v
}

// endings are the names of stats.Method.Ended, as the errors of the protocol are called.
var endings = [stats.Codes]string{
	"ok", "application", "remote", "invalid_request", "no_such_method", "denied", "overloaded", "canceled", "deadline_exceeded",
}

// writeMetrics writes each family with all of its samples, as the format demands.
func writeMetrics(out io.Writer, all []stats.Instance) error {
	w := bufio.NewWriter(out)
	family := func(name, kind, help string, each func(sample func(suffix, labels string, value any))) {
		fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
		each(func(suffix, labels string, value any) { fmt.Fprintf(w, "%s%s{%s} %v\n", name, suffix, labels, value) })
	}
	instances := func(value func(stats.Instance) any) func(func(string, string, any)) {
		return func(sample func(string, string, any)) {
			for _, i := range all {
				sample("", labels(i, ""), value(i))
			}
		}
	}
	methods := func(each func(i stats.Instance, m *stats.Method, sample func(string, string, any))) func(func(string, string, any)) {
		return func(sample func(string, string, any)) {
			for _, i := range all {
				for j := range i.Methods {
					each(i, &i.Methods[j], sample)
				}
			}
		}
	}
	family("cell_start_time_seconds", "gauge", "When the instance started, in seconds since 1970.", instances(func(i stats.Instance) any {
		return strconv.FormatFloat(float64(i.Since.UnixMicro())/1e6, 'f', 3, 64)
	}))
	family("cell_memory_bytes", "gauge", "Memory of the instance.", instances(func(i stats.Instance) any { return i.Memory }))
	family("cell_cpu_seconds_total", "counter", "Processor time of the instance.", instances(func(i stats.Instance) any { return i.CPU.Seconds() }))
	family("cell_tasks", "gauge", "Processes and threads of the instance.", instances(func(i stats.Instance) any { return i.Tasks }))
	family("cell_restarts_total", "counter", "How often systemd started the instance again.", instances(func(i stats.Instance) any { return i.Restarts }))
	family("cell_calls_total", "counter", "Calls that ended, by method and how.", methods(func(i stats.Instance, m *stats.Method, sample func(string, string, any)) {
		for code, n := range m.Ended {
			if n > 0 || code == 0 {
				sample("", labels(i, m.Name)+",code="+strconv.Quote(endings[code]), n)
			}
		}
	}))
	family("cell_calls_in_flight", "gauge", "Calls that run.", methods(func(i stats.Instance, m *stats.Method, sample func(string, string, any)) {
		sample("", labels(i, m.Name), m.InFlight)
	}))
	family("cell_request_bytes_total", "counter", "Bytes of requests, items of streams left out.", methods(func(i stats.Instance, m *stats.Method, sample func(string, string, any)) {
		sample("", labels(i, m.Name), m.BytesIn)
	}))
	family("cell_response_bytes_total", "counter", "Bytes of results, items of streams left out.", methods(func(i stats.Instance, m *stats.Method, sample func(string, string, any)) {
		sample("", labels(i, m.Name), m.BytesOut)
	}))
	family("cell_call_duration_seconds", "histogram", "How long calls took in the cell.", methods(func(i stats.Instance, m *stats.Method, sample func(string, string, any)) {
		name, seen := labels(i, m.Name), uint64(0)
		for b, n := range m.Latency {
			seen += n
			if bound := stats.Bound(b); b%4 == 0 && bound > 0 { // each power of two
				sample("_bucket", name+",le="+strconv.Quote(strconv.FormatFloat(bound.Seconds(), 'g', 4, 64)), seen)
			}
		}
		sample("_bucket", name+`,le="+Inf"`, seen)
		sample("_sum", name, m.Time.Seconds())
		sample("_count", name, seen)
	}))
	return w.Flush()
}

// labels name an instance and, when it is not empty, a method, whose name is the cell's to choose.
func labels(i stats.Instance, method string) string {
	s := fmt.Sprintf("cell=%q,instance=%q", i.Cell, i.Name)
	if method != "" {
		s += `,method="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(method) + `"`
	}
	return s
}

// rates is what an instance did between two measurements.
type rates struct {
	stats.Instance
	calls, errors float64 // a second
	cpu           float64 // cores
	inFlight      int64
	latency       stats.Histogram
}

// between compares two measurements of an instance. One that started anew in between counts from its start.
func between(before, now stats.Instance, passed time.Duration) rates {
	r := rates{Instance: now}
	seconds := passed.Seconds()
	if !before.Since.Equal(now.Since) {
		before = stats.Instance{}
	}
	r.cpu = max(0, (now.CPU-before.CPU).Seconds()/seconds)
	for j := range now.Methods {
		m, was := &now.Methods[j], stats.Method{}
		if j < len(before.Methods) && before.Methods[j].Name == m.Name {
			was = before.Methods[j]
		}
		r.inFlight += m.InFlight
		for code, n := range m.Ended {
			d := float64(n-min(n, was.Ended[code])) / seconds
			if r.calls += d; code > 0 {
				r.errors += d
			}
		}
		for b, n := range m.Latency {
			r.latency[b] += n - min(n, was.Latency[b])
		}
	}
	return r
}
