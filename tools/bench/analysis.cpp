#include "tools/bench/analysis.hpp"

#include "analyze/result_files.hpp"
#include "core/error.hpp"
#include "tools/analyzing.hpp"

#include <sys/resource.h>

namespace kvtape::bench {

Json bench_analysis(const Setting& setting,
                    const std::filesystem::path& directory,
                    const std::optional<std::filesystem::path>& trace) {
    const AnalysisRequest request{
        .directory = directory, .threads = setting.threads, .trace = trace, .by = {}};
    std::size_t tables = 0;
    const Times times = measure(setting, [&] {
        const Findings found = analyze_results(request, [](auto, auto) {});
        // A table left out would make the figure look better than it is.
        if (!found.problems.empty())
            throw Error(found.problems.front().kind, found.problems.front().message);
        tables = found.tables.size();
    });
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    Json measured = row("analyze", setting, times);
    measured["results"] = open_result_files(directory, "").results.size();
    measured["tables"] = tables;
    measured["peak_bytes"] = std::int64_t{usage.ru_maxrss} * 1024;
    return measured;
}

}  // namespace kvtape::bench
