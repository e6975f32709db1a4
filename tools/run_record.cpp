#include "tools/run_record.hpp"

#include "core/kernels.hpp"

#include <chrono>
#include <ctime>
#include <unistd.h>

namespace kvtape {

Json run_record(const Invocation& invocation) {
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    const auto now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
    char date[32] = "";
    std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&now));
    return {{"command", invocation.command_line},
            {"producer", "kvtape " KVTAPE_VERSION},
            {"date_utc", date},
            {"host", host},
            {"compiler", __VERSION__},
            {"isa", name_of(active_isa())},
            {"threads", invocation.common.threads},
            {"seed", invocation.common.seed}};
}

}  // namespace kvtape
