#include "tools/report/answers.hpp"

#include "analyze/csv_table.hpp"
#include "core/error.hpp"
#include "tools/task_tally.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
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

/// Policy, budget and schedule: what answers.csv names its rows by.
using Setting = std::array<std::string, 3>;

Setting setting_of(const CsvTable& table, std::size_t row) {
    return {table.text(row, "policy"), table.text(row, "budget"), table.text(row, "schedule")};
}

std::string named(const Setting& setting) {
    return setting[0] + " at " + setting[1] + ", " + setting[2];
}

/// The query source of every setting in the index.csv of `live`.
std::map<Setting, std::string> query_sources(const std::filesystem::path& live) {
    const CsvTable index =
        CsvTable::read(live / "index.csv", {"policy", "budget", "schedule", "query_source"});
    std::map<Setting, std::string> sources;
    for (std::size_t row = 0; row < index.rows(); ++row) {
        const std::string& source = index.text(row, "query_source");
        const auto [known, added] = sources.try_emplace(setting_of(index, row), source);
        if (!added && known->second != source)
            throw format_error("reading " + (live / "index.csv").string() + ": it has " +
                               named(known->first) + " with the queries " + known->second +
                               " and " + source +
                               ", which answers.csv cannot tell apart; run "
                               "kvtape live into a directory for each");
    }
    return sources;
}

}  // namespace

Interval Share::interval() const {
    const ShareInterval ends = wilson_interval(right, judged);
    return {.mean = judged > 0 ? static_cast<double>(right) / static_cast<double>(judged) : 0.0,
            .low = ends.low,
            .high = ends.high};
}

std::vector<LiveAnswers> read_answers(const std::filesystem::path& live) {
    const CsvTable table = CsvTable::read(
        live / "answers.csv", {"policy", "budget", "schedule", "sequence", "task", "correct"});
    const std::map<Setting, std::string> sources = query_sources(live);
    std::vector<LiveAnswers> answers;
    for (std::size_t row = 0; row < table.rows(); ++row) {
        const auto right = is_right(table, row);
        if (!right)
            continue;
        const Setting setting = setting_of(table, row);
        const auto source = sources.find(setting);
        if (source == sources.end())
            throw format_error("reading " + (live / "answers.csv").string() +
                               ": index.csv beside "
                               "it does not know " +
                               named(setting) + "; run kvtape live again");
        const auto& [policy, budget, schedule] = setting;
        auto found = std::find_if(answers.begin(), answers.end(), [&](const LiveAnswers& one) {
            return Setting{one.policy, one.budget, one.schedule} == setting;
        });
        if (found == answers.end())
            found = answers.insert(found, {policy, budget, schedule, source->second, {}, {}});
        for (Share* share : {&found->all, &found->by_task[table.text(row, "task")]}) {
            share->judged += 1;
            share->right += *right ? 1 : 0;
        }
    }
    return answers;
}

}  // namespace kvtape::report
