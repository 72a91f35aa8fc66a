// The library's own variables, as its ELF file and the loader know them: where the static shared arrays are, and how
// they are called.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace stand_in {

struct Segment {
    uintptr_t start;
    size_t bytes;
};

// Where all variables of this library lie that can be written.
Segment writable_segment();
// Whether `address` lies in this library at all, so that it is a constant of a kernel if it is not in the segment above.
bool is_library(uintptr_t address);

struct Symbol {
    std::string name;
    uintptr_t start;
    size_t bytes;
};

// The variable that `address` lies in, or a nameless one.
Symbol symbol_at(uintptr_t address);

}  // namespace stand_in
