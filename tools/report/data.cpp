#include "tools/report/data.hpp"

#include "tools/report/finding.hpp"
#include "tools/report/optional_table.hpp"
#include "tools/report/tables.hpp"
#include "tools/visible_text.hpp"

#include <optional>

namespace kvtape::report {
namespace {

Json number(std::optional<double> value) {
    return value ? rounded(*value) : Json();
}

Json interval(const std::optional<Interval>& mean) {
    if (!mean)
        return {};
    return {number(mean->mean), number(mean->low), number(mean->high)};
}

Json means(const Recall& recall, const Cell& cell, std::optional<std::size_t> task) {
    return {{"weighted", interval(mean_of(recall, cell, &Figures::weighted, task))},
            {"recall", interval(mean_of(recall, cell, &Figures::recall, task))},
            {"mass", interval(mean_of(recall, cell, &Figures::mass, task))},
            {"error", interval(mean_of(recall, cell, &Figures::error, task))}};
}

Json maps(const Cell& cell) {
    Json json{{"weighted", Json::array()}, {"mass", Json::array()}, {"error", Json::array()}};
    for (const Figures& head : cell.heads) {
        json["weighted"].push_back(number(head.recall));
        json["mass"].push_back(number(head.mass));
        json["error"].push_back(number(head.error));
    }
    return json;
}

/// Tokens kept by a KV head on average.
Json per_head(const KeptTotals& kept) {
    return rounded(static_cast<double>(kept.kept) / static_cast<double>(kept.heads));
}

Json cell_json(const Recall& recall, const Cell& cell, const CellFile& file) {
    Json json{{"series", cell.series},
              {"policy", cell.policy},
              {"budget", cell.budget},
              {"schedule", cell.schedule},
              {"source", cell.query_source},
              {"kept", number(cell.kept_ratio())},
              {"per_head", per_head(cell.kept())},
              {"all", means(recall, cell, std::nullopt)},
              {"tasks", Json::array()},
              {"heads", maps(cell)},
              {"sequences", Json::array()}};
    if (file.full_bytes > 0)
        json["bytes"] = {file.kept_bytes, file.full_bytes};
    for (std::size_t task = 0; task < recall.tasks.size(); ++task)
        json["tasks"].push_back(means(recall, cell, task));
    for (const SequenceFigures& one : cell.sequences)
        json["sequences"].push_back({one.sequence, number(one.figures.weighted)});
    return json;
}

/// The cells that the answer is about, or null: the page opens with them.
Json answer(const Recall& recall) {
    const auto finding = find_answer(recall);
    if (!finding)
        return {};
    return {{"best", finding->best}, {"rival", finding->rival ? Json(*finding->rival) : Json()}};
}

Json weights(const Recall& recall) {
    Json json = Json::array();
    for (const double weight : recall.needle_weight)
        json.push_back(number(weight));
    return json;
}

/// Names of tasks and sequences may hold what moves a cursor or turns a line round: every text as
/// `visible_text`.
Json visible(Json texts) {
    if (texts.is_string())
        return visible_text(texts.get_ref<const std::string&>());
    if (texts.is_structured())
        for (Json& part : texts)
            part = visible(std::move(part));
    return texts;
}

}  // namespace

Json page_data(Sources& sources, const StripLimits& limits) {
    const Recall& recall = sources.recall;
    Json data{{"series", recall.series},
              {"tasks", visible(recall.tasks)},
              {"sequences", visible(recall.sequences)},
              {"layers", recall.layers},
              {"heads", recall.heads},
              {"weight", weights(recall)},
              {"answer", answer(recall)},
              {"cells", Json::array()}};
    data["strips"] = strips(sources, limits);
    for (std::size_t i = 0; i < recall.cells.size(); ++i)
        data["cells"].push_back(cell_json(recall, recall.cells[i], sources.files[i]));
    data["curves"] = curves(sources);
    data["accuracy"] = accuracy(sources);
    data["live"] = visible(live_tables(sources));
    data["analysis"] = analysis(sources);
    return data;
}

std::string script_safe(const Json& data) {
    const std::string text = to_text(data);
    std::string safe;
    safe.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        const std::string_view rest = std::string_view(text).substr(i, 3);
        if (rest == "\u2028" || rest == "\u2029") {
            safe += rest == "\u2028" ? "\\u2028" : "\\u2029";
            i += 2;
        } else if (text[i] == '<') {
            safe += "\\u003c";
        } else if (text[i] == '>') {
            safe += "\\u003e";
        } else if (text[i] == '&') {
            safe += "\\u0026";
        } else {
            safe += text[i];
        }
    }
    return safe;
}

}  // namespace kvtape::report
