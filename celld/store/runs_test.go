package store

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestRuns(t *testing.T) {
	dir := t.TempDir()
	r, err := OpenRuns(dir)
	if err != nil {
		t.Fatal(err)
	}
	note := func(name string, run Run) {
		t.Helper()
		if err := r.Note(name, run); err != nil {
			t.Fatal(err)
		}
	}
	note("a", Run{ID: "1", Start: 10})
	note("b", Run{ID: "2", Start: 11, End: 12, Result: "exit 7"})
	note("a", Run{ID: "1", Start: 10, End: 20, Result: "done"})
	note("a", Run{ID: "1", Start: 10}) // late news
	if r, err = OpenRuns(dir); err != nil {
		t.Fatal(err)
	}
	if got, want := r.Of("a"), []Run{{ID: "1", Start: 10, End: 20, Result: "done"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	for i := range 2 * Kept {
		note("b", Run{ID: fmt.Sprint(i), Start: uint64(i)})
	}
	if all := r.Of("b"); len(all) != Kept || all[0].Start != 2*Kept-1 {
		t.Errorf("%+v", all)
	}
	if err := r.Forget("b"); err != nil || len(r.Of("b")) > 0 {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "runs.json"), []byte("null"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err = OpenRuns(dir); err != nil {
		t.Fatal(err)
	}
	note("a", Run{ID: "1"})
}
