#include "tools/report/answers.hpp"

#include "analyze/csv_table.hpp"
#include "core/error.hpp"
#include "tools/task_tally.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

namespace kvtape::report {
namespace {

/// Whether an answer is right; none where nothing judges it.
std::optional<bool> is_right(const CsvTable& table, std::size_t row) {
    const double correct = table.number(row, "correct");
    if (std::isnan(correct) || correct == -1.0)
        return std::nullopt;
    if (correct != 0.0 && correct != 1.0)
        throw format_error("reading answers.csv: correct of record " + std::to_string(row + 1) +
                           " is '" + table.text(row, "correct") + "', expected 1, 0 or -1");
    return correct == 1.0;
}

}  // namespace

Interval Share::interval() const {
    const ShareInterval ends = wilson_interval(right, judged);
    return {.mean = judged > 0 ? static_cast<double>(right) / static_cast<double>(judged) : 0.0,
            .low = ends.low,
            .high = ends.high};
}

std::vector<LiveAnswers> read_answers(const std::filesystem::path& path) {
    const CsvTable table =
        CsvTable::read(path, {"policy", "budget", "schedule", "sequence", "task", "correct"});
    std::vector<LiveAnswers> answers;
    for (std::size_t row = 0; row < table.rows(); ++row) {
        const auto right = is_right(table, row);
        if (!right)
            continue;
        const std::string& policy = table.text(row, "policy");
        const std::string& budget = table.text(row, "budget");
        const std::string& schedule = table.text(row, "schedule");
        auto found = std::find_if(answers.begin(), answers.end(), [&](const LiveAnswers& one) {
            return one.policy == policy && one.budget == budget && one.schedule == schedule;
        });
        if (found == answers.end())
            found = answers.insert(found, {policy, budget, schedule, {}, {}});
        for (Share* share : {&found->all, &found->by_task[table.text(row, "task")]}) {
            share->judged += 1;
            share->right += *right ? 1 : 0;
        }
    }
    return answers;
}

}  // namespace kvtape::report
