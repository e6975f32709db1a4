#include "sim/bootstrap.hpp"

#include "core/philox.hpp"
#include "core/reduce.hpp"

#include <cstdint>
#include <vector>

namespace kvtape {

Interval bootstrap_mean(std::span<const double> values) {
    const auto count = static_cast<std::uint32_t>(values.size());
    const double mean = ordered_mean(values);
    if (count < bootstrap_least)
        return {.mean = mean};
    const Philox random(bootstrap_seed);
    std::vector<double> means;
    means.reserve(bootstrap_resamples);
    std::uint64_t draw = 0;
    for (int resample = 0; resample < bootstrap_resamples; ++resample) {
        double sum = 0.0;
        for (std::uint32_t i = 0; i < count; ++i)
            sum += values[random.below(draw++, count)];
        means.push_back(sum / count);
    }
    return {mean, quantile(means, 0.025), quantile(means, 0.975)};
}

}  // namespace kvtape
