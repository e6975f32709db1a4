#include "tools/bench/random_tensor.hpp"

#include "core/memory.hpp"
#include "core/parallel.hpp"
#include "core/philox.hpp"

#include <algorithm>

namespace kvtape::bench {

std::vector<float> random_tensor(std::size_t count, std::uint64_t stream, int threads) {
    std::vector<float> tensor;
    resize_scratch(tensor, count);
    const Philox random(1, stream);
    constexpr std::size_t stretch = 1 << 16;
    parallel_for((count + stretch - 1) / stretch, threads, [&](std::size_t part) {
        const std::size_t end = std::min(count, (part + 1) * stretch);
        for (std::size_t i = part * stretch; i < end; i += 4) {
            const auto words = random.block(i / 4);
            for (std::size_t j = i; j < std::min(i + 4, end); ++j)
                tensor[j] = static_cast<float>(words[j - i]) * 0x1p-31f - 1.0f;
        }
    });
    return tensor;
}

}  // namespace kvtape::bench
