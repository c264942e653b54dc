package main

import (
	"strings"
	"testing"
	"time"

	"github.com/cell-network/cell/sdk/stats"
)

func TestMetricsText(t *testing.T) {
	m := stats.Method{Name: "Add\"\n\\", InFlight: 1, BytesIn: 10, BytesOut: 20, Time: 3 * time.Second}
	m.Ended[0], m.Ended[1], m.Latency[0], m.Latency[stats.Buckets-1] = 2, 1, 2, 1
	var b strings.Builder
	err := writeMetrics(&b, []stats.Instance{{
		Name: "shop.users:2", Cell: "shop.users", Since: time.Unix(1_800_000_000, 0), Memory: 7, CPU: 1500 * time.Millisecond, Tasks: 3, Restarts: 4,
		Methods: []stats.Method{m},
	}})
	if err != nil {
		t.Fatal(err)
	}
	const who = `{cell="shop.users",instance="shop.users:2"`
	const method = who + `,method="Add\"\n\\"`
	for _, want := range []string{
		"cell_start_time_seconds" + who + "} 1800000000.000\n", "cell_memory_bytes" + who + "} 7\n", "cell_cpu_seconds_total" + who + "} 1.5\n",
		"cell_tasks" + who + "} 3\n", "cell_restarts_total" + who + "} 4\n",
		"cell_calls_total" + method + ",code=\"ok\"} 2\n", "cell_calls_total" + method + ",code=\"application\"} 1\n",
		"cell_calls_in_flight" + method + "} 1\n", "cell_request_bytes_total" + method + "} 10\n", "cell_response_bytes_total" + method + "} 20\n",
		"cell_call_duration_seconds_bucket" + method + ",le=\"1.024e-06\"} 2\n", "cell_call_duration_seconds_bucket" + method + ",le=\"+Inf\"} 3\n",
		"cell_call_duration_seconds_sum" + method + "} 3\n", "cell_call_duration_seconds_count" + method + "} 3\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s is missing in\n%s", want, b.String())
		}
	}
	// Each family is there once, and all of its samples follow it.
	family := ""
	for line := range strings.Lines(b.String()) {
		switch {
		case strings.HasPrefix(line, "# TYPE "):
			family = strings.Fields(line)[2]
		case strings.HasPrefix(line, "#"):
		case !strings.HasPrefix(line, family):
			t.Errorf("%s does not belong to %s", line, family)
		}
	}
}

func TestRates(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(ok, failed uint64, cpu time.Duration, since time.Time) stats.Instance {
		m := stats.Method{Name: "Add", InFlight: 2}
		m.Ended[0], m.Ended[2], m.Latency[5] = ok, failed, ok+failed
		return stats.Instance{Name: "a", Since: since, CPU: cpu, Methods: []stats.Method{m}}
	}
	r := between(at(10, 1, time.Second, start), at(30, 5, 2*time.Second, start), 2*time.Second)
	if r.calls != 12 || r.errors != 2 || r.cpu != 0.5 || r.inFlight != 2 || r.latency[5] != 24 {
		t.Errorf("%+v", r)
	}
	// A program that started anew counts from its start, whatever the one before it had counted.
	r = between(at(100, 0, time.Hour, start), at(4, 0, time.Second, start.Add(time.Second)), 2*time.Second)
	if r.calls != 2 || r.cpu != 0.5 {
		t.Errorf("%+v", r)
	}
	for d, want := range map[time.Duration]string{
		0: "–", 1500: "1.5µs", 12_345_678: "12.3ms", 2 * time.Second: "2s",
	} {
		if got := short(d); got != want {
			t.Errorf("%v is %s, want %s", d, got, want)
		}
	}
}
