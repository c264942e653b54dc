// Package disk makes the image of a medium that firmware starts from: a GPT with an EFI system partition, which has the boot menu, the
// images to start and what a person may edit. The same content makes the same bytes.
package disk

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/disk"
	"github.com/diskfs/go-diskfs/filesystem"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"
	"github.com/diskfs/go-diskfs/partition/gpt"
)

// epoch is the variable with the time that stands in what is made (reproducible-builds.org).
const epoch = "SOURCE_DATE_EPOCH"

// File is one of the system partition: From is its path here, or Text what is in it.
type File struct {
	Name string // with slashes, from the partition's root
	From string
	Text string
}

const (
	mib = 1 << 20
	// Two images of 100 MB with room to spare; clusters of a partition of this size are 4 KiB, with which firmware reads fast.
	espSize = 512 * mib
	start   = mib
	sector  = 512
	espName = "cell-boot"
)

// Write makes the image at to, which must not exist.
func Write(to string, files []File) (err error) {
	if _, err := os.Lstat(to); err == nil {
		return fmt.Errorf("%s is there already", to)
	}
	defer stamp()()
	diskID, espID, err := identities(files)
	if err != nil {
		return err
	}
	d, err := diskfs.Create(to, start+espSize+mib, diskfs.SectorSizeDefault)
	if err != nil {
		return fmt.Errorf("make the disk: %w", err)
	}
	defer func() {
		if cerr := d.Close(); err == nil && cerr != nil {
			err = cerr
		}
		if err != nil {
			_ = os.Remove(to)
		}
	}()
	table := &gpt.Table{LogicalSectorSize: sector, PhysicalSectorSize: sector, ProtectiveMBR: true, GUID: diskID, Partitions: []*gpt.Partition{{
		Index: 1, Start: start / sector, End: (start+espSize)/sector - 1, Size: espSize, Type: gpt.EFISystemPartition, Name: espName, GUID: espID,
	}}}
	if err := d.Partition(table); err != nil {
		return fmt.Errorf("divide the disk: %w", err)
	}
	return fill(d, 1, files)
}

// System finds the system partition of a medium that Write made, a device or a file: where it begins, in bytes.
func System(medium string) (offset int64, err error) {
	d, err := diskfs.Open(medium, diskfs.WithOpenMode(diskfs.ReadOnly))
	if err != nil {
		return 0, fmt.Errorf("open the medium: %w", err)
	}
	defer d.Close()
	table, err := d.GetPartitionTable()
	if err != nil {
		return 0, fmt.Errorf("%s is no medium of a donor: %w", medium, err)
	}
	for _, p := range table.GetPartitions() {
		if g, ok := p.(*gpt.Partition); ok && g.Name == espName && g.Type == gpt.EFISystemPartition {
			return g.GetStart(), nil
		}
	}
	return 0, fmt.Errorf("%s is no medium of a donor: it has no partition %s", medium, espName)
}

// stamp sets the time that go-diskfs gives files, which comes from the environment alone, and returns what takes it back. FAT knows none before 1980.
func stamp() func() {
	if _, set := os.LookupEnv(epoch); set || os.Setenv(epoch, "315619200") != nil {
		return func() {}
	}
	return func() { _ = os.Unsetenv(epoch) }
}

// fill makes the system partition, or the whole of a disk where its number is 0, with files.
func fill(d *disk.Disk, partition int, files []File) error {
	fs, err := d.CreateFilesystem(disk.FilesystemSpec{Partition: partition, FSType: filesystem.TypeFat32, VolumeLabel: "CELL", Reproducible: true})
	if err != nil {
		return fmt.Errorf("make the system partition: %w", err)
	}
	made := map[string]bool{}
	for _, f := range files {
		for dir := ""; ; {
			rest := strings.TrimPrefix(strings.TrimPrefix(f.Name, dir), "/")
			next, _, more := strings.Cut(rest, "/")
			if !more {
				break
			}
			if dir = path.Join(dir, next); !made[dir] {
				if err := fs.Mkdir(dir); err != nil {
					return fmt.Errorf("make %s: %w", dir, err)
				}
				made[dir] = true
			}
		}
		if err := put(fs, f); err != nil {
			return fmt.Errorf("write %s: %w", f.Name, err)
		}
	}
	return nil
}

// WriteCD makes the image of a CD at to, which must not exist, from which firmware starts the files as from a system partition (El
// Torito). work is a directory for what is made on the way.
func WriteCD(to, work string, files []File) (err error) {
	if _, err := os.Lstat(to); err == nil {
		return fmt.Errorf("%s is there already", to)
	}
	defer stamp()()
	var size int64
	for _, f := range files {
		if st, err := os.Stat(f.From); err == nil {
			size += st.Size()
		}
	}
	size = max(size+size/64+4*mib, 40*mib) // its tables; less is no FAT32
	size -= size % mib
	dir, err := os.MkdirTemp(work, "cd-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	d, err := diskfs.Create(filepath.Join(dir, "efi.img"), size, diskfs.SectorSizeDefault)
	if err != nil {
		return fmt.Errorf("make the system partition: %w", err)
	}
	if err := errors.Join(fill(d, 0, files), d.Close()); err != nil {
		return err
	}
	cd, err := diskfs.Create(to, size+mib, diskfs.SectorSizeDefault)
	if err != nil {
		return fmt.Errorf("make the CD: %w", err)
	}
	defer func() {
		if err = errors.Join(err, cd.Close()); err != nil {
			_ = os.Remove(to)
		}
	}()
	cd.LogicalBlocksize = 2048
	fs, err := cd.CreateFilesystem(disk.FilesystemSpec{Partition: 0, FSType: filesystem.TypeISO9660, VolumeLabel: "CELL", WorkDir: dir})
	if err != nil {
		return fmt.Errorf("make the CD: %w", err)
	}
	iso, ok := fs.(*iso9660.FileSystem)
	if !ok {
		return fmt.Errorf("make the CD: it is a %T", fs)
	}
	entry := &iso9660.ElToritoEntry{Platform: iso9660.EFI, Emulation: iso9660.NoEmulation, BootFile: "efi.img"}
	entry.SetLoadSize(0) // to its end: the field is too small for it
	epoch, err := strconv.ParseInt(os.Getenv(epoch), 10, 64)
	if err != nil {
		return fmt.Errorf("read the time of %s: %w", to, err)
	}
	at := time.Unix(epoch, 0).UTC()
	for _, f := range []string{filepath.Join(dir, "efi.img"), dir} {
		if err := os.Chtimes(f, at, at); err != nil {
			return err
		}
	}
	if err := iso.Finalize(iso9660.FinalizeOptions{VolumeIdentifier: "CELL", ElTorito: &iso9660.ElTorito{HideBootCatalog: true, Entries: []*iso9660.ElToritoEntry{entry}}}); err != nil {
		return fmt.Errorf("make the CD: %w", err)
	}
	return stampCD(to, at)
}

// stampCD sets the four times of a CD's primary volume descriptor (ECMA-119, 8.4.26 to 8.4.29), for which go-diskfs takes the present.
func stampCD(cd string, at time.Time) error {
	const descriptor, times = 16 * 2048, 813
	f, err := os.OpenFile(cd, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(strings.Repeat(at.Format("20060102150405")+"00\x00", 4)), descriptor+times)
	return errors.Join(err, f.Close())
}

// identities are those of a disk and of its system partition: of the same content always the same, of another one others, so that a
// machine with two media knows which it was started from (RFC 9562, version 8).
func identities(files []File) (disk, esp string, err error) {
	h := sha256.New()
	for _, f := range files {
		fmt.Fprintf(h, "%q %q\n", f.Name, f.Text)
		if f.From == "" {
			continue
		}
		in, err := os.Open(f.From)
		if err != nil {
			return "", "", err
		}
		_, err = io.Copy(h, in)
		if err := errors.Join(err, in.Close()); err != nil {
			return "", "", err
		}
	}
	sum := h.Sum(nil)
	uuid := func(b []byte) string {
		b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
		return strings.ToUpper(fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16]))
	}
	return uuid(sum[:16]), uuid(sum[16:]), nil
}

func put(fs filesystem.FileSystem, f File) error {
	var from io.Reader = strings.NewReader(f.Text)
	if f.From != "" {
		in, err := os.Open(f.From)
		if err != nil {
			return err
		}
		defer in.Close()
		from = in
	}
	out, err := fs.OpenFile(f.Name, os.O_CREATE|os.O_RDWR)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, from); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}
