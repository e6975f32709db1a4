#include "analyze/calibration.hpp"

#include "analyze/kendall.hpp"
#include "analyze/spearman.hpp"
#include "core/error.hpp"
#include "core/parallel.hpp"
#include "core/philox.hpp"
#include "core/reduce.hpp"
#include "sim/bootstrap.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

namespace kvtape {
namespace {

/// The mean of the values at `draws`, those that are not a number left out.
double mean_at(const std::vector<double>& values, std::span<const std::uint32_t> draws) {
    double sum = 0.0;
    int count = 0;
    for (const std::uint32_t draw : draws)
        if (!std::isnan(values[draw])) {
            sum += values[draw];
            ++count;
        }
    return count == 0 ? std::numeric_limits<double>::quiet_NaN() : sum / count;
}

/// Which sequences of every task count, with repetition.
using Draws = std::map<std::string, std::vector<std::uint32_t>>;

struct Both {
    std::optional<double> spearman, kendall;
};

Both correlate(std::span<const CalibrationCell> cells, const Draws& draws) {
    std::vector<double> metric, correct;
    for (const CalibrationCell& cell : cells) {
        const std::vector<std::uint32_t>& chosen = draws.at(cell.task);
        metric.push_back(mean_at(cell.metric, chosen));
        correct.push_back(mean_at(cell.correct, chosen));
    }
    return {spearman_rho(metric, correct), kendall_tau_b_double(metric, correct)};
}

std::optional<Correlation> with_interval(std::optional<double> value,
                                         const std::vector<double>& resampled) {
    if (!value)
        return std::nullopt;
    constexpr double none = std::numeric_limits<double>::quiet_NaN();
    std::vector<double> defined;
    std::copy_if(resampled.begin(), resampled.end(), std::back_inserter(defined), [](double x) {
        return !std::isnan(x);
    });
    if (defined.empty())
        return Correlation{*value, none, none};
    return Correlation{*value, quantile(defined, 0.025), quantile(defined, 0.975)};
}

}  // namespace

Calibration calibrate(std::span<const CalibrationCell> cells, int threads) {
    Draws all;
    Calibration result;
    for (const CalibrationCell& cell : cells) {
        std::vector<std::uint32_t>& draws = all[cell.task];
        if (draws.empty())
            for (std::uint32_t i = 0; i < cell.metric.size(); ++i)
                draws.push_back(i);
        if (draws.size() != cell.metric.size() || draws.size() != cell.correct.size())
            throw internal_error("calibrating: cells of the task " + cell.task +
                                 " hold different sequences");
        result.cells +=
            std::any_of(
                cell.metric.begin(), cell.metric.end(), [](double x) { return !std::isnan(x); })
                ? 1
                : 0;
    }
    std::uint32_t fewest = std::numeric_limits<std::uint32_t>::max(), words = 0;
    for (const auto& [task, draws] : all) {
        const auto count = static_cast<std::uint32_t>(draws.size());
        fewest = std::min(fewest, count);
        words += count;
    }
    result.sequences = words;
    std::vector<double> spearman, kendall;
    if (!all.empty() && fewest >= bootstrap_least) {
        constexpr double none = std::numeric_limits<double>::quiet_NaN();
        constexpr auto resamples = static_cast<std::size_t>(bootstrap_resamples);
        spearman.assign(resamples, none);
        kendall.assign(resamples, none);
        const Philox random(bootstrap_seed);
        parallel_for(resamples, threads, [&](std::size_t resample) {
            Draws draws = all;
            std::uint64_t word = std::uint64_t{resample} * words;
            for (auto& [task, chosen] : draws) {
                const auto count = static_cast<std::uint32_t>(chosen.size());
                for (std::uint32_t& draw : chosen)
                    draw = random.below(word++, count);
            }
            const Both both = correlate(cells, draws);
            spearman[resample] = both.spearman.value_or(none);
            kendall[resample] = both.kendall.value_or(none);
        });
    }
    const Both both = correlate(cells, all);
    result.spearman = with_interval(both.spearman, spearman);
    result.kendall = with_interval(both.kendall, kendall);
    return result;
}

}  // namespace kvtape
