#include "memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <vector>

#include "clocks.h"
#include "kernels.h"
#include "threads.h"

namespace stand_in {
namespace {

constexpr size_t page_bytes = 4096;
constexpr size_t alignment = 256;  // what cuMemAlloc promises
constexpr size_t granule = 2;

constexpr uint16_t no_block = 0;
constexpr uint16_t many_blocks = 0xffff;
constexpr uint16_t atomically = 0xfffe;

struct Mark {
    OperationId writer;
    OperationId reader;
    OperationId other_reader;  // one that did not happen before `reader`
    uint16_t writer_block;     // within the writer; `atomically` for atomics of any block
    uint16_t reader_block;     // within the reader
};

struct Allocation {
    Address start;
    size_t bytes;
    uint32_t number;
    bool live;
    Mark* marks;

    Mark* mark(Address address) const { return marks + (address - start) / granule; }
};

std::vector<Allocation> allocations;
uint32_t* allocation_of_page;  // by page of the device's range: an index into `allocations`, plus 1
Address next_page;
size_t total_bytes = size_t{4} << 30;
size_t used_bytes;
std::map<Address, size_t> pinned;

void* reserve(void* at, size_t bytes, int protection) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (at ? MAP_FIXED_NOREPLACE : 0);
    void* memory = mmap(at, bytes, protection, flags, -1, 0);
    if (memory == MAP_FAILED || (at && memory != at)) {
        perror("the stand-in for libcuda reserves its address range");
        abort();
    }
    return memory;
}

size_t whole_pages(size_t bytes) { return (bytes + page_bytes - 1) / page_bytes * page_bytes; }

void reserve_once() {
    if (next_page) return;
    reserve(reinterpret_cast<void*>(device_base), device_span, PROT_NONE);
    size_t pages = device_span / page_bytes * sizeof(uint32_t);
    allocation_of_page = static_cast<uint32_t*>(reserve(nullptr, pages, PROT_READ | PROT_WRITE));
    next_page = device_base;
}

size_t mark_bytes(const Allocation& allocation) { return (allocation.bytes / granule + 1) * sizeof(Mark); }

// The allocation whose pages `address` lies in; its exact bounds are for the caller to check.
Allocation* allocation_at(Address address) {
    if (!is_device(address) || !next_page) return nullptr;
    uint32_t index = allocation_of_page[(address - device_base) / page_bytes];
    return index ? &allocations[index - 1] : nullptr;
}

const char* verb(Access access) {
    switch (access) {
        case Access::read: return "reads";
        case Access::write: return "writes";
        default: return "changes atomically";
    }
}

std::string attempt(Address address, size_t bytes, Access access) {
    return text("%s %s %zu bytes at %s", actor().c_str(), verb(access), bytes, place(address).c_str());
}

bool refuse(Address address, size_t bytes, Access access, const std::string& expected) {
    report(ILLEGAL_ADDRESS, attempt(address, bytes, access) + ": " + expected);
    return false;
}

// What is wrong with an access to one mark.
struct Fault {
    enum Kind : uint32_t { none, unwritten, after_write, after_read, between_blocks } kind;
    OperationId other;
};

std::string explain(Fault fault) {
    if (fault.kind == Fault::unwritten) return "nobody has written it";
    if (fault.kind == Fault::between_blocks) {
        return "a race: another block of the same launch touches it, and blocks run in any order";
    }
    const Operation& other = operation(fault.other);
    return text("a race: `%s` (operation %u of stream %u) %s it, and no event or synchronisation orders the two",
                other.name.c_str(), other.number, other.stream, fault.kind == Fault::after_write ? "wrote" : "read");
}

Fault check_read(Mark& mark, uint16_t block, OperationId now) {
    if (!mark.writer) return {Fault::unwritten, 0};
    if (mark.writer == now) {
        if (mark.writer_block != block) return {Fault::between_blocks, 0};
    } else if (!happened_before(mark.writer)) {
        return {Fault::after_write, mark.writer};
    }
    if (mark.reader != now) {
        if (mark.reader && !happened_before(mark.reader)) mark.other_reader = mark.reader;
        mark.reader = now;
        mark.reader_block = block;
    } else if (mark.reader_block != block) {
        mark.reader_block = many_blocks;
    }
    return {};
}

Fault check_write(Mark& mark, uint16_t block, OperationId now) {
    if (mark.writer == now) {
        if (mark.writer_block != block) return {Fault::between_blocks, 0};
    } else if (mark.writer && !happened_before(mark.writer)) {
        return {Fault::after_write, mark.writer};
    }
    if (mark.reader == now) {
        if (mark.reader_block != block) return {Fault::between_blocks, 0};
    } else if (mark.reader && !happened_before(mark.reader)) {
        return {Fault::after_read, mark.reader};
    }
    if (mark.other_reader && mark.other_reader != now && !happened_before(mark.other_reader)) {
        return {Fault::after_read, mark.other_reader};
    }
    mark = {now, 0, 0, block, no_block};
    return {};
}

Fault check_mark(Mark& mark, Access access, uint16_t block, OperationId now) {
    if (access == Access::read) return check_read(mark, block, now);
    if (access == Access::write) return check_write(mark, block, now);
    return mark.writer ? check_write(mark, atomically, now) : Fault{Fault::unwritten, 0};
}

}  // namespace

Address allocate(size_t bytes) {
    reserve_once();
    size_t pages = whole_pages(bytes);
    if (bytes > total_bytes - used_bytes || next_page + pages + page_bytes > device_base + device_span) return 0;
    // The end lies as near to the guard page behind it as the alignment allows.
    Address start = next_page + (pages - bytes) / alignment * alignment;
    Allocation allocation{start, bytes, static_cast<uint32_t>(allocations.size() + 1), true, nullptr};
    mprotect(reinterpret_cast<void*>(next_page), pages, PROT_READ | PROT_WRITE);
    if (checked) allocation.marks = static_cast<Mark*>(reserve(nullptr, mark_bytes(allocation), PROT_READ | PROT_WRITE));
    allocations.push_back(allocation);
    size_t first_page = (next_page - device_base) / page_bytes;
    // The guard page is the allocation's too, so that one element too many is named as such.
    std::fill_n(allocation_of_page + first_page, pages / page_bytes + 1, allocation.number);
    next_page += pages + page_bytes;
    used_bytes += bytes;
    return start;
}

bool release(Address address) {
    Allocation* allocation = allocation_at(address);
    if (!allocation || !allocation->live || allocation->start != address) {
        report(INVALID_VALUE, text("cuMemFree of %s: no live allocation starts there", place(address).c_str()));
        return false;
    }
    allocation->live = false;
    used_bytes -= allocation->bytes;
    if (checked) munmap(allocation->marks, mark_bytes(*allocation));
    Address pages = address / page_bytes * page_bytes;
    size_t length = whole_pages(address - pages + allocation->bytes);
    madvise(reinterpret_cast<void*>(pages), length, MADV_DONTNEED);
    mprotect(reinterpret_cast<void*>(pages), length, PROT_NONE);
    return true;
}

std::string place(Address address) {
    const Allocation* allocation = allocation_at(address);
    if (!allocation) return text("0x%zx, which was never allocated on the device", static_cast<size_t>(address));
    const Launch* launch = running_launch();
    std::string argument = launch ? launch->argument_into(allocation->start, allocation->bytes) : "";
    return text("offset %td of allocation %u%s, of %zu bytes%s", static_cast<ptrdiff_t>(address - allocation->start),
                allocation->number, argument.c_str(), allocation->bytes, allocation->live ? "" : ", freed");
}

bool was_allocated(Address address) {
    const Allocation* allocation = allocation_at(address);
    return allocation && address >= allocation->start && address <= allocation->start + allocation->bytes;
}

bool check_device(Address address, size_t bytes, Access access, uint32_t block_number) {
    if (bytes == 0) return true;
    const Allocation* allocation = allocation_at(address);
    if (!allocation) return refuse(address, bytes, access, "expected an address that cuMemAlloc gave");
    if (!allocation->live) return refuse(address, bytes, access, "expected a live allocation");
    if (address < allocation->start || address + bytes > allocation->start + allocation->bytes) {
        return refuse(address, bytes, access, text("expected offsets below %zu", allocation->bytes));
    }
    if (!checked) return true;
    // Blocks whose numbers are this far apart share a name; then a race between them is missed.
    uint16_t block = block_number % (atomically - 1) + 1;
    OperationId now = current_operation();
    Mark* last = allocation->mark(address + bytes - 1);
    for (Mark* mark = allocation->mark(address); mark <= last; mark++) {
        Fault fault = check_mark(*mark, access, block, now);
        if (fault.kind == Fault::none) continue;
        return refuse(allocation->start + (mark - allocation->marks) * granule, bytes, access, explain(fault));
    }
    return true;
}

void set_device_bytes(size_t total) { total_bytes = total; }
size_t device_bytes() { return total_bytes; }
size_t free_device_bytes() { return total_bytes - std::min(used_bytes, total_bytes); }

size_t live_allocations() {
    return std::count_if(allocations.begin(), allocations.end(), [](const Allocation& a) { return a.live; });
}

void pin(Address address, size_t bytes) { pinned[address] = bytes; }

size_t unpin(Address address) {
    auto found = pinned.find(address);
    if (found == pinned.end()) return 0;
    size_t bytes = found->second;
    pinned.erase(found);
    return bytes;
}

bool is_pinned(Address address, size_t bytes) {
    auto after = pinned.upper_bound(address);
    if (after == pinned.begin()) return false;
    auto [start, length] = *std::prev(after);
    return address + bytes <= start + length;
}

}  // namespace stand_in
