// A libcuda that needs no device, for tests: beside the stub of NVML, which it tells by its process's name what it has. Without
// /dev/nvidia0 there is no device. Memory is one value for each allocation.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct { size_t bytes; unsigned value; } all[64];
static unsigned n;

int cuInit(unsigned flags)
{
	int fd = open("/dev/nvidia0", O_RDWR);
	if (fd < 0)
		return 100; // CUDA_ERROR_NO_DEVICE
	close(fd);
	return 0;
}
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *d, int i) { *d = i; return 0; }
int cuCtxCreate_v2(void **c, unsigned flags, int d) { return 0; }
int cuMemAlloc_v2(uint64_t *p, size_t bytes)
{
	size_t total = bytes;
	char name[16];
	if (n == 64)
		return 2; // CUDA_ERROR_OUT_OF_MEMORY
	for (unsigned i = 0; i < n; i++)
		total += all[i].bytes;
	int fd = open("/proc/self/comm", O_WRONLY);
	int length = snprintf(name, sizeof name, "gpu0=%zu", total >> 20);
	if (fd >= 0) {
		if (write(fd, name, length) < 0)
			n = n;
		close(fd);
	}
	all[n].bytes = bytes;
	all[n].value = 0;
	*p = (uint64_t)++n << 40;
	return 0;
}
int cuMemsetD32_v2(uint64_t p, unsigned value, size_t words) { all[(p >> 40) - 1].value = value; return 0; }
int cuMemcpyDtoH_v2(void *to, uint64_t p, size_t bytes)
{
	unsigned *words = to;
	for (size_t i = 0; i < bytes / 4; i++)
		words[i] = all[(p >> 40) - 1].value;
	return 0;
}
int cuCtxSynchronize(void) { usleep(1000); return 0; }
int cuModuleLoadData(void **m, const void *image) { return strstr(image, ".entry spin") ? 0 : 200; }
int cuModuleGetFunction(void **f, void *m, const char *name) { *f = (void *)1; return strcmp(name, "spin") ? 500 : 0; }
int cuLaunchKernel(void *f, unsigned a, unsigned b, unsigned c, unsigned d, unsigned e, unsigned g, unsigned h, void *s, void **args, void **extra) { return 0; }
