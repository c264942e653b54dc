// Package pb is what protobuf-go and vtprotobuf make of codec.proto: go run ./gen in the folder above.
package pb
