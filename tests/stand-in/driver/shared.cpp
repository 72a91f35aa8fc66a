#include "shared.h"

#include <vector>

#include "hooks.h"
#include "report.h"
#include "symbols.h"
#include "threads.h"

namespace stand_in {
namespace {

constexpr size_t granule = 2;
constexpr uint16_t nobody = 0xffff;
constexpr uint16_t several = 0xfffe;

struct Mark {
    Time written = 0;
    Time read = 0;              // the last read
    uint16_t writer = nobody;   // a thread
    Time changed = 0;           // the last atomic since then
    uint16_t changer = nobody;  // a thread, or `several`
    uint16_t reader = nobody;   // a thread, or `several` of `reader_warp`
    uint16_t reader_warp = 0;   // or `several`
    uint16_t copier = nobody;   // the thread that has a copy to here in flight
    Time copied = 0;            // when that copy began
};

// Where a mark is found: static arrays are the writable variables of the library, dynamic ones have their own place.
struct Region {
    Address start;
    std::vector<Mark> marks;

    bool contains(Address address) const { return address - start < marks.size() * granule; }
    Mark& mark(Address address) { return marks[(address - start) / granule]; }
};

Region region(Address start, size_t bytes) { return {start, std::vector<Mark>(bytes / granule + 1)}; }

Region& static_region() {
    static Region shared = [] {
        Segment segment = writable_segment();
        return region(segment.start, segment.bytes);
    }();
    return shared;
}

Region& dynamic_region() {
    static Region shared = region(dynamic_shared_memory().start, dynamic_shared_memory().capacity);
    return shared;
}

// "offset 12 of `tile` (2048 bytes)"
std::string shared_place(Address address) {
    DynamicShared dynamic = dynamic_shared_memory();
    if (dynamic_region().contains(address)) {
        return text("offset %zu of the dynamic shared memory (%u bytes)", address - dynamic.start, dynamic.bytes);
    }
    Symbol symbol = symbol_at(address);
    return text("offset %zu of the shared array `%s` (%zu bytes)", address - symbol.start, symbol.name.c_str(), symbol.bytes);
}

[[noreturn]] void refuse(Address address, size_t bytes, Access access, const std::string& expected) {
    const char* verb = access == Access::read ? "reads" : "writes";
    report(LAUNCH_FAILED, text("%s %s %zu bytes at %s: %s", actor().c_str(), verb, bytes, shared_place(address).c_str(),
                               expected.c_str()));
    end_launch();
}

// What is wrong with an access to one mark.
struct Fault {
    enum Kind : uint32_t { none, unwritten, in_flight, after_write, after_read } kind;
    uint16_t thread;
};

std::string explain(Fault fault) {
    if (fault.kind == Fault::unwritten) return "no thread of this block has written it";
    if (fault.kind == Fault::in_flight) {
        return text("thread %u of the block has a cp.async copy to it in flight; expected its cp_async_wait before", fault.thread);
    }
    std::string who = fault.thread == several ? "other threads" : text("thread %u of the block", fault.thread);
    return text("a race: %s %s it, and no __syncthreads (or __syncwarp, within a warp) orders the two", who.c_str(),
                fault.kind == Fault::after_write ? "wrote" : "read");
}

uint16_t warp_of(uint16_t thread) { return thread / 32; }

// Whether what `thread` did at `when` is ordered before what happens at `here`.
bool ordered(Time when, uint16_t thread, const Position& here) {
    return when < here.block_barrier || thread == here.thread ||
           (warp_of(thread) == here.warp && when < here.warp_barrier);
}

bool reads_ordered(const Mark& mark, const Position& here) {
    if (mark.read < here.block_barrier) return true;
    if (mark.reader != several) return ordered(mark.read, mark.reader, here);
    return mark.reader_warp == here.warp && mark.read < here.warp_barrier;
}

void note_read(Mark& mark, const Position& here) {
    bool first = mark.read < here.block_barrier || mark.reader == nobody;
    if (first) {
        mark.reader_warp = here.warp;
        mark.reader = here.thread;
    } else if (mark.reader != here.thread) {
        if (mark.reader_warp != here.warp) mark.reader_warp = several;
        mark.reader = several;
    }
    mark.read = here.now;
}

void note_write(Mark& mark, const Position& here) {
    mark.written = here.now;
    mark.writer = here.thread;
    mark.changed = 0;
    mark.changer = nobody;
}

// Atomics of different threads may meet. What comes next has to be ordered behind all of them.
void note_change(Mark& mark, const Position& here) {
    bool alone = mark.changed < here.block_barrier || mark.changer == here.thread;
    mark.changed = here.now;
    mark.changer = alone ? here.thread : several;
}

Fault check_mark(Mark& mark, Access access, const Position& here) {
    if (mark.copier != nobody && mark.copied >= here.block_began) return {Fault::in_flight, mark.copier};
    bool written = mark.written >= here.block_began;
    if (access != Access::write && !written) return {Fault::unwritten, 0};
    if (written && !ordered(mark.written, mark.writer, here)) return {Fault::after_write, mark.writer};
    bool changed = access != Access::atomic && mark.changed >= here.block_began;
    if (changed && !ordered(mark.changed, mark.changer, here)) return {Fault::after_write, mark.changer};
    if (access == Access::read) {
        note_read(mark, here);
        return {};
    }
    if (mark.read >= here.block_began && !reads_ordered(mark, here)) return {Fault::after_read, mark.reader};
    mark.reader = nobody;
    mark.read = 0;
    if (access == Access::atomic) note_change(mark, here);
    else note_write(mark, here);
    return {};
}

}  // namespace

bool is_shared(Address address) { return static_region().contains(address) || dynamic_region().contains(address); }

void check_shared(Address address, size_t bytes, Access access) {
    DynamicShared dynamic = dynamic_shared_memory();
    Region& region = dynamic_region().contains(address) ? dynamic_region() : static_region();
    if (region.start == dynamic.start && address + bytes > dynamic.start + dynamic.bytes) {
        refuse(address, bytes, access, text("expected offsets below %u", dynamic.bytes));
    }
    Position here = position();
    for (size_t offset = 0; offset < bytes; offset += granule) {
        Fault fault = check_mark(region.mark(address + offset), access, here);
        if (fault.kind != Fault::none) refuse(address + offset, bytes, access, explain(fault));
    }
}

void check_shared_read(const void* address, size_t bytes) {
    if (checked) check_access(address, bytes, Access::read);
}

void check_async_copy(const void* to, const void* from, size_t bytes, size_t source_bytes) {
    auto address = reinterpret_cast<Address>(to);
    if (!checked) return;
    check_alignment(to, bytes);
    check_alignment(from, bytes);
    if (source_bytes) check_access(from, source_bytes, Access::read);
    if (!is_shared(address)) refuse_address(address, bytes, "expected the target of cp.async in shared memory");
    check_shared(address, bytes, Access::write);
    Region& region = dynamic_region().contains(address) ? dynamic_region() : static_region();
    Position here = position();
    for (size_t offset = 0; offset < bytes; offset += granule) {
        Mark& mark = region.mark(address + offset);
        mark.copier = here.thread;
        mark.copied = here.now;
    }
}

void mark_landed(const void* to, size_t bytes) {
    if (!checked) return;
    auto address = reinterpret_cast<Address>(to);
    Region& region = dynamic_region().contains(address) ? dynamic_region() : static_region();
    Position here = position();
    for (size_t offset = 0; offset < bytes; offset += granule) {
        Mark& mark = region.mark(address + offset);
        mark.copier = nobody;
        note_write(mark, here);
    }
}

}  // namespace stand_in
