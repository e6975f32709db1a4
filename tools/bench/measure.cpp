#include "tools/bench/measure.hpp"

#include "core/kernels.hpp"
#include "core/reduce.hpp"

#include <chrono>
#include <fstream>
#include <string>
#include <vector>

namespace kvtape::bench {
namespace {

std::string processor() {
    std::ifstream info("/proc/cpuinfo");
    for (std::string line; std::getline(info, line);)
        if (line.starts_with("model name"))
            return line.substr(line.find(':') + 2);
    return "unknown";
}

}  // namespace

Times measure(const Setting& setting, const std::function<void()>& run) {
    using Clock = std::chrono::steady_clock;
    std::vector<double> seconds;
    for (int i = 0; i <= setting.repetitions; ++i) {
        const Clock::time_point begin = Clock::now();
        run();
        if (i > 0)
            seconds.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
    }
    return {.median = quantile(seconds, 0.5),
            .fastest = quantile(seconds, 0.0),
            .slowest = quantile(seconds, 1.0)};
}

Json row(const std::string& name, const Setting& setting, const Times& times) {
    return {{"bench", name},
            {"seconds", times.median},
            {"fastest", times.fastest},
            {"slowest", times.slowest},
            {"repetitions", setting.repetitions},
            {"threads", setting.threads},
            {"isa", name_of(active_isa())},
            {"cpu", processor()}};
}

}  // namespace kvtape::bench
