#include "core/error.hpp"
#include "policies/spec.hpp"
#include "tools/report/answer.hpp"
#include "tools/report/words.hpp"
#include "tools/run_record.hpp"

#include <array>
#include <set>

namespace kvtape::report {
namespace {

std::string row(std::string_view name, std::string_view value) {
    return "<tr><th scope=row>" + shown(name) + "<td>" + shown(value);
}

std::string trace_rows(const Trace& trace) {
    const TraceInfo& info = trace.info();
    const Shape& shape = info.shape;
    return row("model", info.model_id) +
           row("shape",
               std::to_string(shape.layers) + " layers, " + std::to_string(shape.query_heads) +
                   " query heads, " + std::to_string(shape.kv_heads) + " KV heads of " +
                   std::to_string(shape.head_dim)) +
           row("recording",
               std::to_string(trace.sequences()) + " sequences, made by " + info.producer + " at " +
                   info.created_utc) +
           row("its fingerprint", info.fingerprint);
}

/// What run.json says, in reading order.
std::string run_rows(const Json& run) {
    static constexpr std::array<const char*, 7> keys = {
        "command", "producer", "date_utc", "compiler", "isa", "threads", "seed"};
    std::string html;
    for (const char* key : keys)
        if (run.is_object() && run.contains(key))
            html +=
                row(key, run[key].is_string() ? run[key].get<std::string>() : to_text(run[key]));
    return html;
}

/// `command, 2026-01-31T12:00:00Z` of a run record, or "".
std::string command_of(const Json& run) {
    if (!run.is_object() || !run.contains("command") || !run["command"].is_string())
        return "";
    std::string text = run["command"].get<std::string>();
    if (run.contains("date_utc") && run["date_utc"].is_string())
        text += ", " + run["date_utc"].get<std::string>();
    return text;
}

/// The commands before the last one that wrote into the directory, oldest first.
std::string earlier_rows(const Json& run) {
    if (!run.is_object() || !run.contains("earlier") || !run["earlier"].is_array())
        return "";
    std::string html;
    for (const Json& one : run["earlier"])
        if (const std::string text = command_of(one); !text.empty())
            html += row("earlier command", text);
    return html;
}

/// The command of a verb that wrote tables beside the results of `run`, where it says so.
std::string tables_row(const Json& run, std::string_view verb, std::string_view name) {
    if (!run.is_object() || !run.contains(verb))
        return "";
    const std::string text = command_of(run[std::string(verb)]);
    return text.empty() ? "" : row(name, text);
}

/// The commands that made the live answers and their comparison, where their directory says so.
std::string live_rows(const Sources& sources) {
    if (sources.live.empty() || sources.live == sources.directory)
        return "";
    try {
        const Json run = read_run_record(sources.live);
        const std::string text = command_of(run);
        return (text.empty() ? "" : row("live answers by", text)) +
               tables_row(run, "verify", "compared with them by");
    } catch (const Error&) {
        return "";
    }
}

std::string caveats(const Sources& sources) {
    std::set<std::string> seen;
    std::string html;
    for (const CellFile& file : sources.files) {
        if (file.decisions == nullptr || !seen.insert(file.decisions->info().policy).second)
            continue;
        const std::string caveat = caveat_of(file.decisions->info().policy);
        if (!caveat.empty())
            html += "<li><b>" + shown(file.decisions->info().policy) + "</b>: " + shown(caveat);
    }
    return html.empty() ? "" : "<h3>Not exactly as published</h3><ul>" + html + "</ul>";
}

}  // namespace

std::string bytes_html(const Sources& sources) {
    std::string html =
        "<table><thead><tr><th scope=col>policy<th scope=col>asked<th scope=col>tokens kept"
        "<th scope=col>bytes of keys and values<th scope=col>of<th scope=col>share</thead><tbody>";
    for (std::size_t i = 0; i < sources.recall.cells.size(); ++i) {
        const Cell& cell = sources.recall.cells[i];
        const CellFile& file = sources.files[i];
        html += "<tr><th scope=row>" + shown(sources.recall.series[cell.series]) + "<td>" +
                shown(cell.budget) + "<td>" + percent(cell.kept_ratio());
        if (file.full_bytes > 0)
            html += "<td>" + bytes(file.kept_bytes) + "<td>" + bytes(file.full_bytes) + "<td>" +
                    percent(static_cast<double>(file.kept_bytes) /
                            static_cast<double>(file.full_bytes));
        else
            html += "<td><td><td>";
    }
    return html + "</tbody></table>";
}

std::string provenance_html(const Sources& sources) {
    std::string html = "<table><tbody>" + earlier_rows(sources.run) + run_rows(sources.run) +
                       tables_row(sources.run, "analyze", "analyzed by") + live_rows(sources);
    if (sources.trace != nullptr)
        html += trace_rows(*sources.trace);
    html += row("results",
                std::to_string(sources.recall.cells.size()) + " of " +
                    std::to_string(sources.recall.series.size()) + " policies over " +
                    std::to_string(sources.recall.sequences.size()) + " sequences");
    html +=
        row("intervals",
            "95 %, percentile bootstrap over sequences, " + std::to_string(bootstrap_resamples) +
                " resamples, seed " + std::to_string(bootstrap_seed));
    html += "</tbody></table>" + caveats(sources) +
            "<details><summary>Fingerprints of the decisions</summary><table><tbody>";
    for (std::size_t i = 0; i < sources.files.size(); ++i)
        if (sources.files[i].decisions != nullptr)
            html += row(sources.recall.series[sources.recall.cells[i].series] + " at " +
                            sources.recall.cells[i].budget,
                        sources.files[i].decisions->info().fingerprint);
    return html + "</tbody></table></details>";
}

std::string notes_html(const Sources& sources) {
    if (sources.notes.empty())
        return "";
    std::string html =
        "<details class=notes open><summary>What is missing here, and why</summary><ul>";
    for (const std::string& note : sources.notes)
        html += "<li>" + shown(note);
    return html + "</ul></details>";
}

}  // namespace kvtape::report
