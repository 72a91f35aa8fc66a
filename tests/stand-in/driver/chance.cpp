#include "chance.h"

namespace stand_in {
namespace {

uint64_t state = 1;

}  // namespace

void seed_chance(uint64_t seed) { state = seed; }

// SplitMix64, Steele, Lea and Flood 2014.
uint32_t chance(uint32_t bound) {
    state += 0x9e3779b97f4a7c15;
    uint64_t mixed = (state ^ state >> 30) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111eb;
    return static_cast<uint32_t>((mixed ^ mixed >> 31) >> 32) % bound;
}

}  // namespace stand_in
