#include "sim/results.hpp"

#include "sim/tables.hpp"
#include "tests/sim/cases.hpp"
#include "tests/support/catch.hpp"
#include "tests/trace/samples.hpp"
#include "trace/reader.hpp"

#include <map>

using namespace kvtape;
using namespace kvtape::tests;

namespace {

namespace fs = std::filesystem;

std::unique_ptr<const Trace> golden_trace(const std::string& name = "small-float32") {
    return open_trace(golden(name + ".kvtape.h5"));
}

const std::string knorm_file = "knorm@0.25.prefill.agnostic.decisions.h5";

/// Replays specs into `out`; returns how many files were computed.
std::size_t replay_specs(const fs::path& out,
                         const Trace& trace,
                         const std::vector<std::string>& specs,
                         const std::string& budgets = "0.25",
                         std::uint64_t seed = 0) {
    ResultDirectory directory(out, trace);
    ReplayRequest request = request_for(trace);
    request.seed = seed;
    const std::vector<PolicyRun> policies = make_policies(specs);
    std::vector<ReplayTask> tasks;
    for (const PolicyRun& policy : policies)
        tasks.push_back({.policy = &policy, .budgets = parse_budgets(budgets)});
    return replay_into(directory, request, tasks, "kvtape test", [](std::int64_t, std::int64_t) {});
}

Tables tables_of(const fs::path& out, const Trace& trace) {
    return make_tables(
        trace, ResultDirectory(out, trace).results(), 1, [](std::int64_t, std::int64_t) {});
}

/// The bytes of every file by name.
std::map<std::string, std::string> contents(const fs::path& folder) {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::directory_iterator(folder))
        files[entry.path().filename().string()] = bytes_of_file(entry.path());
    return files;
}

}  // namespace

TEST_CASE("a replay that was cut off goes on where it stopped and ends with the same bytes",
          "[sim][results]") {
    const Folder folder;
    const auto trace = golden_trace();
    const fs::path out = folder / "out";
    REQUIRE(replay_specs(out, *trace, {"knorm", "snapkv:window=32"}, "0.25,64t") == 4);
    const auto first = contents(out);
    const Tables tables = tables_of(out, *trace);
    CHECK(replay_specs(out, *trace, {"knorm", "snapkv:window=32"}, "0.25,64t") == 0);
    CHECK(contents(out) == first);
    fs::remove(out / knorm_file);
    CHECK(replay_specs(out, *trace, {"knorm", "snapkv:window=32"}, "0.25,64t") == 1);
    CHECK(contents(out) == first);
    CHECK(tables_of(out, *trace).recall_csv == tables.recall_csv);
    CHECK(tables_of(out, *trace).summary_csv == tables.summary_csv);
}

TEST_CASE("tables cover earlier calls, and do not depend on the order of calls", "[sim][results]") {
    const Folder folder;
    const auto trace = golden_trace("two-sequences-float32");
    replay_specs(folder / "once", *trace, {"knorm", "oracle", "random"}, "0.25,0.5");
    replay_specs(folder / "steps", *trace, {"random"}, "0.5");
    replay_specs(folder / "steps", *trace, {"oracle", "knorm"}, "0.5,0.25");
    replay_specs(folder / "steps", *trace, {"random"}, "0.25");
    CHECK(contents(folder / "steps") == contents(folder / "once"));
    const Tables once = tables_of(folder / "once", *trace);
    const Tables steps = tables_of(folder / "steps", *trace);
    CHECK(steps.cells.size() == 6);
    CHECK(steps.recall_csv == once.recall_csv);
    CHECK(steps.summary_csv == once.summary_csv);
}

TEST_CASE("what a killed run left half-written is in nobody's way", "[sim][results]") {
    const Folder folder;
    const auto trace = golden_trace();
    replay_specs(folder / "clean", *trace, {"knorm"});
    const fs::path out = folder / "killed";
    fs::create_directories(out);
    for (const std::string& name :
         {knorm_file, std::string("index.csv"), std::string("recall.csv")})
        write_bytes(out / (name + ".partial"), "half a file");
    CHECK(replay_specs(out, *trace, {"knorm"}) == 1);
    CHECK(bytes_of_file(out / knorm_file) == bytes_of_file(folder / "clean" / knorm_file));
    CHECK(bytes_of_file(out / "index.csv") == bytes_of_file(folder / "clean" / "index.csv"));
}

TEST_CASE("a damaged decision file is named, and nothing is overwritten", "[sim][results]") {
    const Folder folder;
    const auto trace = golden_trace();
    const fs::path out = folder / "out";
    replay_specs(out, *trace, {"knorm", "tova"});
    const std::string whole = bytes_of_file(out / knorm_file);
    for (const std::string& damaged :
         {whole.substr(0, whole.size() / 2), std::string(), std::string("not HDF5")}) {
        write_bytes(out / knorm_file, damaged);
        const auto before = contents(out);
        const std::string message = refusal(ErrorKind::format, [&] {
            replay_specs(out, *trace, {"knorm", "random"});
        });
        CHECK(mentions(message, knorm_file));
        CHECK(contents(out) == before);
    }
}

TEST_CASE("results of another trace are refused and left alone", "[sim][results]") {
    const Folder folder;
    const fs::path out = folder / "out";
    replay_specs(out, *golden_trace(), {"knorm"});
    const auto before = contents(out);
    const auto other = golden_trace("grouped-bfloat16");
    const std::string message =
        refusal(ErrorKind::format, [&] { replay_specs(out, *other, {"tova"}); });
    CHECK(mentions(message, knorm_file));
    CHECK(mentions(message, "use another directory"));
    CHECK(contents(out) == before);
}

TEST_CASE("a result with another seed or other parameters is refused and left alone",
          "[sim][results]") {
    const Folder folder;
    const auto trace = golden_trace();
    const fs::path out = folder / "out";
    replay_specs(out, *trace, {"knorm", "snapkv:window=32"});
    // As if the file had been renamed by hand.
    fs::copy_file(out / "snapkv-window-32@0.25.prefill.agnostic.decisions.h5",
                  out / "snapkv-window-16@0.25.prefill.agnostic.decisions.h5");
    const auto before = contents(out);
    CHECK(mentions(
        refusal(ErrorKind::usage, [&] { replay_specs(out, *trace, {"knorm"}, "0.25", 7); }),
        "seed 0"));
    CHECK(mentions(
        refusal(ErrorKind::usage, [&] { replay_specs(out, *trace, {"snapkv:window=16"}); }),
        "\"window\":32"));
    CHECK(contents(out) == before);
}

TEST_CASE("a directory that cannot be made is an error of the system", "[sim][results]") {
    const Folder folder;
    const auto trace = golden_trace();
    write_bytes(folder / "file", "in the way");
    for (const fs::path& out : {folder / "file", folder / "file" / "out"})
        CHECK(mentions(refusal(ErrorKind::io, [&] { replay_specs(out, *trace, {"knorm"}); }),
                       out.string()));
    CHECK(bytes_of_file(folder / "file") == "in the way");
}
