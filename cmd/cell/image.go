package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cell-network/cell/donor/settings"
	"github.com/cell-network/cell/donor/statement"
	"github.com/cell-network/cell/imager"
	"github.com/cell-network/cell/imager/tree"
)

func newImage() *cobra.Command {
	c := &cobra.Command{
		Use: "image", Short: "Make an image that boots as a donor", Args: args(0, 0, "a command"),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newImageBuild(), newImageUpdate())
	return c
}

func newImageUpdate() *cobra.Command {
	var key string
	c := &cobra.Command{
		Use: "update MEDIUM IMAGE.efi", Short: "Put a newer image on a medium", Args: args(2, 2, "a medium and an image"),
		Long: `Put a newer image on a medium of a donor that is switched off, a device or a file. Its name, its
settings and its data stay. IMAGE.efi.sig beside the image has to be signed by the key.

The image is on trial: where it does not come to work within three starts, the one before it is
started again. A donor that runs updates itself where donor.toml says from where.`,
		Example: "  sudo cell image update /dev/sdX donor.efi --update-key update.pem",
		RunE: func(c *cobra.Command, words []string) error {
			number, err := updateImage(c, words[0], words[1], key)
			if err != nil {
				return fmt.Errorf("image update: %w", err)
			}
			fmt.Fprintf(c.OutOrStdout(), "image %d is on %s, and is started next\n", number, words[0])
			return nil
		},
	}
	c.Flags().StringVar(&key, "update-key", "", "key of Ed25519 in PEM, private or public, that has signed the image")
	return c
}

func updateImage(c *cobra.Command, medium, image, keyFile string) (uint64, error) {
	if keyFile == "" {
		return 0, errors.New("--update-key is missing: the key that has signed the image")
	}
	text, err := os.ReadFile(keyFile)
	if err != nil {
		return 0, err
	}
	key, err := statement.ParsePublicKey(text)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", keyFile, err)
	}
	return imager.Update(c.Context(), medium, image, key)
}

func newImageBuild() *cobra.Command {
	var deb, release, kernel, updateKey string
	var spec imager.Spec
	c := &cobra.Command{
		Use: "build", Short: "Build an image", Args: args(0, 0, "no arguments"),
		Long: `Build an image from which a computer with UEFI starts as a donor. The end of the name says what is
made, and -o may be given several times:

  .img    the bytes of a disk, for a stick or a disk
  .qcow2  a disk for QEMU; needs qemu-img
  .efi    one file that firmware or a boot server starts, and by which "[update] from" of
          donor.toml replaces an older one; with --update-key its signature lies beside it
  .iso    a CD, or a stick of a virtual machine; nothing on it can be edited

It needs root, mmdebstrap and mksquashfs, and reaches Debian's servers. The root is kept, so that
the next image of the same release and package takes seconds.`,
		Example: "  sudo cell image build --package cell_0.1.0_amd64.deb --join - -o donor.img <token",
		RunE: func(c *cobra.Command, _ []string) error {
			if deb == "" {
				return errors.New("image build: --package is missing: the path of Cell's .deb, amd64 or arm64")
			}
			if err := buildImage(c, spec, tree.Spec{Release: release, Kernel: kernel, Package: deb}, updateKey); err != nil {
				return fmt.Errorf("image build: %w", err)
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringArrayVarP(&spec.Outputs, "output", "o", []string{"donor.img"}, "the image; its end says what kind it is")
	f.StringVar(&deb, "package", "", "path of Cell's .deb, amd64 or arm64")
	f.StringVar(&spec.Settings.Join, "join", "", "token with which the machine joins a tissue (- reads it from standard input)")
	f.StringVar(&spec.Settings.Name, "name", "", "what the machine is called (default donor- and a part of its id)")
	f.StringVar(&spec.Settings.Update.From, "update-from", "", "address at which newer images are found")
	f.StringVar(&updateKey, "update-key", "", "private key of Ed25519 in PEM, which signs this image and those that may replace it")
	f.StringArrayVar(&spec.Trees, "tree", nil, "directory of a tree of cells, built, that runs there")
	f.StringVar(&spec.SecureBoot.Key, "secure-boot-key", "", "private key in PEM that signs what the firmware starts; needs sbsign")
	f.StringVar(&spec.SecureBoot.Certificate, "secure-boot-cert", "", "its certificate in PEM")
	f.Uint64Var(&spec.Version, "number", 0, "number of the image, higher than those that it replaces (default from the time)")
	f.BoolVar(&spec.Debug, "debug", false, "with a root shell on the second console and the serial line")
	f.BoolVar(&spec.Anew, "anew", false, "make the root anew, with the packages of today")
	f.StringVar(&release, "release", "bookworm", "release of Debian")
	f.StringVar(&kernel, "kernel", "", "package of the kernel (default linux-image- and the architecture of --package)")
	c.MarkFlagsRequiredTogether("secure-boot-key", "secure-boot-cert")
	return c
}

func buildImage(c *cobra.Command, spec imager.Spec, root tree.Spec, updateKey string) error {
	var err error
	if root.Package, err = filepath.Abs(root.Package); err != nil {
		return err
	}
	spec.Tree = root
	if spec.Settings.Join == "-" {
		line, err := bufio.NewReader(c.InOrStdin()).ReadString('\n')
		if spec.Settings.Join = strings.TrimSpace(line); spec.Settings.Join == "" {
			return fmt.Errorf("read the token: %w", err)
		}
	}
	if _, err := settings.Parse([]byte(settings.Template(spec.Settings))); err != nil {
		return err
	}
	if updateKey != "" {
		text, err := os.ReadFile(updateKey)
		if err != nil {
			return err
		}
		if spec.UpdateKey, err = statement.PrivateKey(text); err != nil {
			return fmt.Errorf("%s: %w", updateKey, err)
		}
	}
	if spec.Version == 0 {
		at := time.Now()
		if epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
			at = time.Unix(epoch, 0)
		}
		if spec.Version, err = strconv.ParseUint(at.UTC().Format("20060102150405"), 10, 64); err != nil {
			return err
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	spec.Cache = filepath.Join(cache, "cell", "images")
	if spec.Work, err = os.MkdirTemp("", "cell-image-"); err != nil {
		return err
	}
	defer os.RemoveAll(spec.Work)
	return imager.Build(c.Context(), spec, func(step string) { fmt.Fprintln(c.ErrOrStderr(), "  "+step) })
}
