package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestTutorial runs docs/tutorial.md: it writes its files and runs its commands, in order and as they are written.
func TestTutorial(t *testing.T) {
	needManager(t)
	const file = "../../docs/tutorial.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	steps, err := lesson(string(text))
	if err != nil {
		t.Fatalf("%s:%v", file, err)
	}
	p := newPupil(t)
	for _, s := range steps {
		if err := p.do(s); err != nil {
			t.Fatalf("%s:%d: %v", file, s.line, err) // what follows builds on it
		}
	}
}

// step is a file to write or a command to run, with what it is said to print.
type step struct {
	line       int
	file, text string
	command    string
	want       []string
}

// named is the line in front of a file: its path, in quotation marks of Markdown, and a colon.
var named = regexp.MustCompile("^`([a-z0-9-]+(?:/[a-z0-9_.-]+)+)`:$")

// lesson reads the fenced blocks of a document: commands of console blocks, files of all others.
func lesson(text string) (steps []step, err error) {
	lang, before := "", "" // of the block that is open; the last line of prose
	for i, line := range strings.Split(text, "\n") {
		last := len(steps) - 1
		switch fence, is := strings.CutPrefix(line, "```"); {
		case is && lang != "":
			lang, before = "", ""
		case is && fence == "":
			return nil, fmt.Errorf("%d: a block without a language: console, or that of a file", i+1)
		case is:
			if lang = fence; lang == "console" {
				continue
			}
			at := named.FindStringSubmatch(before)
			if at == nil {
				return nil, fmt.Errorf("%d: no `file`: in front of the block", i+1)
			}
			steps = append(steps, step{line: i + 1, file: at[1]})
		case lang == "" && line != "":
			before = line
		case lang == "":
		case lang != "console":
			steps[last].text += line + "\n"
		case strings.HasPrefix(line, "$ "):
			steps = append(steps, step{line: i + 1, command: line[2:]})
		case last < 0 || steps[last].command == "":
			return nil, fmt.Errorf("%d: output before any command", i+1)
		default:
			steps[last].want = append(steps[last].want, line)
		}
	}
	if lang != "" {
		return nil, fmt.Errorf("%d: a block is not closed", strings.Count(text, "\n")+1)
	}
	return steps, nil
}

// pupil does what a document says, in an empty directory and on a manager of its own.
type pupil struct {
	root, dir string // dir is where the shell is
	env       []string
}

func newPupil(t *testing.T) *pupil {
	t.Helper()
	home := t.TempDir()
	p := &pupil{root: t.TempDir()}
	p.dir = p.root
	state := filepath.Join(home, "state")
	t.Cleanup(func() { down(t, state) })
	p.env = append(os.Environ(), "PATH="+programs+":"+os.Getenv("PATH"), "HOME="+home, "XDG_STATE_HOME="+state, "XDG_CACHE_HOME="+filepath.Join(home, "cache"),
		"CELL_MANAGER=embedded", "GOCACHE="+goEnv("GOCACHE"), "GOMODCACHE="+goEnv("GOMODCACHE"), "GOFLAGS=", "GOPROXY=off", "GOWORK=", "LC_ALL=C")
	return p
}

func (p *pupil) do(s step) error {
	if s.file != "" {
		path := filepath.Join(p.dir, s.file)
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			return err // the document would have to say that it is made
		}
		return os.WriteFile(path, []byte(s.text), 0o644)
	}
	// What the journal has comes a moment later.
	patience := time.Duration(0)
	if strings.HasPrefix(s.command, "cell logs ") {
		patience = time.Minute
	}
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if err := p.run(s); err == nil || time.Now().After(end) {
			return err
		}
	}
}

// run runs a command in the shell's directory. It has to fail where the document shows an error of cell or of the compiler, and only
// there.
func (p *pupil) run(s step) error {
	at := filepath.Join(p.root, ".at")
	c := exec.Command("bash", "-c", s.command+"\nstatus=$?; pwd > "+at+"; exit $status")
	var out bytes.Buffer
	c.Dir, c.Env, c.Stdout, c.Stderr = p.dir, p.env, &out, &out
	err := c.Run()
	if _, ended := err.(*exec.ExitError); err != nil && !ended {
		return err
	}
	got := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if out.Len() == 0 {
		got = nil
	}
	fails := false
	for _, line := range s.want {
		fails = fails || strings.HasPrefix(line, "cell: ") || strings.HasPrefix(line, "# ") || strings.HasPrefix(line, "break ")
	}
	if !same(s.want, got) || fails != (err != nil) {
		return fmt.Errorf("$ %s\n%s\n(%v), but the document has\n%s", s.command, strings.Join(got, "\n"), c.ProcessState, strings.Join(s.want, "\n"))
	}
	dir, err := os.ReadFile(at)
	p.dir = strings.TrimSuffix(string(dir), "\n")
	return err
}

var (
	took   = regexp.MustCompile(`(^|\s)[0-9.]+m?s(\s|$)`)
	spaces = regexp.MustCompile(`\s+`)
)

// same tells whether a command printed what a document has: "…" is any text, on a line of its own any lines. Times and how columns
// are aligned do not count.
func same(want, got []string) bool {
	switch {
	case len(want) == 0:
		return len(got) == 0
	case want[0] == "…":
		return same(want[1:], got) || len(got) > 0 && same(want, got[1:])
	case len(got) == 0:
		return false
	}
	level := func(line string) string {
		return strings.TrimSpace(spaces.ReplaceAllString(took.ReplaceAllString(line, "${1}TIME$2"), " "))
	}
	line := strings.ReplaceAll(regexp.QuoteMeta(level(want[0])), "…", ".*")
	return regexp.MustCompile("^"+line+"$").MatchString(level(got[0])) && same(want[1:], got[1:])
}
