// The driver API: memory of the device and of the host, copies and fills.
#include <cstdlib>

#include "call.h"
#include "capture.h"
#include "memory.h"
#include "transfers.h"

namespace stand_in {
namespace {

constexpr size_t page_bytes = 4096;

// cuMemFree and its like wait for the device, which nobody sees who reads the call.
Status synchronize_hidden() {
    if (Status refused = refuse_in_capture()) return refused;
    count(Counter::device_synchronizes);
    finish_all();
    return SUCCESS;
}

// Copies without `Async` run on the default stream, and the host waits.
Status submit_and_wait(const std::function<Work()>& make) {
    if (Status refused = submit(stream_of(nullptr), make)) return refused;
    count(Counter::device_synchronizes);
    finish(stream_of(nullptr));
    return SUCCESS;
}

// A graph has no copies of pageable memory.
Status refuse_pageable(Stream& stream, const void* host, size_t bytes) {
    if (!stream.capture || is_pinned(reinterpret_cast<Address>(host), bytes)) return SUCCESS;
    stream.capture->is_void = true;
    return STREAM_CAPTURE_UNSUPPORTED;
}

Status give(Address* device, size_t bytes) {
    if (bytes == 0) return INVALID_VALUE;
    if (Status refused = refuse_in_capture()) return refused;
    *device = allocate(bytes);
    return *device ? SUCCESS : OUT_OF_MEMORY;
}

}  // namespace
}  // namespace stand_in

using namespace stand_in;

DRIVER_CALL cuMemGetInfo_v2(size_t* free, size_t* total) {
    return driver_call(__func__, Needs::context, [&] {
        *free = free_device_bytes();
        *total = device_bytes();
        return SUCCESS;
    });
}

DRIVER_CALL cuMemAlloc_v2(Address* device, size_t bytes) {
    return driver_call(__func__, Needs::context, [&] { return give(device, bytes); });
}

DRIVER_CALL cuMemFree_v2(Address device) {
    return driver_call(__func__, Needs::cleanup, [&] {
        if (!device) return SUCCESS;
        if (Status refused = synchronize_hidden()) return refused;
        return release(device) ? SUCCESS : INVALID_VALUE;
    });
}

DRIVER_CALL cuMemHostAlloc(void** host, size_t bytes, unsigned) {
    return driver_call(__func__, Needs::context, [&] {
        if (Status refused = refuse_in_capture()) return refused;
        if (bytes == 0 || posix_memalign(host, page_bytes, bytes)) return OUT_OF_MEMORY;
        pin(reinterpret_cast<Address>(*host), bytes);
        return SUCCESS;
    });
}

DRIVER_CALL cuMemFreeHost(void* host) {
    return driver_call(__func__, Needs::cleanup, [&] {
        if (Status refused = refuse_in_capture()) return refused;
        size_t bytes = unpin(reinterpret_cast<Address>(host));
        if (!bytes) return INVALID_VALUE;
        end_host_memory(reinterpret_cast<Address>(host), bytes, "cuMemFreeHost");
        Status synchronized = synchronize_hidden();
        free(host);
        return synchronized;
    });
}

DRIVER_CALL cuMemHostRegister_v2(void* host, size_t bytes, unsigned) {
    return driver_call(__func__, Needs::context, [&] {
        if (bytes == 0) return INVALID_VALUE;
        if (Status refused = refuse_in_capture()) return refused;
        if (is_pinned(reinterpret_cast<Address>(host), 1)) return HOST_MEMORY_ALREADY_REGISTERED;
        pin(reinterpret_cast<Address>(host), bytes);
        return SUCCESS;
    });
}

DRIVER_CALL cuMemHostUnregister(void* host) {
    return driver_call(__func__, Needs::cleanup, [&] {
        if (Status refused = refuse_in_capture()) return refused;
        size_t bytes = unpin(reinterpret_cast<Address>(host));
        if (!bytes) return HOST_MEMORY_NOT_REGISTERED;
        end_host_memory(reinterpret_cast<Address>(host), bytes, "cuMemHostUnregister");
        if (Status status = synchronize_hidden()) return status;
        note_host("cuMemHostUnregister");
        return SUCCESS;
    });
}

DRIVER_CALL cuMemcpyHtoDAsync_v2(Address device, const void* host, size_t bytes, void* stream) {
    return driver_call(__func__, Needs::context, [&] {
        Stream& to = stream_of(stream);
        if (Status refused = refuse_pageable(to, host, bytes)) return refused;
        return submit(to, [=] { return copy_to_device(device, host, bytes); });
    });
}

DRIVER_CALL cuMemcpyDtoHAsync_v2(void* host, Address device, size_t bytes, void* handle) {
    return driver_call(__func__, Needs::context, [&] {
        Stream& stream = stream_of(handle);
        if (Status refused = refuse_pageable(stream, host, bytes)) return refused;
        Status submitted = submit(stream, [=] { return copy_from_device(host, device, bytes); });
        bool waits = !submitted && !is_pinned(reinterpret_cast<Address>(host), bytes);
        if (waits) finish(stream);  // as the driver does for pageable memory
        return submitted;
    });
}

DRIVER_CALL cuMemcpyDtoDAsync_v2(Address to, Address from, size_t bytes, void* stream) {
    return driver_call(__func__, Needs::context, [&] {
        return submit(stream_of(stream), [=] { return copy_on_device(to, from, bytes); });
    });
}

DRIVER_CALL cuMemcpyHtoD_v2(Address device, const void* host, size_t bytes) {
    return driver_call(__func__, Needs::context, [&] {
        return submit_and_wait([=] { return copy_to_device(device, host, bytes); });
    });
}

DRIVER_CALL cuMemcpyDtoH_v2(void* host, Address device, size_t bytes) {
    return driver_call(__func__, Needs::context, [&] {
        return submit_and_wait([=] { return copy_from_device(host, device, bytes); });
    });
}

DRIVER_CALL cuMemcpyDtoD_v2(Address to, Address from, size_t bytes) {
    return driver_call(__func__, Needs::context, [&] {
        return submit_and_wait([=] { return copy_on_device(to, from, bytes); });
    });
}

DRIVER_CALL cuMemsetD8Async(Address device, unsigned char value, size_t count, void* stream) {
    return driver_call(__func__, Needs::context, [&] {
        return submit(stream_of(stream), [=] { return fill_device(device, 1, value, count); });
    });
}

DRIVER_CALL cuMemsetD32Async(Address device, unsigned value, size_t count, void* stream) {
    return driver_call(__func__, Needs::context, [&] {
        return submit(stream_of(stream), [=] { return fill_device(device, 4, value, count); });
    });
}

DRIVER_CALL cuMemsetD8_v2(Address device, unsigned char value, size_t count) {
    return driver_call(__func__, Needs::context, [&] {
        return submit_and_wait([=] { return fill_device(device, 1, value, count); });
    });
}
