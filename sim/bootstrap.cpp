#include "sim/bootstrap.hpp"

#include "core/philox.hpp"
#include "core/reduce.hpp"

#include <algorithm>
#include <array>

namespace kvtape {
namespace {

constexpr auto resamples = static_cast<std::size_t>(bootstrap_resamples);
constexpr std::size_t lanes = 8;
static_assert(resamples % lanes == 0);

/// `quantile` without sorting everything; reorders `values`.
double selected_quantile(std::vector<double>& values, double fraction) {
    const double place = fraction * static_cast<double>(values.size() - 1);
    const auto below = values.begin() + static_cast<std::ptrdiff_t>(place);
    std::nth_element(values.begin(), below, values.end());
    const double above =
        below + 1 == values.end() ? *below : *std::min_element(below + 1, values.end());
    return *below + (place - static_cast<double>(below - values.begin())) * (above - *below);
}

}  // namespace

Interval bootstrap_mean(std::span<const double> values) {
    return Bootstrap().mean(values);
}

Interval Bootstrap::mean(std::span<const double> values) const {
    const double mean = ordered_mean(values);
    if (values.size() < bootstrap_least)
        return {.mean = mean};
    // Common (what a full cache keeps and loses), and sums of these are exact.
    const double common = values.front();
    const auto same = [&](double value) { return value == common; };
    if ((common == 0.0 || common == 1.0) && std::all_of(values.begin(), values.end(), same))
        return {common, common, common};
    const std::vector<std::uint32_t>& drawn = draws(static_cast<std::uint32_t>(values.size()));
    std::vector<double> means(resamples);
    for (std::size_t first = 0; first < resamples; first += lanes) {
        // Resamples side by side, so that one need not wait for the sum of another.
        std::array<double, lanes> sums{};
        const std::uint32_t* draw = drawn.data() + first * values.size();
        for (std::size_t i = 0; i < values.size(); ++i)
            for (std::size_t lane = 0; lane < lanes; ++lane)
                sums[lane] += values[*draw++];
        for (std::size_t lane = 0; lane < lanes; ++lane)
            means[first + lane] = sums[lane] / static_cast<double>(values.size());
    }
    return {mean, selected_quantile(means, 0.025), selected_quantile(means, 0.975)};
}

const Bootstrap::Draws& Bootstrap::draws(std::uint32_t count) const {
    const std::lock_guard lock(guard_);
    std::unique_ptr<const Draws>& known = draws_[count];
    if (known == nullptr) {
        const Philox random(bootstrap_seed);
        Draws drawn(resamples * count);
        for (std::size_t resample = 0, word = 0; resample < resamples; ++resample)
            for (std::size_t i = 0; i < count; ++i, ++word)
                drawn[(resample / lanes * count + i) * lanes + resample % lanes] =
                    random.below(word, count);
        known = std::make_unique<const Draws>(std::move(drawn));
    }
    return *known;
}

}  // namespace kvtape
