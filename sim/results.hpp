#pragma once

#include "sim/replay.hpp"
#include "trace/decisions.hpp"

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace kvtape {

/// One decision file of a result directory. `policy` is the spec as the user wrote it.
struct Result {
    std::string file;
    std::string policy;
    std::string parameters;  ///< JSON
    Budget budget;
    std::string schedule;
    std::string query_source;
    std::uint64_t seed = 0;
    std::string fingerprint;
    std::shared_ptr<const DecisionFile> decisions;  ///< shared by copies of the row in tables
};

/// Index of a sequence of the trace inside a decision file, or none.
std::optional<std::int32_t> place_of(const DecisionFile& decisions, const std::string& sequence);

/// Makes sure that a decision file belongs to the trace and has its sequences, token counts, KV
/// heads and layers; a format error that names `file` otherwise.
void expect_fit(const std::filesystem::path& file,
                const DecisionFile& decisions,
                const Trace& trace);

/// What drove the policies of a directory.
enum class Loop {
    replay,  ///< a replay of the trace
    live,    ///< the running model, which may have answered with more or fewer tokens
};

/// A directory of decision files of one trace, with index.csv naming the spec each came from.
class ResultDirectory {
  public:
    /// Opens or creates it. A file that is damaged, of another trace or missing from the disk is a
    /// format error that names it, one of another loop a usage error; an unwritable directory is an
    /// io error.
    ResultDirectory(std::filesystem::path path, const Trace& trace, Loop loop = Loop::replay);

    const std::filesystem::path& path() const { return path_; }
    /// All results, by spec, then query source, schedule and budget.
    const std::vector<Result>& results() const { return results_; }
    /// Whether the file of `planned` is there. One of the same name with other parameters, another
    /// budget or seed, or that lacks one of the sequences or layers asked for is a usage error:
    /// nothing is overwritten.
    bool holds(const Result& planned, const ReplayRequest& request) const;
    /// Reads index.csv and the files again.
    void reload();
    /// Writes `content` under `name`, atomically.
    void write(const std::string& name, std::string_view content) const;
    /// Writes index.csv with a row for each of these. They are finished, so that it never lists a
    /// file that does not exist; `reload` takes their specs from it.
    void write_index(const std::vector<Result>& results) const;

  private:
    std::filesystem::path path_;
    const Trace& trace_;
    /// The beginning of an error.
    std::string doing() const;

    Loop loop_;
    std::vector<Result> results_;
};

/// Called while work goes on: steps done, steps in all.
using StepReport = std::function<void(std::int64_t, std::int64_t)>;

/// Replays what is missing in the directory and writes one decision file for each (policy, budget);
/// returns how many were computed.
std::size_t replay_into(ResultDirectory& directory,
                        const ReplayRequest& request,
                        std::span<const ReplayTask> tasks,
                        const std::string& producer,
                        const StepReport& report);

}  // namespace kvtape
