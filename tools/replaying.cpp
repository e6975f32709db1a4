#include "tools/replaying.hpp"

#include "core/error.hpp"
#include "sim/curve.hpp"
#include "tools/curve_rows.hpp"
#include "tools/progress.hpp"
#include "tools/replay_options.hpp"
#include "tools/run_record.hpp"

#include <chrono>
#include <fstream>
#include <iostream>
#include <iterator>
#include <optional>
#include <set>

namespace kvtape {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::string_view producer = "kvtape " KVTAPE_VERSION;

double seconds_since(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// Shows one job on standard error; starts with its first step.
StepReport reporter(std::optional<Progress>& shown, std::string_view what, bool quiet) {
    return [&shown, what, quiet](std::int64_t done, std::int64_t all) {
        if (!shown)
            shown.emplace(what, all, quiet);
        shown->update(done);
    };
}

/// Removes a directory and what is in it when its owner is done.
class ScratchDirectory {
  public:
    explicit ScratchDirectory(fs::path path) : path_(std::move(path)) {
        if (fs::exists(path_))
            throw usage_error("replaying twice: " + path_.string() + " is in the way; remove it");
    }
    ~ScratchDirectory() {
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }
    ScratchDirectory(const ScratchDirectory&) = delete;
    ScratchDirectory& operator=(const ScratchDirectory&) = delete;

    const fs::path& path() const { return path_; }

  private:
    fs::path path_;
};

std::string content(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

bool is_compared(const std::string& name, Compared compared) {
    return compared == Compared::everything ? name != "run.json" : name.ends_with(".decisions.h5");
}

void add_names(std::set<std::string>& names, const fs::path& directory, Compared compared) {
    for (const auto& entry : fs::directory_iterator(directory))
        if (is_compared(entry.path().filename().string(), compared))
            names.insert(entry.path().filename().string());
}

/// curve.csv over the policies that have curves; the others are named on standard error.
std::string curves(const Invocation& invocation, const ReplayOptions& asked) {
    std::vector<ReplayTask> tasks;
    for (const ReplayTask& task : asked.tasks())
        if (has_curve(*task.policy))
            tasks.push_back(task);
        else if (!invocation.common.quiet)
            std::cerr << "kvtape: curve.csv leaves out " << task.policy->spec
                      << ": it cannot tell from which budget on a token is kept\n";
    std::optional<Progress> drawing;
    return curve_table(
        asked.request, tasks, reporter(drawing, "drawing curves", invocation.common.quiet));
}

}  // namespace

Tables replay_and_tabulate(const Invocation& invocation, const Trace& trace, const fs::path& out) {
    const ReplayOptions asked = read_replay_options(invocation, trace);
    const std::vector<ReplayTask> tasks = asked.tasks();
    check_feasible(asked.request, tasks);
    if (invocation.values.count("curve") != 0 && !asked.request.schedule.once())
        throw usage_error("drawing curves with the schedule " + asked.request.schedule.text() +
                          ": a curve needs one decision; use --schedule prefill or prompt");
    trace.verify();
    const Clock::time_point begin = Clock::now();
    ResultDirectory directory(out, trace);
    std::optional<Progress> replaying, tabulating;
    const bool quiet = invocation.common.quiet;
    replay_into(directory,
                asked.request,
                tasks,
                std::string(producer),
                reporter(replaying, "replaying", quiet));
    replaying.reset();
    const double replay_seconds = seconds_since(begin);
    Tables tables = make_tables(trace,
                                directory.results(),
                                invocation.common.threads,
                                reporter(tabulating, "measuring", quiet));
    tabulating.reset();
    directory.write("recall.csv", tables.recall_csv);
    directory.write("summary.csv", tables.summary_csv);
    directory.write("readers.csv", tables.readers_csv);
    if (!tables.autopsy_csv.empty())
        directory.write("autopsy.csv", tables.autopsy_csv);
    if (invocation.values.count("curve") != 0)
        directory.write("curve.csv",
                        with_earlier_curves(curves(invocation, asked), out, directory.results()));
    Json record = run_record(invocation);
    record["bootstrap"] = {{"seed", bootstrap_seed}, {"resamples", bootstrap_resamples}};
    record["trace"] = fs::absolute(invocation.values["trace"].as<std::string>()).string();
    record["replay_seconds"] = replay_seconds;
    record["table_seconds"] = seconds_since(begin) - replay_seconds;
    directory.write("run.json", with_earlier(std::move(record), out).dump(2) + "\n");
    return tables;
}

std::vector<std::string> differences_of_second_run(const Invocation& invocation,
                                                   const Trace& trace,
                                                   const fs::path& out,
                                                   Compared compared) {
    const ScratchDirectory second(out.string() + ".twice");
    replay_and_tabulate(invocation, trace, second.path());
    std::set<std::string> names;
    add_names(names, second.path(), compared);
    // Decisions of earlier runs have nothing to be compared with.
    if (compared == Compared::everything)
        add_names(names, out, compared);
    std::vector<std::string> differing;
    for (const std::string& name : names)
        if (!fs::exists(out / name) || !fs::exists(second.path() / name) ||
            content(out / name) != content(second.path() / name))
            differing.push_back(name);
    return differing;
}

}  // namespace kvtape
