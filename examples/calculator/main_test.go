package main

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/cell-network/cell/sdk"
	"github.com/cell-network/cell/sdk/genome"
	"github.com/cell-network/cell/sdk/stub"
)

// use calls the generated code as a word from the shell would.
func use(cell *stub.Genome, words ...string) (string, error) {
	g, err := genome.Parse(cell.JSON)
	if err != nil {
		return "", err
	}
	m, err := genome.FindMethod(g, words[0])
	if err != nil {
		return "", err
	}
	request, err := genome.EncodeWords(g, m, words[1:])
	if err != nil {
		return "", err
	}
	for _, served := range cell.Methods {
		if served.ID != m.ID {
			continue
		}
		result, err := served.Call(context.Background(), request)
		if err != nil {
			name, _, payload, ok := cell.Error(err)
			if !ok {
				return "", err
			}
			out, err := genome.DecodeError(g, name, payload)
			return name + " " + out.Text, err
		}
		out, err := genome.DecodeResults(g, m, result)
		return out.Text, err
	}
	return "", errors.New("not served")
}

func TestCalculator(t *testing.T) {
	cell := Calculator{}.CellBuild()
	const most, least = "9223372036854775807", "-9223372036854775808"
	for _, tt := range []struct{ method, a, b, want string }{
		{"add", "3", "4", "7"},
		{"add", "a=3", "b=-4", "-1"},
		{"add", most, "1", "Overflow A=" + most + ", B=1"},
		{"add", least, "-1", "Overflow A=" + least + ", B=-1"},
		{"add", most, least, "-1"},
		{"add", most, "0", most},
		{"sub", "3", "4", "-1"},
		{"sub", "0", least, "Overflow A=0, B=" + least},
		{"sub", "-1", least, most},
		{"sub", least, "1", "Overflow A=" + least + ", B=1"},
		{"div", "7", "-2", "-3"},
		{"div", "1", "0", "DivisionByZero "},
		{"div", least, "-1", "Overflow A=" + least + ", B=-1"},
	} {
		if got, err := use(cell, tt.method, tt.a, tt.b); err != nil || got != tt.want {
			t.Errorf("%s %s %s: %q %v, want %q", tt.method, tt.a, tt.b, got, err, tt.want)
		}
	}
	_, err := cell.Methods[0].Call(context.Background(), []byte{0x0a, 0})
	invalid, ok := errors.AsType[*sdk.InvalidRequest](err)
	if !ok || fmt.Sprint(invalid.Field, ": ", invalid.Reason) != "a: it has another type" {
		t.Errorf("%v", err)
	}
}
