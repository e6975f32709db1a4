#include "tools/task_tally.hpp"

#include "tools/visible_text.hpp"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <sstream>

namespace kvtape {
namespace {

double per_second(std::int64_t tokens, double seconds) {
    return seconds > 0.0 ? static_cast<double>(tokens) / seconds : 0.0;
}

}  // namespace

ShareInterval wilson_interval(std::int64_t successes, std::int64_t trials) {
    if (trials == 0)
        return {};
    constexpr double z = 1.96;
    const double n = static_cast<double>(trials);
    const double share = static_cast<double>(successes) / n;
    const double middle = share + z * z / (2.0 * n);
    const double half = z * std::sqrt(share * (1.0 - share) / n + z * z / (4.0 * n * n));
    const double scale = 1.0 + z * z / n;
    return {.low = std::max(0.0, (middle - half) / scale),
            .high = std::min(1.0, (middle + half) / scale)};
}

void TaskTally::add(const SequenceInfo& sequence, double run_seconds, std::int64_t written) {
    keep(sequence);
    tokens += sequence.length();
    seconds += run_seconds;
    bytes += written;
}

void TaskTally::keep(const SequenceInfo& sequence) {
    ++sequences;
    judged += sequence.correct >= 0 ? 1 : 0;
    right += sequence.correct == 1 ? 1 : 0;
}

std::string TaskTally::line() const {
    std::ostringstream text;
    text << visible_text(task) << ": " << sequences
         << (sequences == 1 ? " sequence, " : " sequences, ");
    text << std::fixed << std::setprecision(2);
    if (judged > 0) {
        const ShareInterval interval = wilson_interval(right, judged);
        text << right << " right (" << static_cast<double>(right) / static_cast<double>(judged)
             << ", 95 % " << interval.low << ".." << interval.high << ")";
    } else {
        text << "none judged";
    }
    text << std::setprecision(0) << ", " << per_second(tokens, seconds) << " tokens/s, "
         << std::setprecision(1) << static_cast<double>(bytes) / 0x1p20 << " MiB";
    return text.str();
}

Json TaskTally::json() const {
    const ShareInterval interval = wilson_interval(right, judged);
    return {{"task", task},
            {"sequences", sequences},
            {"judged", judged},
            {"right", right},
            {"right_low", interval.low},
            {"right_high", interval.high},
            {"tokens", tokens},
            {"tokens_per_second", per_second(tokens, seconds)},
            {"bytes", bytes}};
}

}  // namespace kvtape
