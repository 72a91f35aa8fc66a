// Ends each unit of kernels: `ENLIST(name)` makes a kernel known by its name, with the sizes of its parameters.
#pragma once

#include <type_traits>
#include <utility>

#include "kernels.h"

namespace stand_in {

template <auto function>
struct Enlisted;

template <class... Parameters, void (*function)(Parameters...)>
struct Enlisted<function> {
    explicit Enlisted(const char* name) {
        enlist({name, {{sizeof(Parameters), alignof(Parameters), std::is_pointer_v<Parameters>}...}, call});
    }

    // The arguments lie in the host's memory, which no check is to see.
    __attribute__((no_sanitize("thread"), no_sanitize("alignment"))) static void call(void** arguments) {
        call_with(arguments, std::index_sequence_for<Parameters...>{});
    }

    template <size_t... position>
    __attribute__((no_sanitize("thread"), no_sanitize("alignment"))) static void call_with(
        void** arguments, std::index_sequence<position...>) {
        function(*static_cast<std::remove_const_t<Parameters>*>(arguments[position])...);
    }
};

}  // namespace stand_in

#define ENLIST(kernel) static stand_in::Enlisted<&stand_in_kernel_##kernel> stand_in_enlisted_##kernel(#kernel);
