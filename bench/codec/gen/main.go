// Command gen makes the code of the rivals, and Cell's own, without protoc: go run ./gen in bench/codec.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"github.com/cell-network/cell/sdk/gen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

const file = "codec.proto"

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run() error {
	files, err := descriptors()
	if err != nil {
		return err
	}
	for plugin, parameter := range map[string]string{
		"google.golang.org/protobuf/cmd/protoc-gen-go": "paths=source_relative",
		"github.com/planetscale/vtprotobuf/cmd/protoc-gen-go-vtproto": "paths=source_relative," +
			"features=marshal+unmarshal+unmarshal_unsafe+size+pool,pool=github.com/cell-network/cell/bench/codec/pb.Order," +
			"pool=github.com/cell-network/cell/bench/codec/pb.Line",
	} {
		if err := generate(plugin, parameter, files); err != nil {
			return fmt.Errorf("%s: %w", plugin, err)
		}
	}
	_, err = gen.Build(".", "codec", "1.0.0")
	return err
}

// descriptors are those of the file and of what it imports, in the order that plugins want.
func descriptors() ([]*descriptorpb.FileDescriptorProto, error) {
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{"pb"}}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	compiled, err := compiler.Compile(context.Background(), file)
	if err != nil {
		return nil, err
	}
	var files []*descriptorpb.FileDescriptorProto
	imports := compiled[0].Imports()
	for i := range imports.Len() {
		files = append(files, protodesc.ToFileDescriptorProto(imports.Get(i).FileDescriptor))
	}
	return append(files, protoutil.ProtoFromFileDescriptor(protoreflect.FileDescriptor(compiled[0]))), nil
}

// generate runs a plugin as protoc would.
func generate(plugin, parameter string, files []*descriptorpb.FileDescriptorProto) error {
	request, err := proto.Marshal(&pluginpb.CodeGeneratorRequest{FileToGenerate: []string{file}, Parameter: &parameter, ProtoFile: files})
	if err != nil {
		return err
	}
	c := exec.Command("go", "run", plugin)
	c.Stdin, c.Stderr = bytes.NewReader(request), os.Stderr
	answer, err := c.Output()
	if err != nil {
		return err
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(answer, &response); err != nil {
		return err
	}
	if response.Error != nil {
		return fmt.Errorf("%s", response.GetError())
	}
	for _, f := range response.File {
		if err := os.WriteFile(filepath.Join("pb", f.GetName()), []byte(f.GetContent()), 0o644); err != nil {
			return err
		}
	}
	return nil
}
