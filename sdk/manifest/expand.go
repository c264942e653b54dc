package manifest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Expand writes ${NAME} as the value that get has for the name, and $$ as a dollar. Any other dollar stays as it is, so that
// Literal's text comes out unchanged. It fails for a name that get does not know, and for "${" without a name and a brace.
func Expand(text string, get func(name string) (string, bool)) (string, error) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "$")
		b.WriteString(before)
		switch {
		case !found:
			return b.String(), nil
		case strings.HasPrefix(rest, "$"):
			b.WriteByte('$')
			text = rest[1:]
		case !strings.HasPrefix(rest, "{"):
			b.WriteByte('$')
			text = rest
		default:
			name, after, closed := strings.Cut(rest[1:], "}")
			if !closed || !envForm.MatchString(name) {
				return "", errors.New(`"${" does not begin the name of a variable`)
			}
			value, ok := get(name)
			if !ok {
				return "", fmt.Errorf("there is no variable %s", name)
			}
			b.WriteString(value)
			text = after
		}
	}
}

// Literal is the text that Expand makes s of.
func Literal(s string) string { return strings.ReplaceAll(s, "$", "$$") }

// SecretsDir is where a cell's program finds its secrets, a file each.
const SecretsDir = "/run/credentials"

// Variables are those that exec and env of an instance may name: Cell's own, and in exec those of env too. See Command and Environ.
func (m *Manifest) variables(instance string) map[string]string {
	v := map[string]string{"CELL_NAME": instance, "CELL_DIR": m.Dir}
	if m.Port > 0 {
		v["PORT"] = strconv.Itoa(m.Port)
	}
	return v
}

// Environ is the environment that the manifest gives an instance of the cell: Cell's variables and those of env, with what env names
// of the former filled in. Instance is a full name, with ":N" from the second replica on.
func (m *Manifest) Environ(instance string) (map[string]string, error) {
	own := m.variables(instance)
	own["secrets"] = SecretsDir
	all := m.variables(instance)
	for name, value := range m.fileEnv {
		all[name] = value
	}
	for name, text := range m.Env {
		value, err := Expand(text, lookup(own))
		if err != nil {
			return nil, fmt.Errorf("env: %s: %w", name, err)
		}
		all[name] = value
	}
	return all, nil
}

// Arguments are those of the program of an instance, without the program itself, with the variables of Environ filled in.
func (m *Manifest) Arguments(instance string) ([]string, error) {
	env, err := m.Environ(instance)
	if err != nil {
		return nil, err
	}
	env["secrets"] = SecretsDir
	args := make([]string, 0, len(m.Exec))
	for _, text := range m.Exec[1:] {
		arg, err := Expand(text, lookup(env))
		if err != nil {
			return nil, fmt.Errorf("exec: %w", err)
		}
		args = append(args, arg)
	}
	return args, nil
}

func lookup(m map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		v, ok := m[name]
		return v, ok
	}
}
