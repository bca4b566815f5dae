/* A driver library of two cards that are only made up: the first has performance monitoring and knows most
 * things, the second is in trouble and answers little. What is not written here is a symbol the driver lacks. */
#include <stdio.h>
#include <string.h>

typedef int Result;
typedef struct { int number; } *Device;
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned gpu, memory; } Rates;
typedef struct { unsigned pid; unsigned long long memory; unsigned instance, compute; } Process;
typedef struct { unsigned version, supported; } Support;
typedef struct { unsigned id; Result result; double value; char *names[3]; } Metric;
typedef struct { unsigned version, count; void *before, *now; Metric metrics[]; } Request;

enum { OK = 0, INVALID = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4, TOO_SMALL = 7, LOST = 15 };
static struct { int number; } cards[2] = {{0}, {1}};
static char samples[2];
static int allocated, looks;

#define FIRST(d) ((d)->number == 0)

Result nvmlInitWithFlags(unsigned flags) { return OK; }
Result nvmlShutdown(void) { return OK; }
Result nvmlSystemGetDriverVersion(char *text, unsigned size) { strncpy(text, "580.159.04", size); return OK; }
Result nvmlSystemGetCudaDriverVersion(int *version) { *version = 13000; return OK; }
Result nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return OK; }
Result nvmlDeviceGetHandleByIndex_v2(unsigned index, Device *device) {
    if (index > 1) return INVALID;
    *device = (Device)&cards[index];
    return OK;
}
Result nvmlDeviceGetName(Device d, char *text, unsigned size) {
    strncpy(text, FIRST(d) ? "NVIDIA Stub" : "NVIDIA Trouble", size);
    return OK;
}
Result nvmlDeviceGetUUID(Device d, char *text, unsigned size) {
    snprintf(text, size, "GPU-0000000%d-stub", d->number);
    return OK;
}
Result nvmlDeviceGetMemoryInfo(Device d, Memory *memory) {
    memory->total = 80000000000ull;
    memory->used = FIRST(d) ? 2000000000ull : 79000000000ull;
    memory->free = memory->total - memory->used;
    return OK;
}
Result nvmlDeviceGetUtilizationRates(Device d, Rates *rates) {
    rates->gpu = FIRST(d) ? 93 : 0;
    return OK;
}
Result nvmlDeviceGetPowerUsage(Device d, unsigned *milliwatts) {
    *milliwatts = 250500;
    return FIRST(d) ? OK : NO_PERMISSION;
}
Result nvmlDeviceGetTotalEnergyConsumption(Device d, unsigned long long *millijoules) {
    *millijoules = 123456;
    return FIRST(d) ? OK : NOT_SUPPORTED;
}
Result nvmlDeviceGetEnforcedPowerLimit(Device d, unsigned *milliwatts) {
    *milliwatts = FIRST(d) ? 700000 : 400000;
    return OK;
}
Result nvmlDeviceGetPowerManagementDefaultLimit(Device d, unsigned *milliwatts) {
    *milliwatts = 700000;
    return OK;
}
Result nvmlDeviceGetTemperature(Device d, int sensor, unsigned *celsius) {
    *celsius = 71;
    return FIRST(d) ? OK : LOST;
}
Result nvmlDeviceGetClockInfo(Device d, int kind, unsigned *megahertz) {
    *megahertz = kind == 1 ? 1980 : 1;
    return OK;
}
/* The older name alone. */
Result nvmlDeviceGetCurrentClocksThrottleReasons(Device d, unsigned long long *reasons) {
    *reasons = FIRST(d) ? 0x4 : 0x8 | 0x40;
    return OK;
}
Result nvmlDeviceGetTotalEccErrors(Device d, int type, int counter, unsigned long long *count) {
    *count = type == 1 && counter == 0 && !FIRST(d) ? 3 : 0;
    return OK;
}
Result nvmlDeviceGetRemappedRows(Device d, unsigned *fixed, unsigned *bad, unsigned *due, unsigned *failed) {
    *fixed = *bad = *failed = 0;
    *due = !FIRST(d);
    return OK;
}
Result nvmlDeviceGetCurrPcieLinkWidth(Device d, unsigned *width) { *width = FIRST(d) ? 16 : 4; return OK; }
Result nvmlDeviceGetMaxPcieLinkWidth(Device d, unsigned *width) { *width = 16; return OK; }
Result nvmlDeviceGetMaxPcieLinkGeneration(Device d, unsigned *generation) { *generation = 5; return OK; }
Result nvmlDeviceGetPcieThroughput(Device d, int kind, unsigned *kilobytes) {
    *kilobytes = kind == 0 ? 10 : 20;
    return OK;
}
Result nvmlDeviceGetNvLinkState(Device d, unsigned link, unsigned *active) {
    *active = 1;
    return link < 4 && FIRST(d) ? OK : INVALID;
}
Result nvmlDeviceGetTopologyCommonAncestor(Device one, Device other, int *level) { *level = 10; return OK; }
/* The older form alone; it says first how much room it needs. */
Result nvmlDeviceGetComputeRunningProcesses_v2(Device d, unsigned *count, Process *processes) {
    unsigned room = *count;
    *count = !FIRST(d);
    if (room < *count) return TOO_SMALL;
    if (*count) processes[0] = (Process){1, 3000000000ull, -1, -1};
    return OK;
}

Result nvmlGpmQueryDeviceSupport(Device d, Support *support) {
    support->supported = FIRST(d);
    return support->version == 1 ? OK : INVALID;
}
Result nvmlGpmSampleAlloc(void **sample) { *sample = &samples[allocated++ % 2]; return OK; }
Result nvmlGpmSampleFree(void *sample) { return OK; }
Result nvmlGpmSampleGet(Device d, void *sample) { *(char *)sample = (char)++looks; return OK; }
Result nvmlGpmMetricsGet(Request *request) {
    char before = *(char *)request->before, now = *(char *)request->now;
    if (request->version != 1 || (char)(before + 1) != now) return INVALID;
    for (unsigned i = 0; i < request->count; i++) {
        Metric *metric = &request->metrics[i];
        metric->result = OK;
        metric->value = metric->id == 2 ? 71.5 : metric->id == 20 ? 1.0 : 2.0;
    }
    return OK;
}
