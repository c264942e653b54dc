package vmtests

import (
	"encoding/base64"
	"os"
	"strings"
	"testing"

	"github.com/cell-network/cell/gpu/nvml/nvmltest"
)

// The kernel keeps a cell to the devices that it was granted: the filter of its control group, which needs a kernel of one's own. The
// files have the numbers of NVIDIA's, for which there is no driver: what is let through is told "no such device", what is not is refused.
func init() {
	scenario("gpu", oneGuest, func(t *testing.T, g *guest) {
		library, err := nvmltest.Build(t.TempDir(), "NEW")
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(library)
		if err != nil {
			t.Fatal(err)
		}
		g.run("base64 -d > /usr/local/lib/libnvidia-ml.so.1 <<'END'\n" + base64.StdEncoding.EncodeToString(b) + "\nEND\n")
		g.run(`cd /dev && mknod -m 666 nvidia0 c 195 0 && mknod -m 666 nvidia1 c 195 1 && mknod -m 666 nvidiactl c 195 255 && mknod -m 666 nvidia-uvm c 234 0
for s in celld cell-gpu; do
	mkdir -p /run/systemd/system/$s.service.d
	printf '[Service]\nEnvironment=CELL_NVML=/usr/local/lib/libnvidia-ml.so.1 NVML_STUB=/run/nvml.stub\n' > /run/systemd/system/$s.service.d/stub.conf
done
systemctl daemon-reload && systemctl restart celld`)
		g.misfit("/srv/one", "", "[resources]\ngpu = { memory = \"8GB\" }")
		g.misfit("/srv/two", "", "[resources]\ngpu = { count = 1 }")
		g.misfit("/srv/plain", "", "")
		explained := strings.Join(strings.Fields(g.run("cell explain one")), " ")
		if want := "gpu 1 with 8G its /dev, DeviceAllow yes: GPU-00000000-0000-0000-0000-000000000000"; !strings.Contains(explained, want) {
			t.Errorf("cell explain has no %q:\n%s", want, explained)
		}
		g.says("cell gpu", "one", "two", "taken")
		g.until("the driver bounds the memory of a cell", "journalctl -u celld")

		// A process of root in the cell's control group, outside of its membrane.
		try := func(cell string) map[string]string {
			out := map[string]string{}
			for _, n := range []string{"nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"} {
				text, _ := g.try("sh -c 'echo $$ > /sys/fs/cgroup'$(systemctl show -P ControlGroup cell@" + cell + ".service)'/cgroup.procs && exec 3<>/dev/" + n + "' 2>&1")
				out[n] = strings.TrimSpace(text[strings.LastIndex(text, ":")+1:])
			}
			return out
		}
		const through, refused = "No such device or address", "Operation not permitted"
		holds := func(when string) {
			t.Helper()
			for cell, want := range map[string]map[string]string{
				"one": {"nvidia0": through, "nvidia1": refused, "nvidiactl": through, "nvidia-uvm": through, "null": ""},
				"two": {"nvidia0": refused, "nvidia1": through, "nvidiactl": through, "nvidia-uvm": through, "null": ""},
			} {
				for n, got := range try(cell) {
					if got != want[n] {
						t.Errorf("%s: %s opens %s: %q, want %q", when, cell, n, got, want[n])
					}
				}
			}
		}
		holds("at first")
		g.run("systemctl daemon-reload")
		holds("after a reload of systemd")
		g.run("systemctl restart celld cell-gpu && systemctl restart cell@one.service")
		holds("after a restart of all")
		if got := try("plain")["nvidia0"]; got != through {
			t.Errorf("a cell without a filter: %q; it proves nothing", got)
		}
	})
}
