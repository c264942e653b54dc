package mesh

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// One tree is started on two machines: each runs what is not pinned to the other, and calls go where the cell is.
func TestPin(t *testing.T) {
	r := newRig(t)
	a, b := r.node("a"), r.node("b")
	join(a, b)
	files := map[string]string{
		"cell.toml":     "[cell]\nname = \"shop\"\nspeaks = \"http\"\nport = 8000\nexec = [\"/usr/bin/python3\", \"web.py\"]\n[cells]\ndb = {}\n[needs]\ndb = { path = \"db\", at = \"db:8000\" }\n[place]\npin = \"b\"\n",
		"web.py":        "import http.server, urllib.request\nclass H(http.server.BaseHTTPRequestHandler):\n def do_GET(self):\n  try: t = urllib.request.urlopen('http://db:8000/').read()\n  except OSError as e: t = str(e).encode()\n  self.send_response(200); self.end_headers(); self.wfile.write(t)\nhttp.server.HTTPServer(('127.0.0.1', 8000), H).serve_forever()\n",
		"db/cell.toml":  "[cell]\nspeaks = \"http\"\nport = 8000\nexec = [\"/usr/bin/python3\", \"-m\", \"http.server\", \"--bind\", \"127.0.0.1\", \"-d\", \"data\"]\n",
		"db/index.html": "",
	}
	for _, n := range []*node{a, b} {
		dir := filepath.Join(n.state, "shop")
		for name, text := range files {
			if n == a && name == "cell.toml" { // on a, the root is a's and the child b's
				text = strings.Replace(text, "[place]\npin = \"b\"", "[place]\npin = \"a\"", 1)
			}
			if name == "db/cell.toml" {
				text += "[place]\npin = \"b\"\n"
			}
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = os.MkdirAll(filepath.Join(b.state, "shop/db/data"), 0o755)
	if err := os.WriteFile(filepath.Join(b.state, "shop/db/data/index.html"), []byte("from b"), 0o644); err != nil {
		t.Fatal(err)
	}
	// On b the whole tree runs; the root that is a's is left out there once it says so.
	b.cell("mitosis", b.state+"/shop")
	if out := a.cell("mitosis", a.state+"/shop"); !strings.Contains(out, "shop: 1 cell ready") {
		t.Errorf("mitosis on a: %s", out)
	}
	if out := a.cell("status"); strings.Contains(out, "db") {
		t.Errorf("on a there is: %s", out)
	}
	r.eventually("the child on b answers its parent on a", func() bool { return strings.Contains(a.ask("shop", "/"), "from b") })

	// Pinned to a machine that does not exist, and nothing is left of the tree.
	text := strings.Replace(files["cell.toml"], `pin = "b"`, `pin = "nowhere"`, 1)
	if err := os.WriteFile(filepath.Join(a.state, "shop/cell.toml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := a.try("mitosis", a.state+"/shop"); err == nil || !strings.Contains(out, "shop is pinned to nowhere, and this machine is a") {
		t.Errorf("mitosis of a tree that is all elsewhere: %s %v", out, err)
	}
}
