// Reproducible choices for the random schedule.
#pragma once

#include <cstdint>

namespace stand_in {

void seed_chance(uint64_t seed);
// Below `bound`, which is at least 1.
uint32_t chance(uint32_t bound);

}  // namespace stand_in
