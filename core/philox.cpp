#include "core/philox.hpp"

#include <Random123/philox.h>

namespace kvtape {
namespace {

std::uint32_t low(std::uint64_t word) {
    return static_cast<std::uint32_t>(word);
}
std::uint32_t high(std::uint64_t word) {
    return static_cast<std::uint32_t>(word >> 32);
}

}  // namespace

std::array<std::uint32_t, 4> Philox::block(std::uint64_t index) const {
    const r123::Philox4x32::ctr_type counter = {
        {low(index), high(index), low(stream_), high(stream_)}};
    const r123::Philox4x32::key_type key = {{low(seed_), high(seed_)}};
    const auto words = r123::Philox4x32()(counter, key);
    return {words[0], words[1], words[2], words[3]};
}

double Philox::uniform(std::uint64_t index) const {
    return (static_cast<double>(block(index / 4)[index % 4]) + 0.5) * 0x1p-32;
}

std::uint32_t Philox::below(std::uint64_t index, std::uint32_t bound) const {
    return high(static_cast<std::uint64_t>(block(index / 4)[index % 4]) * bound);
}

}  // namespace kvtape
