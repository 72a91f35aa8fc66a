// Who happens before whom, by vector clocks.
//
// Each stream numbers its operations. A clock says, for each stream, up to which number its owner has seen: the host's
// clock grows when the host waits, a stream's when it runs an operation or waits for an event. Operation A happens
// before B if B's clock covers A's number. The order in which the stand-in happened to run them says nothing.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace stand_in {

class Clock {
public:
    void join(const Clock& other);
    void set(uint32_t stream, uint32_t number);
    bool covers(uint32_t stream, uint32_t number) const { return stream < seen.size() && seen[stream] >= number; }

private:
    std::vector<uint32_t> seen;  // by stream
};

// Something that a stream did: a kernel, a copy, a fill. Its identity in the marks on memory (memory.h) is its index
// in the list of all; index 0 is nobody.
struct Operation {
    std::string name;
    uint32_t stream;
    uint32_t number;
    Clock clock;
};

using OperationId = uint32_t;

// The operation that runs now becomes `operation`.
void begin_operation(Operation operation);
OperationId current_operation();
const Operation& operation(OperationId id);

// Whether `id` happens before the operation that runs now.
bool happened_before(OperationId id);

// What the host has seen. One clock for all host threads: how they synchronise among themselves is not seen.
Clock& host_clock();

}  // namespace stand_in
