#include "transfers.h"

#include <algorithm>
#include <cstring>
#include <list>

#include "counters.h"

namespace stand_in {
namespace {

struct Transfer {
    const void* host;
    size_t bytes;
    uint64_t sum;
    std::string name;
    std::shared_ptr<Moment> end;
};

using Shared = std::shared_ptr<Transfer>;

// Whose end the host does not know of.
std::list<Shared> in_flight;

// A change of any one bit changes it: each step is invertible.
uint64_t sum_of(const void* host, size_t bytes) {
    auto* at = static_cast<const unsigned char*>(host);
    uint64_t sum = bytes, word;
    for (; bytes >= sizeof word; bytes -= sizeof word, at += sizeof word) {
        memcpy(&word, at, sizeof word);
        sum = (sum ^ word) * 0x9e3779b97f4a7c15;
        sum ^= sum >> 32;
    }
    word = 0;
    memcpy(&word, at, bytes);
    return (sum ^ word) * 0x9e3779b97f4a7c15;
}

void check_unchanged(Transfer& transfer) {
    uint64_t sum = sum_of(transfer.host, transfer.bytes);
    if (sum == transfer.sum) return;
    transfer.sum = sum;  // one report is enough
    report(ILLEGAL_ADDRESS, text("the host buffer at %p was written while `%s` was in flight; expected the host to wait for "
                                 "the copy's event before it reuses the buffer", transfer.host, transfer.name.c_str()));
}

Shared begin(const void* host, size_t bytes, const std::string& name) {
    auto end = std::make_shared<Moment>();
    in_flight.push_back(std::make_shared<Transfer>(Transfer{host, bytes, sum_of(host, bytes), name, end}));
    return in_flight.back();
}

bool check_whole(Address device, size_t bytes, Access access) { return check_device(device, bytes, access, 0); }

void* pointer(Address address) { return reinterpret_cast<void*>(address); }

Work pageable_copy_to_device(Address device, const void* host, size_t bytes, const std::string& name) {
    count(Counter::pageable_copies);
    auto* from = static_cast<const char*>(host);
    auto staged = std::make_shared<std::string>(from, from + bytes);  // as the driver does
    return {name, [=] {
                if (check_whole(device, bytes, Access::write)) memcpy(pointer(device), staged->data(), bytes);
            }, {}, {}, {}};
}

Work pinned_copy_to_device(Address device, const void* host, size_t bytes, const std::string& name) {
    Shared transfer = begin(host, bytes, name);
    return {name, [=] {
                check_unchanged(*transfer);
                if (check_whole(device, bytes, Access::write)) memcpy(pointer(device), host, bytes);
            }, {}, transfer->end, {}};
}

}  // namespace

Work copy_to_device(Address device, const void* host, size_t bytes) {
    count(Counter::copies_to_device);
    count(Counter::bytes_to_device, bytes);
    std::string name = text("copy of %zu bytes to the device", bytes);
    bool pinned = is_pinned(reinterpret_cast<Address>(host), bytes);
    return (pinned ? pinned_copy_to_device : pageable_copy_to_device)(device, host, bytes, name);
}

Work copy_from_device(void* host, Address device, size_t bytes) {
    count(Counter::copies_from_device);
    count(Counter::bytes_from_device, bytes);
    if (!is_pinned(reinterpret_cast<Address>(host), bytes)) count(Counter::pageable_copies);
    std::string name = text("copy of %zu bytes from the device", bytes);
    memset(host, 0xff, bytes);  // whoever reads too early gets what no copy has brought
    Shared transfer = begin(host, bytes, name);
    return {name, [=] {
                check_unchanged(*transfer);
                if (check_whole(device, bytes, Access::read)) memcpy(host, pointer(device), bytes);
                transfer->sum = sum_of(host, bytes);
            }, {}, transfer->end, {}};
}

Work copy_on_device(Address to, Address from, size_t bytes) {
    count(Counter::copies_on_device);
    return {text("copy of %zu bytes on the device", bytes), [=] {
                if (!check_whole(from, bytes, Access::read) || !check_whole(to, bytes, Access::write)) return;
                memmove(pointer(to), pointer(from), bytes);
            }, {}, {}, {}};
}

Work fill_device(Address device, size_t element_bytes, uint32_t value, size_t count) {
    size_t bytes = element_bytes * count;
    return {text("fill of %zu bytes", bytes), [=] {
                if (!check_whole(device, bytes, Access::write)) return;
                for (size_t i = 0; i < count; i++) memcpy(pointer(device + i * element_bytes), &value, element_bytes);
            }, {}, {}, {}};
}

void check_seen_transfers() {
    in_flight.remove_if([](const Shared& transfer) {
        const Moment& end = *transfer->end;
        if (!end.reached || !host_clock().covers(end.stream->id, end.number)) return false;
        check_unchanged(*transfer);
        return true;
    });
}

void end_host_memory(Address start, size_t bytes, const char* call) {
    in_flight.remove_if([=](const Shared& transfer) {
        auto host = reinterpret_cast<Address>(transfer->host);
        if (host >= start + bytes || host + transfer->bytes <= start) return false;
        if (failure() != SUCCESS) return true;
        report(ILLEGAL_ADDRESS, text("%s of host memory while `%s` is in flight; expected the host to wait for it", call,
                                     transfer->name.c_str()));
        return true;
    });
}

}  // namespace stand_in
