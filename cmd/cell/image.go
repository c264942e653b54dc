package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/cell-network/cell/imager"
	"github.com/cell-network/cell/imager/tree"
)

func newImage() *cobra.Command {
	c := &cobra.Command{
		Use: "image", Short: "Make an image that boots as a donor", Args: args(0, 0, "a command"),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	var output, deb, release, kernel string
	build := &cobra.Command{
		Use: "build", Short: "Build the image of a disk", Args: args(0, 0, "no arguments"),
		Long: `Build the image of a disk, for a stick, a disk or a virtual machine with UEFI. It needs root, mmdebstrap and
mksquashfs, and reaches Debian's servers.`,
		Example: "  sudo cell image build --package cell_0.1.0_amd64.deb -o donor.img",
		RunE: func(c *cobra.Command, _ []string) error {
			if deb == "" {
				return errors.New("image build: --package is missing: the path of Cell's .deb")
			}
			deb, err := filepath.Abs(deb)
			if err != nil {
				return err
			}
			self, err := os.Executable()
			if err != nil {
				return err
			}
			work, err := os.MkdirTemp("", "cell-image-")
			if err != nil {
				return err
			}
			defer os.RemoveAll(work)
			err = imager.Build(c.Context(), imager.Spec{
				Tree: tree.Spec{Release: release, Kernel: kernel, Package: deb}, Init: filepath.Join(filepath.Dir(self), "cell-init"), Output: output, Work: work,
			}, func(step string) { fmt.Fprintln(c.ErrOrStderr(), "  "+step) })
			if err != nil {
				return fmt.Errorf("image build: %w", err)
			}
			return nil
		},
	}
	build.Flags().StringVarP(&output, "output", "o", "donor.img", "the image")
	build.Flags().StringVar(&deb, "package", "", "path of Cell's .deb")
	build.Flags().StringVar(&release, "release", "bookworm", "release of Debian")
	build.Flags().StringVar(&kernel, "kernel", "linux-image-amd64", "package of the kernel")
	c.AddCommand(build)
	return c
}
