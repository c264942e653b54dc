// Package cuda puts a load on a device, for gpu/verify. It calls CUDA's driver library, which it loads when it runs: to build it nothing of
// NVIDIA's is needed.
package cuda
