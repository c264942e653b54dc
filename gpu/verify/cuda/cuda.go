//go:build cgo

package cuda

/*
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

typedef uint64_t pointer;
static void *library;
static int missing;

static int load(const char *path) { library = dlopen(path, RTLD_NOW | RTLD_GLOBAL); return library != NULL; }
static int lacks(void) { return missing; }
static const char *why(void) { return dlerror(); }

// CALL calls a function of the library; 3 is CUDA_ERROR_NOT_INITIALIZED, which stands for one that is not there.
#define CALL(name, types, ...) \
	int (*f) types = (int (*) types)dlsym(library, name); \
	if (!f) { missing = 1; return 3; } \
	return f(__VA_ARGS__)

static int init(void) { CALL("cuInit", (unsigned), 0); }
static int count(int *n) { CALL("cuDeviceGetCount", (int *), n); }
static int device(int *d, int i) { CALL("cuDeviceGet", (int *, int), d, i); }
static int context(void **c, int d) { CALL("cuCtxCreate_v2", (void **, unsigned, int), c, 0, d); }
static int alloc(pointer *p, size_t n) { CALL("cuMemAlloc_v2", (pointer *, size_t), p, n); }
static int fill(pointer p, unsigned v, size_t words) { CALL("cuMemsetD32_v2", (pointer, unsigned, size_t), p, v, words); }
static int copy(void *to, pointer from, size_t n) { CALL("cuMemcpyDtoH_v2", (void *, pointer, size_t), to, from, n); }
static int synchronize(void) { CALL("cuCtxSynchronize", (void)); }
static int module(void **m, const void *ptx) { CALL("cuModuleLoadData", (void **, const void *), m, ptx); }
static int function(void **f_, void *m, const char *name) { CALL("cuModuleGetFunction", (void **, void *, const char *), f_, m, name); }
static int launch(void *kernel, unsigned blocks, unsigned threads, pointer out, unsigned rounds)
{
	void *args[] = {&out, &rounds};
	CALL("cuLaunchKernel", (void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **, void **),
		kernel, blocks, 1, 1, threads, 1, 1, 0, NULL, args, NULL);
}
*/
import "C"

import (
	"fmt"
	"os"
	"time"
	"unsafe"
)

// ptx multiplies and adds without end that anybody would wait for; it is translated by the driver.
const ptx = `.version 6.0
.target sm_50
.address_size 64
.visible .entry spin(.param .u64 out, .param .u32 rounds)
{
	.reg .pred %p<2>;
	.reg .f32 %f<4>;
	.reg .u32 %r<4>;
	.reg .u64 %rd<4>;
	ld.param.u64 %rd1, [out];
	ld.param.u32 %r1, [rounds];
	mov.u32 %r2, 0;
	mov.f32 %f1, 0f3F800000;
	mov.f32 %f2, 0f3F7FFFFE;
again:
	fma.rn.f32 %f1, %f1, %f2, %f2;
	fma.rn.f32 %f1, %f1, %f2, %f2;
	fma.rn.f32 %f1, %f1, %f2, %f2;
	fma.rn.f32 %f1, %f1, %f2, %f2;
	add.u32 %r2, %r2, 1;
	setp.lt.u32 %p1, %r2, %r1;
	@%p1 bra again;
	cvta.to.global.u64 %rd2, %rd1;
	st.global.f32 [%rd2], %f1;
	ret;
}
`

// Load is a context on the first device that is visible.
type Load struct{ kernel unsafe.Pointer }

func check(what string, code C.int) error {
	switch {
	case C.lacks() != 0:
		return fmt.Errorf("%s: libcuda lacks it", what)
	case code != 0:
		return fmt.Errorf("%s: CUDA error %d", what, int(code))
	}
	return nil
}

// Open makes one, with the library of CELL_CUDA or libcuda.so.1.
func Open() (*Load, error) {
	path := os.Getenv("CELL_CUDA")
	if path == "" {
		path = "libcuda.so.1"
	}
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	if C.load(name) == 0 {
		return nil, fmt.Errorf("load CUDA: %s", C.GoString(C.why()))
	}
	if err := check("cuInit", C.init()); err != nil {
		return nil, err
	}
	var n, d C.int
	if err := check("cuDeviceGetCount", C.count(&n)); err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, fmt.Errorf("no device is visible")
	}
	if err := check("cuDeviceGet", C.device(&d, 0)); err != nil {
		return nil, err
	}
	var c unsafe.Pointer
	return &Load{}, check("cuCtxCreate", C.context(&c, d))
}

// Memory is an allocation.
type Memory struct {
	at    C.pointer
	bytes uint64
}

// Alloc takes memory of the device.
func (l *Load) Alloc(bytes uint64) (m Memory, err error) {
	m.bytes = bytes
	return m, check("cuMemAlloc", C.alloc(&m.at, C.size_t(bytes)))
}

// Fill writes a word everywhere.
func (l *Load) Fill(m Memory, word uint32) error {
	if err := check("cuMemsetD32", C.fill(m.at, C.uint(word), C.size_t(m.bytes/4))); err != nil {
		return err
	}
	return check("cuCtxSynchronize", C.synchronize())
}

// Count counts the words of memory that are word.
func (l *Load) Count(m Memory, word uint32) (n uint64, err error) {
	buf := make([]uint32, 16<<20)
	for at := uint64(0); at < m.bytes; at += uint64(4 * len(buf)) {
		size := min(m.bytes-at, uint64(4*len(buf)))
		if err := check("cuMemcpyDtoH", C.copy(unsafe.Pointer(&buf[0]), m.at+C.pointer(at), C.size_t(size))); err != nil {
			return n, err
		}
		for _, w := range buf[:size/4] {
			if w == word {
				n++
			}
		}
	}
	return n, nil
}

// Spin keeps the device busy.
func (l *Load) Spin(d time.Duration) error {
	if l.kernel == nil {
		text, name := C.CString(ptx), C.CString("spin")
		defer C.free(unsafe.Pointer(text))
		defer C.free(unsafe.Pointer(name))
		var m unsafe.Pointer
		if err := check("cuModuleLoadData", C.module(&m, unsafe.Pointer(text))); err != nil {
			return err
		}
		if err := check("cuModuleGetFunction", C.function(&l.kernel, m, name)); err != nil {
			return err
		}
	}
	out, err := l.Alloc(4096)
	if err != nil {
		return err
	}
	for end := time.Now().Add(d); time.Now().Before(end); {
		if err := check("cuLaunchKernel", C.launch(l.kernel, 2048, 256, out.at, 20000)); err != nil {
			return err
		}
		if err := check("cuCtxSynchronize", C.synchronize()); err != nil {
			return err
		}
	}
	return nil
}
