#include "sim/bootstrap.hpp"

#include "core/philox.hpp"
#include "core/reduce.hpp"

#include <Eigen/Core>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>

namespace kvtape {
namespace {

constexpr auto resamples = static_cast<std::size_t>(bootstrap_resamples);
constexpr std::size_t lanes = 4;
static_assert(resamples % lanes == 0);

/// Where a quantile lies in ascending order: behind `rank` values and a fraction of the next step.
struct Place {
    std::size_t rank = 0;
    double fraction = 0.0;
};
Place place_of(double quantile) {
    const double place = quantile * static_cast<double>(resamples - 1);
    const auto rank = static_cast<std::size_t>(place);
    return {rank, place - static_cast<double>(rank)};
}

/// What stands there, without sorting everything. Reorders `values`.
double selected(std::span<double> values, Place place) {
    const auto below = values.begin() + static_cast<std::ptrdiff_t>(place.rank);
    std::nth_element(values.begin(), below, values.end());
    const double above =
        below + 1 == values.end() ? *below : *std::min_element(below + 1, values.end());
    return *below + place.fraction * (above - *below);
}

/// What resampled means spread like, were they normal: the standard error of the mean.
double standard_error(std::span<const double> values, double mean) {
    double squares = 0.0;
    for (const double value : values)
        squares += (value - mean) * (value - mean);
    return std::sqrt(squares) / static_cast<double>(values.size());
}

/// One value of each of a few columns, which are resampled together: what a draw points to is read
/// once for all of them.
template <int width>
using Abreast = Eigen::Array<double, width, 1>;

/// What needs no draws: too few values, and values that are all the same, of which every resample
/// has the same mean.
std::optional<Interval> without_drawing(std::span<const double> values) {
    const double mean = ordered_mean(values);
    if (values.size() < bootstrap_least)
        return Interval{.mean = mean};
    const auto same = [&](double value) { return value == values.front(); };
    if (!std::all_of(values.begin(), values.end(), same))
        return std::nullopt;
    double sum = 0.0;
    for (const double value : values)
        sum += value;
    const double end = sum / static_cast<double>(values.size());
    return Interval{mean, end, end};
}

/// The means of every resample, column by column.
template <int width>
void resample(std::span<const std::uint32_t> draws,
              std::span<const Abreast<width>> values,
              std::span<double> means) {
    for (std::size_t first = 0; first < resamples; first += lanes) {
        // Resamples side by side, so that one need not wait for the sum of another.
        std::array<Abreast<width>, lanes> sums;
        sums.fill(Abreast<width>::Zero());
        const std::uint32_t* draw = draws.data() + first * values.size();
        for (std::size_t i = 0; i < values.size(); ++i)
            for (Abreast<width>& sum : sums)
                sum += values[*draw++];
        for (std::size_t lane = 0; lane < lanes; ++lane) {
            const Abreast<width> of_lane = sums[lane] / static_cast<double>(values.size());
            for (std::size_t column = 0; column < width; ++column)
                means[column * resamples + first + lane] =
                    of_lane[static_cast<Eigen::Index>(column)];
        }
    }
}

/// Room for the means of a resampled column that may lie at the ends of an interval.
struct Tails {
    std::unique_ptr<double[]> low = std::make_unique_for_overwrite<double[]>(resamples);
    std::unique_ptr<double[]> high = std::make_unique_for_overwrite<double[]>(resamples);
};

/// The interval of resampled means, which it reorders. Mostly both ends lie among the few means far
/// from the middle, and only these are looked at.
Interval interval_of(std::span<const double> values, std::span<double> means, Tails& tails) {
    const double mean = ordered_mean(values);
    // A normal distribution has 8 % of its values beyond each of these, where 2.5 % are needed.
    const double aside = 1.4 * standard_error(values, mean);
    const double left = mean - aside, right = mean + aside;
    std::size_t lows = 0, highs = 0;
    for (const double value : means) {
        tails.low[lows] = value;
        lows += value <= left ? 1 : 0;
        tails.high[highs] = value;
        highs += value >= right ? 1 : 0;
    }
    const Place low = place_of(0.025), high = place_of(0.975);
    const std::size_t nearer = resamples - highs;
    return {mean,
            low.rank + 1 < lows ? selected({tails.low.get(), lows}, low) : selected(means, low),
            high.rank >= nearer
                ? selected({tails.high.get(), highs}, {high.rank - nearer, high.fraction})
                : selected(means, high)};
}

template <int width>
void add_intervals(std::span<const std::uint32_t> draws,
                   std::span<const std::span<const double>> columns,
                   std::span<Interval> found) {
    std::vector<Abreast<width>> values(columns[0].size(), Abreast<width>::Zero());
    for (std::size_t column = 0; column < columns.size(); ++column)
        for (std::size_t i = 0; i < values.size(); ++i)
            values[i][static_cast<Eigen::Index>(column)] = columns[column][i];
    const auto room = std::make_unique_for_overwrite<double[]>(width * resamples);
    const std::span<double> means(room.get(), width * resamples);
    resample<width>(draws, values, means);
    Tails tails;
    for (std::size_t column = 0; column < columns.size(); ++column)
        found[column] =
            interval_of(columns[column], means.subspan(column * resamples, resamples), tails);
}

}  // namespace

Interval bootstrap_mean(std::span<const double> values) {
    return Bootstrap().mean(values);
}

Interval Bootstrap::mean(std::span<const double> values) const {
    if (const auto known = without_drawing(values))
        return *known;
    Interval found;
    const auto& drawn = draws(static_cast<std::uint32_t>(values.size()));
    add_intervals<1>(drawn, {&values, 1}, {&found, 1});
    return found;
}

std::vector<Interval> Bootstrap::means(std::span<const std::vector<double>> columns) const {
    constexpr std::size_t width = 8;
    std::vector<Interval> found(columns.size());
    std::map<std::size_t, std::vector<std::size_t>> by_count;
    for (std::size_t column = 0; column < columns.size(); ++column)
        if (const auto known = without_drawing(columns[column]))
            found[column] = *known;
        else
            by_count[columns[column].size()].push_back(column);
    for (const auto& [count, members] : by_count)
        for (std::size_t first = 0; first < members.size(); first += width) {
            const auto chosen =
                std::span(members).subspan(first, std::min(width, members.size() - first));
            std::array<std::span<const double>, width> values;
            std::array<Interval, width> intervals;
            for (std::size_t i = 0; i < chosen.size(); ++i)
                values[i] = columns[chosen[i]];
            add_intervals<width>(draws(static_cast<std::uint32_t>(count)),
                                 std::span(values).first(chosen.size()),
                                 intervals);
            for (std::size_t i = 0; i < chosen.size(); ++i)
                found[chosen[i]] = intervals[i];
        }
    return found;
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
