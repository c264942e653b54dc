// A libnvidia-ml that needs no device, for tests. It is told what there is by a file, which NVML_STUB names and every call reads anew:
// lines of a key and numbers, later ones before earlier ones.
//
//	devices 2          how many; they have minor numbers 0, 1, …
//	memory 16384       MiB of each
//	mig 1              device 1 is divided into two slices of a half
//	power 0 300        device 0 draws 300 W; 100 W else
//	busy 0 80          and is busy for 80 percent
//	lost 1             device 1 has fallen off its bus
//	xid 1 79           device 1 reports fault 79, once
//	unloaded 1         the kernel's driver is gone
//	mismatch 1         the kernel's driver is another version's
//	hang 20            the next call sleeps for 20 seconds
//	crash 1            the next call ends the process
//	refuse 1           limits are not taken
//
// Processes are those whose name (comm) is "gpuN=MiB", as a program that uses device N gives itself. -DOLD leaves out what old drivers
// lack, -DNEW adds the limits of NVML 13.4.
#define NVML_NO_UNVERSIONED_FUNC_DEFS
#include "nvml.h"
#include <ctype.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct nvmlDevice_st { unsigned int index; int slice; };
static struct nvmlDevice_st devices[8] = {{0, -1}, {1, -1}, {2, -1}, {3, -1}, {4, -1}, {5, -1}, {6, -1}, {7, -1}};
static struct nvmlDevice_st parts[8][2] = {{{0, 0}, {0, 1}}, {{1, 0}, {1, 1}}, {{2, 0}, {2, 1}}, {{3, 0}, {3, 1}}, {{4, 0}, {4, 1}}, {{5, 0}, {5, 1}}, {{6, 0}, {6, 1}}, {{7, 0}, {7, 1}}};

// told finds the last line of a key; with which >= 0 that number comes first. It gives the number after.
static int told(const char *key, int which, long *value)
{
	const char *path = getenv("NVML_STUB");
	FILE *f = path ? fopen(path, "r") : NULL;
	char line[200], word[50];
	long a, b;
	int found = 0;
	while (f && fgets(line, sizeof line, f)) {
		int n = sscanf(line, "%49s %ld %ld", word, &a, &b);
		if (n < 2 || strcmp(word, key) != 0 || (which >= 0 && a != which))
			continue;
		*value = which >= 0 && n > 2 ? b : a;
		found = 1;
	}
	if (f)
		fclose(f);
	return found;
}

static long number(const char *key, int which, long otherwise) { long v; return told(key, which, &v) ? v : otherwise; }

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

// call is what every function begins with.
static nvmlReturn_t call(struct nvmlDevice_st *d)
{
	static long slept;
	long hang = number("hang", -1, 0);
	if (hang && hang != slept) {
		slept = hang;
		sleep(hang);
	}
	if (number("crash", -1, 0))
		raise(SIGSEGV);
	if (number("unloaded", -1, 0))
		return NVML_ERROR_UNINITIALIZED;
	if (d && number("lost", d->index, -1) == (long)d->index)
		return NVML_ERROR_GPU_IS_LOST;
	return NVML_SUCCESS;
}
#define CALL(d) do { nvmlReturn_t r = call(d); if (r != NVML_SUCCESS) return r; } while (0)

nvmlReturn_t nvmlInit_v2(void)
{
	if (number("unloaded", -1, 0))
		return NVML_ERROR_DRIVER_NOT_LOADED;
	if (number("mismatch", -1, 0))
		return NVML_ERROR_LIB_RM_VERSION_MISMATCH;
	CALL(NULL);
	return NVML_SUCCESS;
}
nvmlReturn_t nvmlInit(void) { return nvmlInit_v2(); }
nvmlReturn_t nvmlShutdown(void) { return NVML_SUCCESS; }
const char *nvmlErrorString(nvmlReturn_t r)
{
	switch (r) {
	case NVML_ERROR_GPU_IS_LOST: return "GPU is lost";
	case NVML_ERROR_UNINITIALIZED: return "Uninitialized";
	case NVML_ERROR_NOT_SUPPORTED: return "Not Supported";
	case NVML_ERROR_NO_PERMISSION: return "Insufficient Permissions";
	default: return "Unknown Error";
	}
}

static nvmlReturn_t say(char *to, unsigned int length, const char *text)
{
	if (strlen(text) >= length)
		return NVML_ERROR_INSUFFICIENT_SIZE;
	strcpy(to, text);
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *v, unsigned int n) { CALL(NULL); return say(v, n, "580.95.05"); }
nvmlReturn_t nvmlSystemGetNVMLVersion(char *v, unsigned int n) { CALL(NULL); return say(v, n, "13.580.95.05"); }
nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *v) { CALL(NULL); *v = 13000; return NVML_SUCCESS; }
nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *n) { CALL(NULL); *n = number("devices", -1, 2); return NVML_SUCCESS; }

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int i, nvmlDevice_t *d)
{
	CALL(&devices[i % 8]);
	if (i >= number("devices", -1, 2))
		return NVML_ERROR_INVALID_ARGUMENT;
	d->handle = &devices[i];
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t d, char *s, unsigned int n)
{
	char text[80];
	CALL(d.handle);
	if (d.handle->slice < 0)
		snprintf(text, sizeof text, "GPU-00000000-0000-0000-0000-00000000000%u", d.handle->index);
	else
		snprintf(text, sizeof text, "MIG-00000000-0000-0000-000%d-00000000000%u", d.handle->slice, d.handle->index);
	return say(s, n, text);
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *d)
{
	char text[80];
	CALL(NULL);
	for (unsigned int i = 0; i < 8; i++)
		if (nvmlDeviceGetUUID((nvmlDevice_t){&devices[i]}, text, sizeof text) == NVML_SUCCESS && strcmp(text, uuid) == 0) {
			d->handle = &devices[i];
			return NVML_SUCCESS;
		}
	return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t d, char *s, unsigned int n) { CALL(d.handle); return say(s, n, d.handle->slice < 0 ? "NVIDIA Stub" : "NVIDIA Stub MIG 3g.8gb"); }
nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t d, unsigned int *m) { CALL(d.handle); *m = d.handle->index; return NVML_SUCCESS; }

struct found { unsigned int pid; unsigned long long bytes; };

// processes finds those of a device by their names.
static unsigned int processes(nvmlDevice_t d, struct found *out, unsigned int most)
{
	unsigned int n = 0, index;
	unsigned long long mib;
	DIR *dir = opendir("/proc");
	struct dirent *e;
	while (dir && (e = readdir(dir))) {
		char path[300], comm[32] = "";
		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		snprintf(path, sizeof path, "/proc/%s/comm", e->d_name);
		FILE *f = fopen(path, "r");
		if (!f)
			continue;
		if (fgets(comm, sizeof comm, f) && sscanf(comm, "gpu%u=%llu", &index, &mib) == 2 && index == d.handle->index && n < most)
			out[n++] = (struct found){atoi(e->d_name), mib << 20};
		fclose(f);
	}
	if (dir)
		closedir(dir);
	return n;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t d, nvmlMemory_t *m)
{
	struct found all[64];
	CALL(d.handle);
	m->total = (unsigned long long)number("memory", -1, 16384) << 20;
	m->used = 300 << 20;
	for (unsigned int i = 0, n = processes(d, all, 64); i < n; i++)
		m->used += all[i].bytes;
	if (d.handle->slice >= 0)
		m->total /= 2;
	m->free = m->total - m->used;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t d, nvmlPciInfo_t *p)
{
	CALL(d.handle);
	memset(p, 0, sizeof *p);
	p->bus = 0x41 + d.handle->index;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t d, nvmlTemperatureSensors_t s, unsigned int *t) { CALL(d.handle); *t = 41; return NVML_SUCCESS; }
nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t d, unsigned int *p) { CALL(d.handle); *p = number("power", d.handle->index, 100) * 1000; return NVML_SUCCESS; }
nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t d, unsigned int *p) { CALL(d.handle); *p = 700000; return NVML_SUCCESS; }
nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t d, nvmlClockType_t t, unsigned int *c) { CALL(d.handle); *c = t == NVML_CLOCK_SM ? 1980 : 3201; return NVML_SUCCESS; }
nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t d, nvmlUtilization_t *u) { CALL(d.handle); u->gpu = number("busy", d.handle->index, 0); u->memory = 0; return NVML_SUCCESS; }

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t d, unsigned int *n, nvmlProcessInfo_t *to)
{
	struct found all[64];
	CALL(d.handle);
	unsigned int found = processes(d, all, 64);
	if (found > *n) {
		*n = found;
		return NVML_ERROR_INSUFFICIENT_SIZE;
	}
	for (unsigned int i = 0; i < found; i++)
		to[i] = (nvmlProcessInfo_t){all[i].pid, all[i].bytes, 0, 0};
	*n = found;
	return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice_t d, unsigned int *n, nvmlProcessInfo_t *to) { CALL(d.handle); *n = 0; return NVML_SUCCESS; }

nvmlReturn_t nvmlDeviceGetTopologyCommonAncestor(nvmlDevice_t a, nvmlDevice_t b, nvmlGpuTopologyLevel_t *l)
{
	CALL(a.handle);
	*l = a.handle->index / 2 == b.handle->index / 2 ? NVML_TOPOLOGY_SINGLE : NVML_TOPOLOGY_SYSTEM;
	return NVML_SUCCESS;
}

#ifndef OLD
// Every device has drawn its power since the machine started.
nvmlReturn_t nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t d, unsigned long long *mj) { CALL(d.handle); *mj = now() * number("power", d.handle->index, 100) * 1000; return NVML_SUCCESS; }

nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t d, unsigned int *is, unsigned int *will)
{
	CALL(d.handle);
	*is = *will = number("mig", d.handle->index, -1) == (long)d.handle->index;
	return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t d, unsigned int *n) { CALL(d.handle); *n = 7; return NVML_SUCCESS; }
nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t d, unsigned int i, nvmlDevice_t *s)
{
	CALL(d.handle);
	if (i >= 2)
		return NVML_ERROR_NOT_FOUND;
	s->handle = &parts[d.handle->index][i];
	return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetGpuInstanceId(nvmlDevice_t d, unsigned int *i) { CALL(d.handle); *i = d.handle->slice + 1; return NVML_SUCCESS; }
nvmlReturn_t nvmlDeviceGetComputeInstanceId(nvmlDevice_t d, unsigned int *i) { CALL(d.handle); *i = 0; return NVML_SUCCESS; }

// Of two processes the first one is three times as busy as the others; the first answer has leftovers, as some drivers give.
nvmlReturn_t nvmlDeviceGetProcessUtilization(nvmlDevice_t d, nvmlProcessUtilizationSample_t *u, unsigned int *n, unsigned long long since)
{
	struct found all[64];
	CALL(d.handle);
	unsigned int found = processes(d, all, 64);
	if (found == 0)
		return NVML_ERROR_NOT_FOUND;
	if (*n < found + 1 || !u) {
		*n = found + 1;
		return NVML_ERROR_INSUFFICIENT_SIZE;
	}
	for (unsigned int i = 0; i < found; i++)
		u[i] = (nvmlProcessUtilizationSample_t){.pid = all[i].pid, .timeStamp = now() * 1e6, .smUtil = i == 0 ? 60 : 20};
	u[found] = (nvmlProcessUtilizationSample_t){.pid = all[0].pid, .timeStamp = ~0ull >> 1, .smUtil = 4000000000u};
	*n = found + 1;
	return NVML_SUCCESS;
}

struct nvmlEventSet_st { int unused; };
static struct nvmlEventSet_st events;
nvmlReturn_t nvmlEventSetCreate(nvmlEventSet_t *s) { s->handle = &events; return NVML_SUCCESS; }
nvmlReturn_t nvmlEventSetFree(nvmlEventSet_t s) { return NVML_SUCCESS; }
nvmlReturn_t nvmlDeviceRegisterEvents(nvmlDevice_t d, unsigned long long t, nvmlEventSet_t s) { return NVML_SUCCESS; }
nvmlReturn_t nvmlEventSetWait_v2(nvmlEventSet_t s, nvmlEventData_t *e, unsigned int ms)
{
	static long reported[8];
	for (unsigned int waited = 0; waited < ms; waited += 50, usleep(50000))
		for (int i = 0; i < 8; i++) {
			long xid = number("xid", i, 0);
			if (xid && xid != reported[i]) {
				reported[i] = xid;
				memset(e, 0, sizeof *e);
				e->device.handle = &devices[i];
				e->eventType = nvmlEventTypeXidCriticalError;
				e->eventData = xid;
				return NVML_SUCCESS;
			}
		}
	return NVML_ERROR_TIMEOUT;
}
#endif

#ifdef NEW
static struct { char group[400]; unsigned int device; unsigned long long hard; } limits[64];
nvmlReturn_t nvmlDeviceSetMemoryLimits_v1(nvmlDevice_t d, nvmlSetMemoryLimits_v1_t *l)
{
	CALL(d.handle);
	if (number("refuse", -1, 0))
		return NVML_ERROR_NO_PERMISSION;
	if (access(l->nameSpace, F_OK) != 0)
		return NVML_ERROR_OPERATING_SYSTEM;
	for (int i = 0; i < 64; i++)
		if (!limits[i].group[0] || (strcmp(limits[i].group, l->nameSpace) == 0 && limits[i].device == d.handle->index)) {
			snprintf(limits[i].group, sizeof limits[i].group, "%s", l->nameSpace);
			limits[i].device = d.handle->index;
			limits[i].hard = l->hardLimit;
			return NVML_SUCCESS;
		}
	return NVML_ERROR_UNKNOWN;
}
nvmlReturn_t nvmlDeviceGetMemoryLimits_v1(nvmlDevice_t d, nvmlGetMemoryLimits_v1_t *l)
{
	CALL(d.handle);
	l->softLimit = 0;
	l->hardLimit = ~0ull;
	l->currentUsed = 0;
	for (int i = 0; i < 64; i++)
		if (strcmp(limits[i].group, l->nameSpace) == 0 && limits[i].device == d.handle->index)
			l->hardLimit = limits[i].hard;
	return NVML_SUCCESS;
}
#endif
