#include "core/memory.hpp"

#include <cstdint>
#include <sys/mman.h>

namespace kvtape {
namespace {

constexpr std::uintptr_t large_page = 2 << 20;

/// Asks for large pages in the part of `[begin, begin + bytes)` that can hold them. Advice: whether
/// it is taken changes nothing but speed.
void advise_large_pages(void* begin, std::size_t bytes) {
    const auto address = reinterpret_cast<std::uintptr_t>(begin);
    const std::uintptr_t first = (address + large_page - 1) / large_page * large_page;
    const std::uintptr_t end = (address + bytes) / large_page * large_page;
    if (first < end)
        madvise(reinterpret_cast<void*>(first), end - first, MADV_HUGEPAGE);
}

}  // namespace

void resize_scratch(std::vector<float>& values, std::size_t count) {
    if (count > values.capacity()) {
        values = {};
        values.reserve(count);
        advise_large_pages(values.data(), values.capacity() * sizeof(float));
    }
    values.resize(count);
}

}  // namespace kvtape
