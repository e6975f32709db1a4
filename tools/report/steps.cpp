#include "tools/report/steps.hpp"

#include "analyze/csv_table.hpp"
#include "core/error.hpp"
#include "policies/spec.hpp"
#include "sim/replay.hpp"
#include "sim/results.hpp"
#include "tools/policy_files.hpp"
#include "tools/report/optional_table.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <string>
#include <string_view>

namespace kvtape::report {
namespace {

constexpr std::string_view between = "1%..100%:40";
constexpr std::size_t most_steps = 63;
/// Fates of all steps are in memory at once.
constexpr std::size_t most_bytes = std::size_t{1} << 29;
constexpr std::uint8_t never = 63;

/// Policy, schedule and query source of the curves; none where there is no such table.
std::set<std::array<std::string, 3>> drawn_curves(const Sources& sources) {
    std::set<std::array<std::string, 3>> found;
    const auto path = sources.directory / "curve.csv";
    if (!is_there(path))
        return found;
    try {
        visit_rows(path, {"policy", "schedule", "query_source"}, [&](const CsvRow& row) {
            found.insert({row.text(0), row.text(1), row.text(2)});
        });
    } catch (const Error&) {
        found.clear();  // The note on curve.csv is made where its curves are read.
    }
    return found;
}

/// Replayed budgets and those between, in the order of what they are of `context` tokens; of two
/// that are as much, a replayed one stays.
std::vector<Budget> ordered_budgets(const Recall& recall, Position context, const Shape& shape) {
    std::vector<Budget> budgets;
    std::set<std::string> names;
    std::set<Position> known;
    for (const Cell& cell : recall.cells)
        if (names.insert(cell.budget).second) {
            budgets.push_back(Budget::parse(cell.budget));
            known.insert(budgets.back().tokens_of(context, shape));
        }
    for (const Budget& budget : parse_budgets(between))
        if (known.insert(budget.tokens_of(context, shape)).second)
            budgets.push_back(budget);
    std::stable_sort(budgets.begin(), budgets.end(), [&](const Budget& a, const Budget& b) {
        return a.tokens_of(context, shape) < b.tokens_of(context, shape);
    });
    return budgets;
}

QuerySource source_named(const std::string& name) {
    for (const QuerySource source : {QuerySource::question, QuerySource::oracle})
        if (name == name_of(source))
            return source;
    return QuerySource::agnostic;
}

/// One series over the chosen sequences and heads.
class SeriesSteps {
  public:
    SeriesSteps(const Sources& sources,
                const std::vector<Budget>& budgets,
                std::size_t series,
                const std::vector<std::size_t>& sequences,
                const std::vector<std::size_t>& heads)
        : sources_(sources),
          budgets_(budgets),
          series_(series),
          heads_(heads) {
        const Trace& trace = *sources.trace;
        for (const std::size_t sequence : sequences)
            for (std::int32_t i = 0; i < trace.sequences(); ++i)
                if (trace.sequence(i).name == sources.recall.sequences[sequence])
                    places_.push_back(i);
        if (places_.size() != sequences.size())
            throw format_error("the recording lacks sequences of recall.csv");
        for (const std::int32_t place : places_)
            first_.emplace_back(
                heads.size(),
                std::vector<std::uint8_t>(static_cast<std::size_t>(trace.sequence(place).length()),
                                          never));
    }

    Json decide() {
        const Cell& cell = sources_.recall.cells[cells().front()];
        const DecisionFile& file = *sources_.files[cells().front()].decisions;
        const PolicyFiles files(*sources_.trace);
        const PolicyRun policy = make_policy(cell.policy, policies::all(), &files);
        ReplayRequest request{.trace = sources_.trace.get(),
                              .schedule = Schedule::parse(cell.schedule),
                              .source = source_named(cell.query_source),
                              .sequences = places_,
                              .layers = file.layers(0),
                              .seed = file.info().seed,
                              .threads = sources_.threads};
        std::sort(request.sequences.begin(), request.sequences.end());
        const ReplayTask task{.policy = &policy, .budgets = budgets_};
        check_feasible(request, {&task, 1});
        replay(request, {&task, 1}, [&](const Decided& decided) { note(decided); });
        return encoded();
    }

  private:
    /// Of this series, those with decisions.
    std::vector<std::size_t> cells() const {
        std::vector<std::size_t> found;
        for (std::size_t i = 0; i < sources_.files.size(); ++i)
            if (sources_.recall.cells[i].series == series_ &&
                sources_.files[i].decisions != nullptr)
                found.push_back(i);
        return found;
    }

    void note(const Decided& decided) {
        const auto sequence = static_cast<std::size_t>(
            std::find(places_.begin(), places_.end(), decided.sequence) - places_.begin());
        expect_replayed(decided);
        for (std::size_t i = 0; i < heads_.size(); ++i) {
            std::vector<std::uint8_t>& first = first_[sequence][i];
            const auto evicted_at = row_of(decided.fate, heads_[i], first.size());
            for (std::size_t token = 0; token < evicted_at.size(); ++token) {
                const bool kept = evicted_at[token] < 0;
                if (!kept && first[token] != never)
                    throw format_error("what it keeps does not grow with the budget");
                if (kept && first[token] == never)
                    first[token] = static_cast<std::uint8_t>(decided.budget);
            }
        }
    }

    /// Empty where the fate lacks the layer.
    std::span<const std::int32_t> row_of(const Fate& fate,
                                         std::size_t place,
                                         std::size_t tokens) const {
        const auto kv_heads = static_cast<std::size_t>(sources_.recall.heads);
        const auto layer = static_cast<std::int32_t>(place / kv_heads);
        const auto found = std::find(fate.layers().begin(), fate.layers().end(), layer);
        if (found == fate.layers().end())
            return {};
        const LayerFate& of_layer = fate[static_cast<std::size_t>(found - fate.layers().begin())];
        return std::span(of_layer.evicted_at).subspan(place % kv_heads * tokens, tokens);
    }

    /// A step that was replayed must be what its decision file says.
    void expect_replayed(const Decided& decided) const {
        const std::string& name = sources_.trace->sequence(decided.sequence).name;
        for (const std::size_t i : cells()) {
            if (sources_.recall.cells[i].budget != budgets_[decided.budget].text())
                continue;
            const DecisionFile& file = *sources_.files[i].decisions;
            const auto place = place_of(file, name);
            for (std::size_t layer = 0; place && layer < decided.fate.layers().size(); ++layer)
                if (file.load(*place, decided.fate.layers()[layer]).evicted_at !=
                    decided.fate[layer].evicted_at)
                    throw format_error("it decides otherwise than its decision file at " +
                                       sources_.recall.cells[i].budget +
                                       " does: another version made that");
        }
    }

    Json encoded() const {
        static constexpr std::string_view digits =
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        Json json = Json::array();
        for (const auto& of_sequence : first_) {
            Json& row = json.emplace_back(Json::array());
            for (const std::vector<std::uint8_t>& first : of_sequence) {
                std::string text;
                for (const std::uint8_t step : first)
                    text += digits[step];
                // The last step keeps everything, unless the layer was not replayed.
                const bool decided = std::any_of(
                    first.begin(), first.end(), [](std::uint8_t step) { return step != never; });
                row.push_back(decided ? Json(std::move(text)) : Json());
            }
        }
        return json;
    }

    const Sources& sources_;
    const std::vector<Budget>& budgets_;
    std::size_t series_;
    const std::vector<std::size_t>& heads_;
    std::vector<std::int32_t> places_;                           ///< in the trace
    std::vector<std::vector<std::vector<std::uint8_t>>> first_;  ///< [sequence][head][token]
};

}  // namespace

Steps planned_steps(const Sources& sources) {
    Steps steps{.budgets = {}, .has_series = std::vector<char>(sources.recall.series.size(), 0)};
    const auto curves = drawn_curves(sources);
    if (sources.trace == nullptr || sources.trace->sequences() == 0 || curves.empty())
        return steps;
    const Shape& shape = sources.trace->info().shape;
    steps.budgets = ordered_budgets(sources.recall, sources.trace->sequence(0).context_len, shape);
    std::size_t longest = 0;
    for (std::int32_t i = 0; i < sources.trace->sequences(); ++i)
        longest = std::max(longest, static_cast<std::size_t>(sources.trace->sequence(i).length()));
    const std::size_t bytes = steps.budgets.size() * longest * sizeof(std::int32_t) *
                              static_cast<std::size_t>(shape.layers * shape.kv_heads);
    if (steps.budgets.size() > most_steps || bytes > most_bytes) {
        steps.budgets.clear();
        return steps;
    }
    for (std::size_t i = 0; i < sources.recall.cells.size(); ++i) {
        const Cell& cell = sources.recall.cells[i];
        if (sources.files[i].decisions != nullptr &&
            curves.contains({cell.policy, cell.schedule, cell.query_source}))
            steps.has_series[cell.series] = 1;
    }
    return steps;
}

std::string step_name(const Sources& sources, const Budget& budget) {
    const auto& cells = sources.recall.cells;
    const bool is_replayed = std::any_of(
        cells.begin(), cells.end(), [&](const Cell& cell) { return cell.budget == budget.text(); });
    if (is_replayed)
        return budget.text();
    char text[32];
    const auto end =
        std::to_chars(text, text + sizeof text, shortened(100.0 * budget.amount()).get<double>());
    return std::string(text, end.ptr) + "%";
}

Json decide_steps(Sources& sources,
                  Steps& steps,
                  const std::vector<std::size_t>& sequences,
                  const std::vector<std::size_t>& heads) {
    Json json(steps.has_series.size(), Json());
    for (std::size_t series = 0; series < steps.has_series.size(); ++series)
        if (steps.has_series[series] != 0)
            try {
                json[series] =
                    SeriesSteps(sources, steps.budgets, series, sequences, heads).decide();
            } catch (const Error& error) {
                steps.has_series[series] = 0;
                sources.notes.push_back("Budgets between the replayed ones are left out for " +
                                        sources.recall.series[series] + ": " + error.what());
            }
    return json;
}

}  // namespace kvtape::report
