#include "tools/report/sources.hpp"

#include "analyze/csv_table.hpp"
#include "analyze/result_files.hpp"
#include "core/error.hpp"
#include "tools/report/optional_table.hpp"
#include "tools/run_record.hpp"
#include "trace/reader.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>

namespace kvtape::report {
namespace {

namespace fs = std::filesystem;

/// Runs `read`; what goes wrong in it becomes a note that begins with `what`.
template <typename Read>
void attempt(std::vector<std::string>& notes, const std::string& what, Read read) {
    try {
        read();
    } catch (const Error& error) {
        notes.push_back(what + ": " + error.what());
    }
}

struct ListedFile {
    std::string name, fingerprint;
};
/// Decision files by the columns that name a cell.
using FileNames = std::map<std::vector<std::string>, ListedFile>;

FileNames read_index(const fs::path& directory) {
    const CsvTable index =
        CsvTable::read(directory / "index.csv",
                       {"file", "policy", "budget", "schedule", "query_source", "fingerprint"});
    FileNames names;
    for (std::size_t row = 0; row < index.rows(); ++row)
        names[{index.text(row, "policy"),
               index.text(row, "budget"),
               index.text(row, "schedule"),
               index.text(row, "query_source")}] = {index.text(row, "file"),
                                                    index.text(row, "fingerprint")};
    return names;
}

CellFile open_file(const fs::path& directory, const ListedFile& listed) {
    // The index names files beside it; a path would lead out of the directory.
    if (fs::path(listed.name).filename() != fs::path(listed.name))
        throw format_error("index.csv names the file '" + listed.name +
                           "', which is not a file name");
    CellFile file{.decisions = open_decisions(directory / listed.name)};
    for (std::int32_t i = 0; i < file.decisions->sequences(); ++i) {
        file.kept_bytes += file.decisions->sequence(i).kept_bytes;
        file.full_bytes += file.decisions->sequence(i).full_bytes;
    }
    return file;
}

FileNames open_files(Sources& sources) {
    sources.files.resize(sources.recall.cells.size());
    FileNames names;
    attempt(
        sources.notes, "Decisions are left out", [&] { names = read_index(sources.directory); });
    for (std::size_t i = 0; i < sources.files.size() && !names.empty(); ++i) {
        const Cell& cell = sources.recall.cells[i];
        const std::string title = cell.policy + " at " + cell.budget;
        const auto found = names.find({cell.policy, cell.budget, cell.schedule, cell.query_source});
        if (found == names.end())
            sources.notes.push_back("Decisions of " + title +
                                    " are left out: index.csv does not list them");
        else
            attempt(sources.notes, "Decisions of " + title + " are left out", [&] {
                sources.files[i] = open_file(sources.directory, found->second);
            });
    }
    return names;
}

/// Leaves out decisions that stand where those of a result were.
void check_listed(Sources& sources, const FileNames& listed) {
    for (std::size_t i = 0; i < sources.files.size(); ++i) {
        CellFile& file = sources.files[i];
        if (file.decisions == nullptr)
            continue;
        const Cell& cell = sources.recall.cells[i];
        const ListedFile& own =
            listed.at({cell.policy, cell.budget, cell.schedule, cell.query_source});
        try {
            expect_listed(sources.directory / own.name, *file.decisions, own.fingerprint);
        } catch (const Error& error) {
            sources.notes.push_back("Decisions of " + cell.policy + " at " + cell.budget +
                                    " are left out: " + error.what());
            file = {};
        }
    }
}

/// The first of many names.
std::string some_of(const std::vector<std::string>& names) {
    constexpr std::size_t most = 4;
    std::string text;
    for (std::size_t i = 0; i < std::min(most, names.size()); ++i)
        text += (i == 0 ? "" : ", ") + names[i];
    return names.size() > most
               ? text + " and " + std::to_string(names.size() - most) + " further results"
               : text;
}

/// A recall.csv that lost rows says something else of a result, or nothing.
void check_rows(Sources& sources, const FileNames& listed) {
    std::vector<std::string> partial, absent;
    std::set<std::vector<std::string>> known;
    for (std::size_t i = 0; i < sources.files.size(); ++i) {
        const Cell& cell = sources.recall.cells[i];
        known.insert({cell.policy, cell.budget, cell.schedule, cell.query_source});
        const DecisionFile* decisions = sources.files[i].decisions.get();
        if (decisions != nullptr && cell.rows != heads_of(*decisions))
            partial.push_back(sources.recall.series[cell.series] + " at " + cell.budget);
    }
    for (const auto& [name, file] : listed)
        if (!known.contains(name))
            absent.push_back(name[0] + " at " + name[1]);
    if (!partial.empty())
        sources.notes.push_back("recall.csv lacks rows, or has too many, of " + some_of(partial) +
                                ", so figures of these are of other heads or sequences than those "
                                "of the rest; replay into the directory again");
    if (!absent.empty())
        sources.notes.push_back("Left out for want of a row in recall.csv: " + some_of(absent) +
                                ", which index.csv lists; replay into the directory again");
}

/// The recording that most decision files belong to, the earlier of equals; "" where none is open.
std::string recording_of_most(const std::vector<CellFile>& files) {
    std::map<std::string, int> counts;
    for (const CellFile& file : files)
        if (file.decisions != nullptr)
            counts[file.decisions->info().trace_fingerprint] += 1;
    std::string most;
    for (const CellFile& file : files)
        if (file.decisions != nullptr) {
            const std::string& found = file.decisions->info().trace_fingerprint;
            if (most.empty() || counts[found] > counts[most])
                most = found;
        }
    return most;
}

/// Leaves out the trace, or decisions, where they do not belong together: the results are what is
/// reported on, so most of them decide.
void check_fingerprints(Sources& sources) {
    const std::string expected = recording_of_most(sources.files);
    if (!expected.empty() && sources.trace != nullptr &&
        sources.trace->info().fingerprint != expected) {
        sources.notes.push_back("Token texts and needles are left out: the recording is " +
                                sources.trace->info().fingerprint +
                                ", which the results do not fit: they belong to the trace " +
                                expected);
        sources.trace = nullptr;
    }
    std::map<std::string, std::vector<std::string>> strangers;  // by the trace they belong to
    for (std::size_t i = 0; i < sources.files.size(); ++i) {
        CellFile& file = sources.files[i];
        if (file.decisions == nullptr)
            continue;
        const std::string found = file.decisions->info().trace_fingerprint;
        if (found == expected)
            continue;
        const Cell& cell = sources.recall.cells[i];
        strangers[found].push_back(cell.policy + " at " + cell.budget);
        file = {};
    }
    for (const auto& [found, names] : strangers)
        sources.notes.push_back(
            "Decisions of " + names[0] +
            (names.size() > 1 ? " and of " + std::to_string(names.size() - 1) + " further results"
                              : "") +
            " are left out: they belong to the trace " + found + ", expected " + expected);
}

void find_trace(Sources& sources, const fs::path& asked) {
    fs::path path = asked;
    if (path.empty()) {
        path = recording_of(sources.directory, sources.run);
        if (path.empty()) {
            sources.notes.push_back(
                "Token texts and needles are left out: run.json names no trace; --trace does");
            return;
        }
    }
    attempt(sources.notes, "Token texts and needles are left out", [&] {
        sources.trace = open_trace(path);
    });
}

bool has_live_tables(const fs::path& place) {
    return is_there(place / "answers.csv") || is_there(place / "agreement.csv");
}

/// The recording of the results: of the decisions that were opened, or of the trace.
std::string fingerprint_of(const Sources& sources) {
    for (const CellFile& file : sources.files)
        if (file.decisions != nullptr)
            return file.decisions->info().trace_fingerprint;
    return sources.trace != nullptr ? sources.trace->info().fingerprint : std::string();
}

/// Answers are about one recording; which, their decision files say. Tables of `verify --out` have
/// none beside them.
void expect_same_recording(const Sources& sources, const fs::path& live) {
    const std::string expected = fingerprint_of(sources);
    if (expected.empty() || !is_there(live / "index.csv"))
        return;
    const CsvTable index = CsvTable::read(live / "index.csv", {"file"});
    if (index.rows() == 0)
        return;
    const std::string found =
        open_decisions(live / index.text(0, "file"))->info().trace_fingerprint;
    if (found != expected)
        throw format_error(live.string() + " belongs to the trace " + found + ", expected " +
                           expected);
}

void find_live(Sources& sources, const fs::path& asked) {
    const std::string what = "Answers of the running model are left out";
    const std::vector<fs::path> places =
        asked.empty() ? std::vector<fs::path>{sources.directory / "live", sources.directory}
                      : std::vector<fs::path>{asked};
    const auto place = std::find_if(places.begin(), places.end(), has_live_tables);
    if (place == places.end()) {
        if (!asked.empty())
            sources.notes.push_back(what + ": --live " + asked.string() +
                                    " holds neither answers.csv nor agreement.csv");
        return;
    }
    attempt(sources.notes, what, [&] {
        expect_same_recording(sources, *place);
        sources.live = *place;
    });
    if (!sources.live.empty() && is_there(sources.live / "answers.csv"))
        attempt(sources.notes, "answers.csv is left out", [&] {
            sources.answers = read_answers(sources.live);
        });
}

/// A replay into a directory that was analyzed before leaves its results out of those tables.
void check_analysis(Sources& sources) {
    const fs::path path = sources.directory / "bias.csv";
    if (!is_there(path))
        return;
    attempt(sources.notes, "bias.csv is left out", [&] {
        const CsvTable bias =
            CsvTable::read(path, {"policy", "budget", "schedule", "query_source"});
        std::set<std::array<std::string, 4>> analyzed;
        for (std::size_t row = 0; row < bias.rows(); ++row)
            analyzed.insert({bias.text(row, "policy"),
                             bias.text(row, "budget"),
                             bias.text(row, "schedule"),
                             bias.text(row, "query_source")});
        std::string missing;
        for (const Cell& cell : sources.recall.cells)
            if (!analyzed.contains({cell.policy, cell.budget, cell.schedule, cell.query_source}))
                missing += (missing.empty() ? "" : ", ") + sources.recall.series[cell.series] +
                           " at " + cell.budget;
        if (!missing.empty())
            sources.notes.push_back("Not among the analyzed results: " + missing +
                                    "; kvtape analyze adds them");
    });
}

void expect_results(const fs::path& directory) {
    std::error_code failure;
    if (!fs::is_directory(directory, failure))
        throw io_error("reporting on " + directory.string() + ": there is no such directory");
    if (!is_there(directory / "recall.csv"))
        throw format_error("reporting on " + directory.string() +
                           ": it holds no results (no recall.csv); name the --out of a replay");
}

}  // namespace

Sources open_sources(const Request& request) {
    expect_results(request.directory);
    Sources sources{.recall = read_recall(request.directory),
                    .files = {},
                    .trace = nullptr,
                    .directory = request.directory,
                    .live = {},
                    .answers = {},
                    .run = {},
                    .threads = request.threads,
                    .notes = {}};
    attempt(sources.notes, "How it was made is left out", [&] {
        sources.run = read_run_record(request.directory);
    });
    find_trace(sources, request.trace);
    const FileNames listed = open_files(sources);
    check_fingerprints(sources);
    check_listed(sources, listed);
    check_rows(sources, listed);
    find_live(sources, request.live);
    check_analysis(sources);
    return sources;
}

}  // namespace kvtape::report
