// The driver API, as far as cudarc calls it for us: version, device, context, module, function, launch.
// Memory is in driver_memory.cpp, launches are in driver_launch.cpp, streams and events in driver_streams.cpp, graphs in
// driver_graphs.cpp.
#include <dlfcn.h>

#include <cstdio>
#include <cstring>

#include "call.h"
#include "capture.h"
#include "kernels.h"
#include "memory.h"
#include "schedule.h"
#include "threads.h"

namespace stand_in {
namespace {

bool ready;
int retained;
char primary_context;  // its address is the handle
thread_local void* current_context;

// The numbers of `CUdevice_attribute` that are asked for.
enum Attribute {
    MAX_THREADS_PER_BLOCK = 1,
    MAX_BLOCK_DIM_X = 2,
    MAX_BLOCK_DIM_Y = 3,
    MAX_BLOCK_DIM_Z = 4,
    MAX_GRID_DIM_X = 5,
    MAX_GRID_DIM_Y = 6,
    MAX_GRID_DIM_Z = 7,
    MAX_SHARED_MEMORY_PER_BLOCK = 8,
    WARP_SIZE = 10,
    CLOCK_RATE = 13,
    MULTIPROCESSOR_COUNT = 16,
    MEMORY_CLOCK_RATE = 36,
    GLOBAL_MEMORY_BUS_WIDTH = 37,
    L2_CACHE_SIZE = 38,
    MAX_THREADS_PER_MULTIPROCESSOR = 39,
    ASYNC_ENGINE_COUNT = 40,
    UNIFIED_ADDRESSING = 41,
    COMPUTE_CAPABILITY_MAJOR = 75,
    COMPUTE_CAPABILITY_MINOR = 76,
    MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = 97,
    MEMORY_POOLS_SUPPORTED = 115,
};

constexpr unsigned default_shared_bytes = 48 << 10;

// CUDA programming guide, "Technical specifications per compute capability".
unsigned most_shared_bytes() {
    int architecture = machine().architecture;
    if (architecture < 80) return 64 << 10;
    if (architecture == 80) return 163 << 10;
    if (architecture < 90 || architecture >= 120) return 99 << 10;
    return 227 << 10;
}

int attribute(int which) {
    switch (which) {
        case MAX_THREADS_PER_BLOCK: return 1024;
        case MAX_BLOCK_DIM_X: return 1024;
        case MAX_BLOCK_DIM_Y: return 1024;
        case MAX_BLOCK_DIM_Z: return 64;
        case MAX_GRID_DIM_X: return 0x7fffffff;
        case MAX_GRID_DIM_Y: return 65535;
        case MAX_GRID_DIM_Z: return 65535;
        case MAX_SHARED_MEMORY_PER_BLOCK: return default_shared_bytes;
        case WARP_SIZE: return 32;
        case CLOCK_RATE: return 1000000;
        case MULTIPROCESSOR_COUNT: return 8;
        case MEMORY_CLOCK_RATE: return 1000000;
        case GLOBAL_MEMORY_BUS_WIDTH: return 64;
        case L2_CACHE_SIZE: return 4 << 20;
        case MAX_THREADS_PER_MULTIPROCESSOR: return 1536;
        case ASYNC_ENGINE_COUNT: return 2;
        case UNIFIED_ADDRESSING: return 1;
        case COMPUTE_CAPABILITY_MAJOR: return machine().architecture / 10;
        case COMPUTE_CAPABILITY_MINOR: return machine().architecture % 10;
        case MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: return most_shared_bytes();
        default: return 0;
    }
}

bool is_device_ordinal(int ordinal) { return ordinal >= 0 && ordinal < machine().devices; }

constexpr uint32_t fatbin_magic = 0xba55ed50;
constexpr int oldest_architecture = 80;  // of those that the kernels are built for

}  // namespace

std::recursive_mutex& driver_lock() {
    static std::recursive_mutex lock;
    return lock;
}

bool driver_is_ready() { return ready; }
bool context_is_current() { return current_context; }

}  // namespace stand_in

using namespace stand_in;

DRIVER_CALL cuInit(unsigned) {
    static bool once = (apply_environment(), true);
    (void)once;
    return driver_call(__func__, Needs::nothing, [&] {
        if (machine().devices == 0) return NO_DEVICE;
        ready = true;
        return SUCCESS;
    });
}

DRIVER_CALL cuDriverGetVersion(int* version) {
    return driver_call(__func__, Needs::nothing, [&] {
        *version = machine().driver_version;
        return SUCCESS;
    });
}

DRIVER_CALL cuGetProcAddress_v2(const char* symbol, void** function, int, uint64_t, int* found) {
    return driver_call(__func__, Needs::nothing, [&] {
        *function = dlsym(RTLD_DEFAULT, symbol);
        if (found) *found = *function ? 0 : 1;
        return *function ? SUCCESS : NOT_FOUND;
    });
}

DRIVER_CALL cuGetErrorName(int status, const char** name) {
    *name = status_name(status);
    return *name ? SUCCESS : INVALID_VALUE;
}

DRIVER_CALL cuGetErrorString(int status, const char** description) {
    std::lock_guard<std::recursive_mutex> guard(driver_lock());
    static std::string last;
    const char* name = status_name(status);
    if (!name) return INVALID_VALUE;
    last = status == failure() && status ? reports() : name;
    *description = last.c_str();
    return SUCCESS;
}

// ---- Devices.

DRIVER_CALL cuDeviceGetCount(int* count) {
    return driver_call(__func__, Needs::driver, [&] {
        *count = machine().devices;
        return SUCCESS;
    });
}

DRIVER_CALL cuDeviceGet(int* device, int ordinal) {
    return driver_call(__func__, Needs::driver, [&] {
        if (!is_device_ordinal(ordinal)) return INVALID_DEVICE;
        *device = ordinal;
        return SUCCESS;
    });
}

DRIVER_CALL cuDeviceGetName(char* name, int length, int) {
    return driver_call(__func__, Needs::driver, [&] {
        snprintf(name, length, "stand-in for libcuda");
        return SUCCESS;
    });
}

DRIVER_CALL cuDeviceGetUuid_v2(char* uuid, int device) {
    return driver_call(__func__, Needs::driver, [&] {
        memset(uuid, device, 16);
        return SUCCESS;
    });
}

DRIVER_CALL cuDeviceGetPCIBusId(char* bus, int length, int device) {
    return driver_call(__func__, Needs::driver, [&] {
        snprintf(bus, length, "0000:%02x:00.0", device + 1);
        return SUCCESS;
    });
}

DRIVER_CALL cuDeviceTotalMem_v2(size_t* bytes, int) {
    return driver_call(__func__, Needs::driver, [&] {
        *bytes = device_bytes();
        return SUCCESS;
    });
}

DRIVER_CALL cuDeviceGetAttribute(int* value, int which, int) {
    return driver_call(__func__, Needs::driver, [&] {
        *value = attribute(which);
        return SUCCESS;
    });
}

// ---- The context.

DRIVER_CALL cuDevicePrimaryCtxRetain(void** context, int device) {
    return driver_call(__func__, Needs::driver, [&] {
        if (!is_device_ordinal(device)) return INVALID_DEVICE;
        retained++;
        *context = &primary_context;
        return SUCCESS;
    });
}

DRIVER_CALL cuDevicePrimaryCtxRelease_v2(int) {
    return driver_call(__func__, Needs::driver, [&] { return retained-- > 0 ? SUCCESS : INVALID_CONTEXT; });
}

DRIVER_CALL cuDevicePrimaryCtxSetFlags_v2(int, unsigned) {
    return driver_call(__func__, Needs::driver, [&] { return SUCCESS; });
}

DRIVER_CALL cuDevicePrimaryCtxGetState(int, unsigned* flags, int* active) {
    return driver_call(__func__, Needs::driver, [&] {
        *flags = 0;
        *active = retained > 0;
        return SUCCESS;
    });
}

DRIVER_CALL cuCtxGetCurrent(void** context) {
    return driver_call(__func__, Needs::driver, [&] {
        *context = current_context;
        return SUCCESS;
    });
}

DRIVER_CALL cuCtxSetCurrent(void* context) {
    return driver_call(__func__, Needs::driver, [&] {
        current_context = context;
        return SUCCESS;
    });
}

DRIVER_CALL cuCtxSetFlags(unsigned) {
    return driver_call(__func__, Needs::context, [&] { return SUCCESS; });
}

DRIVER_CALL cuCtxGetDevice(int* device) {
    return driver_call(__func__, Needs::context, [&] {
        *device = 0;
        return SUCCESS;
    });
}

DRIVER_CALL cuCtxGetStreamPriorityRange(int* least, int* greatest) {
    return driver_call(__func__, Needs::context, [&] {
        *least = 0;
        *greatest = -5;
        return SUCCESS;
    });
}

DRIVER_CALL cuCtxSynchronize() {
    return driver_call(__func__, Needs::context, [&] {
        if (Status refused = refuse_in_capture()) return refused;
        count(Counter::device_synchronizes);
        finish_all();
        return SUCCESS;
    });
}

// ---- Modules: the kernels are in this library; the image is only looked at.

DRIVER_CALL cuModuleLoadData(void** module, const void* image) {
    return driver_call(__func__, Needs::context, [&] {
        if (Status refused = refuse_in_capture()) return refused;
        uint32_t magic;
        memcpy(&magic, image, sizeof magic);
        if (magic != fatbin_magic) return INVALID_IMAGE;
        if (machine().architecture < oldest_architecture) return NO_BINARY_FOR_GPU;
        *module = &primary_context;
        return SUCCESS;
    });
}

DRIVER_CALL cuModuleLoadDataEx(void** module, const void* image, unsigned, void*, void*) {
    return cuModuleLoadData(module, image);
}

DRIVER_CALL cuModuleLoadFatBinary(void** module, const void* image) { return cuModuleLoadData(module, image); }

DRIVER_CALL cuModuleUnload(void*) {
    return driver_call(__func__, Needs::cleanup, [&] { return SUCCESS; });
}

DRIVER_CALL cuModuleGetLoadingMode(int* mode) {
    return driver_call(__func__, Needs::driver, [&] {
        *mode = 1;  // CU_MODULE_EAGER_LOADING
        return SUCCESS;
    });
}

DRIVER_CALL cuModuleGetFunction(void** function, void*, const char* name) {
    return driver_call(__func__, Needs::context, [&] {
        *function = find_kernel(name);
        return *function ? SUCCESS : NOT_FOUND;
    });
}

// ---- Functions. Attributes, as `CUfunction_attribute` has them.

constexpr int FUNCTION_MAX_THREADS_PER_BLOCK = 0;
constexpr int FUNCTION_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8;

DRIVER_CALL cuFuncSetAttribute(void* function, int which, int value) {
    return driver_call(__func__, Needs::context, [&] {
        if (which != FUNCTION_MAX_DYNAMIC_SHARED_SIZE_BYTES) return SUCCESS;
        if (value < 0 || static_cast<unsigned>(value) > most_shared_bytes()) return INVALID_VALUE;
        static_cast<Kernel*>(function)->dynamic_shared_limit = value;
        return SUCCESS;
    });
}

DRIVER_CALL cuFuncGetAttribute(int* value, int which, void* function) {
    return driver_call(__func__, Needs::context, [&] {
        *value = 0;
        if (which == FUNCTION_MAX_THREADS_PER_BLOCK) *value = 1024;
        if (which == FUNCTION_MAX_DYNAMIC_SHARED_SIZE_BYTES) *value = static_cast<Kernel*>(function)->dynamic_shared_limit;
        return SUCCESS;
    });
}

DRIVER_CALL cuFuncSetCacheConfig(void*, int) {
    return driver_call(__func__, Needs::context, [&] { return SUCCESS; });
}

DRIVER_CALL cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void*, int threads, size_t) {
    return driver_call(__func__, Needs::context, [&] {
        *blocks = threads > 0 ? attribute(MAX_THREADS_PER_MULTIPROCESSOR) / threads : 0;
        return SUCCESS;
    });
}
