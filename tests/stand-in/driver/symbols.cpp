#include "symbols.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <link.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <vector>

namespace stand_in {
namespace {

struct Library {
    uintptr_t base = 0;
    uintptr_t end = 0;
    Segment writable = {};
};

// Of all loaded libraries, the one that holds this function.
int look(dl_phdr_info* info, size_t, void* found) {
    Library library;
    library.base = info->dlpi_addr;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr)& header = info->dlpi_phdr[i];
        if (header.p_type != PT_LOAD) continue;
        library.end = std::max<uintptr_t>(library.end, library.base + header.p_vaddr + header.p_memsz);
        if (header.p_flags & PF_W) library.writable = {library.base + header.p_vaddr, header.p_memsz};
    }
    auto here = reinterpret_cast<uintptr_t>(&look);
    if (here < library.base || here >= library.end) return 0;
    *static_cast<Library*>(found) = library;
    return 1;
}

const Library& library() {
    static Library library = [] {
        Library found;
        dl_iterate_phdr(look, &found);
        return found;
    }();
    return library;
}

std::vector<char> own_file() {
    Dl_info info;
    if (!dladdr(reinterpret_cast<void*>(&own_file), &info)) return {};
    std::ifstream file(info.dli_fname, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

std::string readable(const char* mangled) {
    int status;
    char* demangled = abi::__cxa_demangle(mangled, nullptr, nullptr, &status);
    std::string name = status == 0 ? demangled : mangled;
    free(demangled);
    return name;
}

// The symbols of local variables are in no table that the loader reads, only in the file's `.symtab`.
Symbol symbol_in(const std::vector<char>& file, uintptr_t offset) {
    if (file.size() < sizeof(Elf64_Ehdr)) return {};
    auto* header = reinterpret_cast<const Elf64_Ehdr*>(file.data());
    auto* sections = reinterpret_cast<const Elf64_Shdr*>(file.data() + header->e_shoff);
    for (int i = 0; i < header->e_shnum; i++) {
        if (sections[i].sh_type != SHT_SYMTAB) continue;
        const char* names = file.data() + sections[sections[i].sh_link].sh_offset;
        auto* symbols = reinterpret_cast<const Elf64_Sym*>(file.data() + sections[i].sh_offset);
        for (size_t s = 0; s < sections[i].sh_size / sizeof(Elf64_Sym); s++) {
            const Elf64_Sym& symbol = symbols[s];
            if (ELF64_ST_TYPE(symbol.st_info) != STT_OBJECT || offset - symbol.st_value >= symbol.st_size) continue;
            return {readable(names + symbol.st_name), symbol.st_value, symbol.st_size};
        }
    }
    return {};
}

}  // namespace

Segment writable_segment() { return library().writable; }

bool is_library(uintptr_t address) { return address >= library().base && address < library().end; }

Symbol symbol_at(uintptr_t address) {
    Symbol symbol = symbol_in(own_file(), address - library().base);
    symbol.start += library().base;
    return symbol;
}

}  // namespace stand_in
