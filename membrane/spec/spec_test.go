package spec

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestArgs(t *testing.T) {
	for _, s := range []Spec{
		{Name: "web", Dir: "/srv/web", Program: []string{"/bin/true"}},
		{
			Name: "shop.web:2", Dir: "/home/a b/web", Read: []string{"/etc/nginx"}, Write: []string{"/srv/m=1"},
			Show: []string{"/opt/x"}, Broker: "/run/cell/broker", Env: []string{"A", "B"}, Needs: []Need{{"cache", "redis", 6379}, {"db", "db", 5432}}, Notify: true, Internet: true, Root: true, Foreign: true,
			Hosts: []string{"api.example.org:443", "[2001:db8::1]:80"}, Health: &Health{HTTP: "/a;b?c=$d", Command: []string{"a b", "", "&="}, Port: 80, Interval: time.Second, Timeout: time.Minute, Failures: 3, Grace: time.Hour},
			Port: 80, When: "port", Program: []string{"/opt/x", "-v", "", "--", "--name=no"},
		},
		{Name: "web", Dir: "/srv/$x;y%z", Ready: true, Needs: []Need{{"cache", "redis", 6379}}, Program: []string{"/srv/$x/run", "$HOME", "a;b", "100 %", "+", "ä"}},
	} {
		args := s.Args()
		got, err := Parse(args)
		if err != nil {
			t.Errorf("%q: %v", args, err)
			continue
		}
		if !reflect.DeepEqual(*got, s) {
			t.Errorf("%q\nis read as %+v\nwant       %+v", args, *got, s)
		}
		for _, a := range args {
			if strings.ContainsAny(a, "$;") {
				t.Errorf("systemd would change %q", a)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"": "--name is missing", "--name=x": "--dir is missing", "--name=x --dir=/": "--dir is missing", "--name=x --dir=/a": "the program is missing",
		"--name=x --dir=a -- /b": "not a clean absolute path", "--name=x --dir=/a/../b -- /b": "not a clean absolute path", "--name=x --dir=/a --read=b -- /b": "not a clean absolute path",
		"--name=x --dir=/a -- b": "the program is missing", "--name=x --dir=/a --port=99999 -- /b": "is no port", "--nme=x": "not defined",
		"--escaped --name=x --dir=/a -- /b %zz": "invalid URL escape",
	} {
		if _, err := Parse(strings.Fields(args)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}

func FuzzArgs(f *testing.F) {
	f.Add("web", "/srv/web", "/bin/true", "$x;%")
	f.Fuzz(func(t *testing.T, name, dir, program, arg string) {
		s := Spec{Name: name, Dir: dir, Program: []string{program, arg}}
		for _, x := range []string{name, dir, program, arg} {
			if strings.ContainsRune(x, 0) {
				return
			}
		}
		got, err := Parse(s.Args())
		if err != nil {
			return // what is refused is refused
		}
		if !reflect.DeepEqual(*got, s) {
			t.Errorf("%q is read as %+v, want %+v", s.Args(), *got, s)
		}
	})
}

func TestHostUser(t *testing.T) {
	for _, root := range []bool{false, true} {
		uid := HostUser("shop.web:2", root)
		if !IsHostUser(uid) || uid != HostUser("shop.web:2", root) || uid == HostUser("shop.web", root) || root && (uid%IDs != 0 || !IsHostUser(uid+IDs-1)) {
			t.Errorf("root %v: %d", root, uid)
		}
	}
	for _, uid := range []int{0, 1000, 61184, 65534, 524288, 1879048191, 1 << 31} {
		if IsHostUser(uid) {
			t.Errorf("%d belongs to others", uid)
		}
	}
}
