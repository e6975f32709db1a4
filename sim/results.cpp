#include "sim/results.hpp"

#include "core/error.hpp"
#include "sim/csv.hpp"
#include "sim/result_name.hpp"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <map>
#include <sstream>
#include <tuple>

namespace kvtape {
namespace {

constexpr std::string_view suffix = ".decisions.h5";
constexpr std::string_view index_header =
    "file,policy,parameters,budget,schedule,query_source,seed,fingerprint";

std::string read_text(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    if (!file)
        throw errno_error("reading " + path.string());
    return text.str();
}

/// The specs that index.csv gives the files, by file name.
std::map<std::string, std::string> specs_by_file(const std::filesystem::path& index) {
    std::map<std::string, std::string> specs;
    if (!std::filesystem::exists(index))
        return specs;
    for (const std::vector<std::string>& record : parse_csv(read_text(index), index.string()))
        if (record.size() >= 2 && record[0].ends_with(suffix))
            specs[record[0]] = record[1];
    return specs;
}

/// A spec that says the same as the attributes of a file that index.csv does not know.
std::string spelled_out(const DecisionInfo& info) {
    const Json parameters = parse_json(info.parameters, "the parameters of a decision file");
    std::string spec = info.policy;
    char separator = ':';
    for (const auto& [name, value] : parameters.items()) {
        spec += separator + name + '=' +
                (value.is_string() ? value.get<std::string>() : to_text(value));
        separator = ',';
    }
    return spec;
}

void expect_own_trace(const std::filesystem::path& file,
                      const DecisionInfo& info,
                      const TraceInfo& trace) {
    if (info.trace_fingerprint != trace.fingerprint)
        throw format_error("reading " + file.string() + ": it belongs to the trace " +
                           info.trace_fingerprint + ", not to this one (" + trace.fingerprint +
                           "); use another directory");
}

Budget read_budget(const std::filesystem::path& file, const std::string& text) {
    try {
        return Budget::parse(text);
    } catch (const Error& error) {
        throw format_error("reading " + file.string() + ": " + error.what());
    }
}

Schedule read_schedule(const std::filesystem::path& file, const std::string& text) {
    try {
        return Schedule::parse(text);
    } catch (const Error& error) {
        throw format_error("reading " + file.string() + ": " + error.what());
    }
}

/// A decision file belongs to the loop that its directory is for.
void expect_loop(const std::filesystem::path& file, const DecisionInfo& info, Loop loop) {
    if ((info.loop == "replay") == (loop == Loop::replay))
        return;
    throw usage_error("reading " + file.string() + ": it comes from " +
                      (loop == Loop::replay ? "a live run" : "a replay") +
                      "; keep results of replay and live in different directories");
}

/// A decision file of this trace has its sequences, token counts, KV heads and layers. A live run
/// may have ended its answer elsewhere.
void expect_shapes(const std::filesystem::path& file,
                   const DecisionFile& decisions,
                   const Trace& trace) {
    const auto fail = [&](const std::string& sequence, const std::string& problem) {
        throw format_error("reading " + file.string() + ": sequence " + sequence + " " + problem +
                           "; it does not fit the trace it names; remove the file");
    };
    const Shape& shape = trace.info().shape;
    const Schedule schedule = read_schedule(file, decisions.info().schedule);
    for (std::int32_t i = 0; i < decisions.sequences(); ++i) {
        const DecisionSequence& own = decisions.sequence(i);
        const SequenceInfo* recorded = nullptr;
        for (std::int32_t s = 0; s < trace.sequences() && recorded == nullptr; ++s)
            if (trace.sequence(s).name == own.name)
                recorded = &trace.sequence(s);
        if (recorded == nullptr)
            fail(own.name, "is not in the trace");
        const std::vector<std::int32_t>& layers = decisions.layers(i);
        if (layers.empty() || layers.back() >= shape.layers)
            fail(own.name, "has no layers, or more than " + std::to_string(shape.layers));
        SequenceInfo seen = *recorded;
        if (decisions.info().loop != "replay" && decisions.tokens(i) >= seen.prompt_len)
            seen.tokens.resize(static_cast<std::size_t>(decisions.tokens(i)));
        if (decisions.kv_heads(i) != shape.kv_heads || decisions.tokens(i) != seen.length())
            fail(own.name,
                 "has arrays of " + std::to_string(decisions.kv_heads(i)) + "x" +
                     std::to_string(decisions.tokens(i)) + ", expected " +
                     std::to_string(shape.kv_heads) + "x" + std::to_string(recorded->length()));
        if (own.blocks != schedule.blocks(seen))
            fail(own.name, "has other blocks than its schedule");
    }
}

std::shared_ptr<const DecisionFile> open_result(const std::filesystem::path& file) {
    try {
        return open_decisions(file);
    } catch (Error& error) {
        if (error.kind() == ErrorKind::format)
            error.add("resuming a replay (a decision file that is removed is computed again)");
        throw;
    }
}

/// Whether `have` (ascending) holds all of `want`.
bool covers(const std::vector<std::int32_t>& have, const std::vector<std::int32_t>& want) {
    return std::includes(have.begin(), have.end(), want.begin(), want.end());
}

}  // namespace

std::optional<std::int32_t> place_of(const DecisionFile& decisions, const std::string& sequence) {
    for (std::int32_t i = 0; i < decisions.sequences(); ++i)
        if (decisions.sequence(i).name == sequence)
            return i;
    return std::nullopt;
}

void expect_fit(const std::filesystem::path& file,
                const DecisionFile& decisions,
                const Trace& trace) {
    expect_own_trace(file, decisions.info(), trace.info());
    expect_shapes(file, decisions, trace);
}

std::string ResultDirectory::doing() const {
    return (loop_ == Loop::live ? "running live into " : "replaying into ") + path_.string();
}

ResultDirectory::ResultDirectory(std::filesystem::path path, const Trace& trace, Loop loop)
    : path_(std::move(path)),
      trace_(trace),
      loop_(loop) {
    std::error_code failure;
    std::filesystem::create_directories(path_, failure);
    if (failure)
        throw system_error("creating the directory " + path_.string(), failure.value());
    reload();
    if (!trace_.info().complete && !results_.empty())
        throw usage_error(doing() +
                          ": an unfinished trace has no fingerprint that could tell whose results "
                          "are there already; use an empty --out");
}

void ResultDirectory::reload() {
    const auto specs = specs_by_file(path_ / "index.csv");
    results_.clear();
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
        const std::string name = entry.path().filename().string();
        if (!name.ends_with(suffix))
            continue;
        std::shared_ptr<const DecisionFile> decisions = open_result(entry.path());
        const DecisionInfo& info = decisions->info();
        expect_loop(entry.path(), info, loop_);
        expect_fit(entry.path(), *decisions, trace_);
        const auto spec = specs.find(name);
        results_.push_back({.file = name,
                            .policy = spec != specs.end() ? spec->second : spelled_out(info),
                            .parameters = info.parameters,
                            .budget = read_budget(entry.path(), info.budget),
                            .schedule = info.schedule,
                            .query_source = info.query_source,
                            .seed = info.seed,
                            .fingerprint = info.fingerprint,
                            .decisions = decisions});
    }
    const auto key = [](const Result& result) {
        return std::tie(
            result.policy, result.query_source, result.schedule, result.budget, result.file);
    };
    std::sort(results_.begin(), results_.end(), [&](const Result& a, const Result& b) {
        return key(a) < key(b);
    });
}

bool ResultDirectory::holds(const Result& planned, const ReplayRequest& request) const {
    const auto found = std::find_if(results_.begin(), results_.end(), [&](const Result& result) {
        return result.file == planned.file;
    });
    if (found == results_.end())
        return false;
    const std::string where = (path_ / planned.file).string();
    if (found->parameters != planned.parameters || found->budget.text() != planned.budget.text())
        throw usage_error(doing() + ": " + where + " holds " + found->parameters + " at " +
                          found->budget.text() + ", not " + planned.parameters + " at " +
                          planned.budget.text() + "; use another --out");
    if (found->seed != request.seed)
        throw usage_error(doing() + ": " + where + " was computed with seed " +
                          std::to_string(found->seed) + "; use another --out for seed " +
                          std::to_string(request.seed));
    const DecisionFile& decisions = *found->decisions;
    for (const std::int32_t wanted : request.sequences) {
        const auto place = place_of(decisions, trace_.sequence(wanted).name);
        if (place && covers(decisions.layers(*place), request.layers))
            continue;
        throw usage_error(doing() + ": " + where +
                          " lacks some of the sequences or layers asked for; use another --out or "
                          "remove it");
    }
    const bool scoring = decisions.sequences() > 0 && request.scores == StoreScores::yes;
    if (scoring && decisions.load(0, decisions.layers(0).front()).scores.empty() &&
        planned.policy != "full")
        throw usage_error(doing() + ": " + where +
                          " was computed without --scores; use another --out or remove it");
    return true;
}

void ResultDirectory::write(const std::string& name, std::string_view content) const {
    const std::filesystem::path final_path = path_ / name;
    const std::filesystem::path partial = path_ / (name + ".partial");
    std::ofstream file(partial, std::ios::binary | std::ios::trunc);
    file << content;
    file.close();
    std::error_code failure(file ? 0 : errno, std::generic_category());
    if (!failure)
        std::filesystem::rename(partial, final_path, failure);
    if (!failure)
        return;
    std::error_code ignored;
    std::filesystem::remove(partial, ignored);
    throw system_error("writing " + final_path.string(), failure.value());
}

void ResultDirectory::write_index(const std::vector<Result>& results) const {
    Csv csv(index_header);
    for (const Result& result : results)
        csv.field(result.file)
            .field(result.policy)
            .field(result.parameters)
            .field(result.budget.text())
            .field(result.schedule)
            .field(result.query_source)
            .field(result.seed)
            .field(result.fingerprint)
            .end_row();
    write("index.csv", csv.text());
}

}  // namespace kvtape
