#include "sim/bootstrap.hpp"

#include "core/philox.hpp"
#include "core/reduce.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace kvtape {
namespace {

constexpr auto resamples = static_cast<std::size_t>(bootstrap_resamples);
constexpr std::size_t lanes = 8;
static_assert(resamples % lanes == 0);

/// `quantile` without sorting everything. Where the values in [from, to] hold the two it lies
/// between, only these are looked at; otherwise all are. Reorders `values`.
double selected_quantile(std::vector<double>& values, double fraction, double from, double to) {
    const double place = fraction * static_cast<double>(values.size() - 1);
    auto rank = static_cast<std::size_t>(place);
    const double above_rank = place - static_cast<double>(rank);
    std::vector<double> inside(values.size());
    std::size_t count = 0, smaller = 0;
    for (const double value : values) {
        inside[count] = value;
        count += value >= from && value <= to ? 1 : 0;
        smaller += value < from ? 1 : 0;
    }
    std::vector<double>& chosen = smaller <= rank && rank + 1 < smaller + count ? inside : values;
    if (&chosen == &inside) {
        inside.resize(count);
        rank -= smaller;
    }
    const auto below = chosen.begin() + static_cast<std::ptrdiff_t>(rank);
    std::nth_element(chosen.begin(), below, chosen.end());
    const double above =
        below + 1 == chosen.end() ? *below : *std::min_element(below + 1, chosen.end());
    return *below + above_rank * (above - *below);
}

/// What resampled means spread like, were they normal: the standard error of the mean.
double standard_error(std::span<const double> values, double mean) {
    double squares = 0.0;
    for (const double value : values)
        squares += (value - mean) * (value - mean);
    return std::sqrt(squares) / static_cast<double>(values.size());
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
    // A normal distribution has 8 % of its values beyond each of these, where 2.5 % are needed.
    constexpr double infinity = std::numeric_limits<double>::infinity();
    const double aside = 1.4 * standard_error(values, mean);
    return {mean,
            selected_quantile(means, 0.025, -infinity, mean - aside),
            selected_quantile(means, 0.975, mean + aside, infinity)};
}

const Bootstrap::Draws& Bootstrap::draws(std::uint32_t count) const {
    const std::lock_guard lock(guard_);
    std::unique_ptr<const Draws>& known = draws_[count];
    if (known == nullptr) {
        const Philox random(bootstrap_seed);
        Draws drawn(resamples * count);
        std::array<std::uint32_t, 4> words{};
        for (std::size_t resample = 0, word = 0; resample < resamples; ++resample)
            for (std::size_t i = 0; i < count; ++i, ++word) {
                if (word % words.size() == 0)
                    words = random.block(word / words.size());
                // `Philox::below`, which would make four words for each.
                drawn[(resample / lanes * count + i) * lanes + resample % lanes] =
                    static_cast<std::uint32_t>(std::uint64_t{words[word % words.size()]} * count >>
                                               32);
            }
        known = std::make_unique<const Draws>(std::move(drawn));
    }
    return *known;
}

}  // namespace kvtape
