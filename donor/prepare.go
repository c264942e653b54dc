package donor

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/donor/layout"
	"github.com/cell-network/cell/donor/medium"
	"github.com/cell-network/cell/donor/settings"
	"github.com/cell-network/cell/internal/durable"
)

// Prepare runs before everything that keeps state: it mounts the system partition to read, takes over the settings, and mounts the
// partition for data. What fails there keeps no machine from starting: it is said on the console.
func Prepare(ctx context.Context) error {
	if err := os.MkdirAll(boot, 0o700); err != nil {
		return err
	}
	var s State
	var problem error
	_, err := os.Stat(layout.Debug)
	s.Debug = err == nil
	if s.System, problem = medium.System(ctx, 30*time.Second); problem == nil && s.System != "" {
		problem = mountBoot(s.System)
	}
	if problem == nil {
		s.Settings, problem = read(s.System)
	}
	if problem != nil {
		s.Problem = problem.Error()
	}
	if err := keep(ctx, &s); err != nil {
		s.NoData = err.Error()
	}
	id, err := machineID(s.Device != "")
	if err != nil {
		return err
	}
	if s.Name = s.Settings.Name; s.Name == "" {
		s.Name = "donor-" + id[:6]
	}
	if err := takeOver(ctx, s); err != nil {
		s.Problem = err.Error() // said on the console, which is all that is left to say it
	}
	return s.save()
}

// mountBoot mounts a system partition to read.
func mountBoot(device string) error {
	if err := unix.Mount(device, boot, "vfat", unix.MS_RDONLY|unix.MS_NODEV|unix.MS_NOSUID|unix.MS_NOEXEC, "umask=0077"); err != nil {
		return fmt.Errorf("mount the system partition %s: %w", device, err)
	}
	return nil
}

// keep mounts the partition for data and puts what is kept on it.
func keep(ctx context.Context, s *State) error {
	named := s.Settings.Data.Disk
	disks, err := medium.Disks(ctx, s.System, named)
	if err != nil {
		return err
	}
	choice, err := medium.Choose(named, disks)
	if err != nil {
		return err
	}
	if s.Problem != "" && choice.Make != "" {
		return errors.New("no partition for data is made before donor.toml is right")
	}
	shape := shape(s.Settings)
	if choice.Make != "" && s.Settings.Data.Encrypted() {
		if shape.Encrypt, err = medium.TPM(ctx); err != nil {
			return fmt.Errorf("%w (encrypt = false below [data] of donor.toml does without)", err)
		}
	}
	device, err := medium.Make(ctx, choice, shape)
	if err != nil {
		return err
	}
	if s.Encrypted, err = medium.Mount(ctx, device, data); err != nil {
		return err
	}
	s.Device = device
	for _, k := range kept {
		from := filepath.Join(data, filepath.Base(k.path))
		for _, dir := range []string{from, k.path} {
			if err := os.MkdirAll(dir, k.mode); err != nil {
				return fmt.Errorf("keep %s: %w", k.path, err)
			}
		}
		if err := unix.Mount(from, k.path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("keep %s: %w", k.path, err)
		}
	}
	return nil
}

// shape is what the partition for data is to be, but for its encryption.
func shape(s settings.Settings) medium.Shape { return medium.Shape{Max: int64(s.Limits.Storage)} }

// machineID makes the machine the one that the data belongs to.
func machineID(keep bool) (string, error) {
	const file = "/etc/machine-id"
	stored := filepath.Join(data, "machine-id")
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	id := strings.TrimSpace(string(b))
	if old, err := os.ReadFile(stored); keep && err == nil && valid(strings.TrimSpace(string(old))) {
		id = strings.TrimSpace(string(old))
	} else if !valid(id) {
		r := make([]byte, 16)
		_, _ = rand.Read(r)
		id = hex.EncodeToString(r)
	}
	if keep {
		if err := write(stored, id+"\n"); err != nil {
			return "", err
		}
	}
	// systemd mounts a file of its own over it while it is not written.
	_ = unix.Unmount(file, unix.MNT_DETACH)
	return id, os.WriteFile(file, []byte(id+"\n"), 0o444)
}

func valid(id string) bool {
	b, err := hex.DecodeString(id)
	return err == nil && len(b) == 16
}

// write replaces a file as a whole, also when power is cut.
func write(file, text string) error {
	if old, err := os.ReadFile(file); err == nil && string(old) == text {
		return nil
	}
	return durable.Write(file, []byte(text), 0o644)
}

// takeOver puts name, network and limits in force.
func takeOver(ctx context.Context, s State) error {
	if err := os.WriteFile("/etc/hostname", []byte(s.Name+"\n"), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile("/etc/hosts", []byte("127.0.0.1 localhost\n::1 localhost\n127.0.1.1 "+s.Name+"\n"), 0o644); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(s.Name)); err != nil {
		return fmt.Errorf("call the machine %s: %w", s.Name, err)
	}
	if text := network(s.Settings.Network); text != "" {
		const file = "/run/systemd/network/70-donor.network" // before the image's own, by its name
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if limits := limits(s.Settings.Limits); len(limits) > 0 {
		if out, err := exec.CommandContext(ctx, "systemctl", append([]string{"set-property", "--runtime", "cell.slice"}, limits...)...).CombinedOutput(); err != nil {
			return fmt.Errorf("limit what cells get: %w: %s", err, out)
		}
	}
	return nil
}

// network is what systemd-networkd is told (systemd.network(5)).
func network(n settings.Network) string {
	if len(n.Address) == 0 && len(n.DNS) == 0 {
		return ""
	}
	b := "[Match]\nType=ether\n[Network]\nLinkLocalAddressing=ipv6\n"
	if len(n.Address) == 0 {
		b += "DHCP=yes\n"
	}
	for _, a := range n.Address {
		b += "Address=" + a + "\n"
	}
	if n.Gateway != "" {
		b += "Gateway=" + n.Gateway + "\n"
	}
	for _, d := range n.DNS {
		b += "DNS=" + d + "\n"
	}
	return b
}

// limits are the properties of the slice of all cells (systemd.resource-control(5)).
func limits(l settings.Limits) (out []string) {
	if l.CPU > 0 {
		out = append(out, fmt.Sprintf("CPUQuota=%.0f%%", l.CPU*100))
	}
	if l.Memory > 0 {
		out = append(out, fmt.Sprintf("MemoryMax=%d", l.Memory))
	}
	return out
}
