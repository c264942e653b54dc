package medium

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"golang.org/x/sys/unix"
)

// loaderVendor is the namespace of the boot loader interface's variables (systemd.io/BOOT_LOADER_INTERFACE).
const loaderVendor = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"

// driver is how long those of a slow machine may take to find their devices.
const driver = 30 * time.Second

// Variable reads a text that the boot menu left in a variable of the firmware; empty where there is none.
func Variable(name string) string {
	b, err := os.ReadFile("/sys/firmware/efi/efivars/" + name + "-" + loaderVendor)
	if err != nil || len(b) < 4 {
		return ""
	}
	return text(b[4:]) // after the attributes
}

// text decodes UTF-16 up to its end or a zero.
func text(b []byte) string {
	var u []uint16
	for ; len(b) >= 2; b = b[2:] {
		c := binary.LittleEndian.Uint16(b)
		if c == 0 {
			break
		}
		u = append(u, c)
	}
	return string(utf16.Decode(u))
}

// System finds the device of the system partition that the machine was started from, and waits for its driver so long. It is empty
// where the firmware names none, as after a start from the network.
func System(ctx context.Context, patience time.Duration) (string, error) {
	id := strings.ToLower(Variable("LoaderDevicePartUUID"))
	if id == "" {
		return "", nil
	}
	if strings.Trim(id, "0123456789abcdef-") != "" {
		return "", fmt.Errorf("the firmware names the partition %q", id)
	}
	// The partitions themselves are looked at: udev makes its links later.
	seen := map[string]bool{}
	for end := time.Now().Add(patience); ; {
		all, _ := filepath.Glob("/sys/class/block/*/partition")
		for _, p := range all {
			device := "/dev/" + filepath.Base(filepath.Dir(p))
			if seen[device] {
				continue
			}
			switch probe(ctx, device, "PART_ENTRY_UUID") {
			case id:
				return device, nil
			case "": // it is not there yet
			default:
				seen[device] = true
			}
		}
		if time.Now().After(end) {
			return "", fmt.Errorf("the medium that this was started from, with the partition %s, did not appear within %v", id, patience)
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// appear waits for a link of udev's.
func appear(ctx context.Context, link string, patience time.Duration) (string, error) {
	for end := time.Now().Add(patience); ; {
		if device, err := filepath.EvalSymlinks(link); err == nil {
			return device, nil
		}
		if time.Now().After(end) {
			return "", fmt.Errorf("%s did not appear within %v", link, patience)
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Size is what a disk or a partition holds now, in bytes; 0 where that cannot be told.
func Size(device string) int64 {
	b, err := os.ReadFile("/sys/class/block/" + filepath.Base(device) + "/size")
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n * 512
}

// Whole is the disk of a partition's device, and the device itself where it is none.
func Whole(device string) string {
	sys, err := filepath.EvalSymlinks("/sys/class/block/" + filepath.Base(device))
	if err != nil {
		return device
	}
	if _, err := os.Stat(filepath.Join(sys, "partition")); err != nil {
		return device
	}
	return "/dev/" + filepath.Base(filepath.Dir(sys))
}

// Disks lists the machine's. system is the device of the system partition, named a path from donor.toml; either may be empty.
func Disks(ctx context.Context, system, named string) ([]Disk, error) {
	blocks, err := os.ReadDir("/sys/class/block")
	if err != nil {
		return nil, fmt.Errorf("list disks: %w", err)
	}
	if named != "" {
		if named, err = appear(ctx, named, 10*time.Second); err != nil {
			named = "" // Choose says that it is not there
		}
	}
	var out []Disk
	for _, b := range blocks {
		dir := "/sys/class/block/" + b.Name()
		if _, err := os.Stat(dir + "/device"); err != nil { // partitions, loops, memory
			continue
		}
		d := Disk{Path: "/dev/" + b.Name()}
		d.Boot = system != "" && Whole(system) == d.Path
		d.Named = named == d.Path
		parts, _ := filepath.Glob(dir + "/" + b.Name() + "*/partition")
		for _, p := range parts {
			device := "/dev/" + filepath.Base(filepath.Dir(p))
			if probe(ctx, device, "PART_ENTRY_TYPE") == Type {
				d.Data = append(d.Data, device)
			}
		}
		if d.Named && !d.Boot && len(parts) == 0 {
			if d.Empty, err = Empty(ctx, d.Path); err != nil {
				return nil, err
			}
		}
		out = append(out, d)
	}
	return out, nil
}

// probe asks blkid for one thing of a device.
func probe(ctx context.Context, device, tag string) string {
	out, _ := exec.CommandContext(ctx, "blkid", "-p", "-o", "value", "-s", tag, device).Output()
	return strings.ToLower(strings.TrimSpace(string(out)))
}

// Empty tells whether a disk, or a file, has nothing on it: no signature that blkid knows, and zeroes alone in its first 16 MiB, in its
// last and in places between them.
func Empty(ctx context.Context, path string) (bool, error) {
	err := exec.CommandContext(ctx, "blkid", "-p", path).Run()
	var exit *exec.ExitError
	if err == nil || errors.As(err, &exit) && exit.ExitCode() != 2 { // 2: nothing was found (blkid(8))
		return false, nil
	} else if exit == nil {
		return false, fmt.Errorf("look what is on %s: %w", path, err)
	}
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return false, err
	}
	const head, piece, places = 16 << 20, 1 << 20, 64
	for at := int64(0); at < head; at += piece {
		if zero, err := zeroes(f, at, piece); !zero {
			return false, err
		}
	}
	for i := range int64(places) {
		if zero, err := zeroes(f, size/places*i, 64<<10); !zero {
			return false, err
		}
	}
	return zeroes(f, max(0, size-piece), piece)
}

func zeroes(f io.ReaderAt, at int64, n int) (bool, error) {
	b := make([]byte, n)
	n, err := f.ReadAt(b, at)
	if err != nil && err != io.EOF {
		return false, err
	}
	return len(bytes.Trim(b[:n], "\x00")) == 0, nil
}

// Shape is what the partition for data is to be.
type Shape struct {
	Max     int64 // in bytes; 0 is all the space there is
	Encrypt bool  // to the TPM of this computer
}

// definition is what systemd-repart makes (repart.d(5)).
func definition(s Shape) string {
	text := "[Partition]\nType=" + Type + "\nLabel=" + Label + "\nFormat=ext4\nSizeMinBytes=64M\n"
	if s.Max > 0 {
		// What it does not take stays free behind it, where it can grow; without padding the partition comes to lie at the disk's end.
		text += fmt.Sprintf("SizeMaxBytes=%d\nWeight=1000000\nPaddingWeight=1\n", s.Max)
	}
	if s.Encrypt {
		text += "Encrypt=tpm2\n"
	}
	return text
}

// Make makes the partition of a choice, or lets it grow into the free space behind it. It returns its device.
func Make(ctx context.Context, c Choice, shape Shape) (string, error) {
	disk, mode := c.Make, "refuse" // a partition table has to be there
	if c.Partition != "" {
		disk = Whole(c.Partition)
	}
	if c.Whole {
		mode = "require" // none may be there
	}
	err := repart(ctx, disk, mode, definition(shape))
	if c.Partition != "" {
		return c.Partition, nil // that it cannot grow is no reason not to use it
	}
	if err != nil {
		return "", fmt.Errorf("make the partition for data on %s: %w", disk, err)
	}
	// The kernel knows it now, udev a moment later.
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		parts, _ := filepath.Glob("/sys/class/block/" + filepath.Base(disk) + "/" + filepath.Base(disk) + "*/partition")
		for _, p := range parts {
			if device := "/dev/" + filepath.Base(filepath.Dir(p)); probe(ctx, device, "PART_ENTRY_TYPE") == Type {
				return device, nil
			}
		}
	}
	return "", fmt.Errorf("make the partition for data on %s: it does not appear", disk)
}

// repart makes the partition of a definition on a disk, or lets it grow. empty says what is done with a disk without a table (systemd-repart(8)).
func repart(ctx context.Context, disk, empty, definition string) error {
	dir, err := os.MkdirTemp("", "repart-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "data.conf"), []byte(definition), 0o644); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "systemd-repart", "--dry-run=no", "--definitions="+dir, "--empty="+empty, "--seed=random", disk).CombinedOutput()
	if err != nil {
		return fmt.Errorf("systemd-repart: %w\n%s", err, bytes.TrimSpace(out))
	}
	return nil
}

// Mount mounts the partition for data at a directory: it opens it where it is encrypted, repairs it after a power cut and lets the file
// system fill the partition.
func Mount(ctx context.Context, device, at string) (encrypted bool, err error) {
	if probe(ctx, device, "TYPE") == "crypto_luks" {
		if device, err = open(ctx, device); err != nil {
			return true, err
		}
		encrypted = true
	}
	out, err := exec.CommandContext(ctx, "e2fsck", "-p", device).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() >= 4 { // errors are left (e2fsck(8))
		return encrypted, fmt.Errorf("the partition for data, %s, is damaged: %s", device, bytes.TrimSpace(out))
	}
	if err := os.MkdirAll(at, 0o700); err != nil {
		return encrypted, err
	}
	if err := unix.Mount(device, at, "ext4", unix.MS_NOATIME|unix.MS_NODEV|unix.MS_NOSUID, ""); err != nil {
		return encrypted, fmt.Errorf("mount %s: %w", device, err)
	}
	return encrypted, Grow(ctx, at)
}

// TPM tells whether this computer has a TPM 2, and waits for its driver; it tells at once where the firmware speaks of none.
func TPM(ctx context.Context) (bool, error) {
	// MSFT0101 is how ACPI names a TPM 2 (TCG ACPI Specification).
	if said, _ := filepath.Glob("/sys/bus/acpi/devices/MSFT0101:*"); len(said) == 0 {
		return false, nil
	}
	if _, err := appear(ctx, "/dev/tpmrm0", driver); err != nil {
		return true, fmt.Errorf("use the TPM that the firmware names: %w", err)
	}
	return true, nil
}

// open opens an encrypted partition with the key that this computer's TPM gives out, and returns the device of what is inside.
func open(ctx context.Context, device string) (string, error) {
	if has, err := TPM(ctx); err != nil {
		return "", err
	} else if !has {
		return "", fmt.Errorf("%s is encrypted to a TPM, and this computer has none: start it in the computer where it was made", device)
	}
	out, err := exec.CommandContext(ctx, "/usr/lib/systemd/systemd-cryptsetup", "attach", Label, device, "-", "tpm2-device=auto,headless=true,discard").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s is encrypted, and this computer's TPM does not open it: it was made in another computer, or Secure Boot was switched since: %w\n%s", device, err, bytes.TrimSpace(out))
	}
	return appear(ctx, "/dev/mapper/"+Label, driver)
}

// Grow lets a mounted file system fill its partition.
func Grow(ctx context.Context, at string) error {
	if out, err := exec.CommandContext(ctx, "/usr/lib/systemd/systemd-growfs", at).CombinedOutput(); err != nil {
		return fmt.Errorf("grow %s: %w\n%s", at, err, bytes.TrimSpace(out))
	}
	return nil
}
