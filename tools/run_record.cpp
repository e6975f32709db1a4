#include "tools/run_record.hpp"

#include "core/error.hpp"
#include "core/kernels.hpp"
#include "tools/text_file.hpp"

#include <chrono>
#include <ctime>
#include <fstream>
#include <iterator>
#include <unistd.h>

namespace kvtape {
namespace {

/// What is kept of a call that is not the last: what was called, which version, when.
Json call_of(const Json& record) {
    Json call = Json::object();
    for (const char* key : {"command", "producer", "date_utc"})
        if (record.contains(key))
            call[key] = record[key];
    return call;
}

}  // namespace

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

Json read_run_record(const std::filesystem::path& directory) {
    const std::filesystem::path path = directory / "run.json";
    std::ifstream file(path, std::ios::binary);
    if (!file)
        throw errno_error("reading " + path.string());
    return parse_json(
        std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()),
        path.string());
}

Json with_earlier(Json record, const std::filesystem::path& directory) {
    constexpr std::size_t most = 32;
    Json before;
    try {
        before = read_run_record(directory);
    } catch (const Error&) {
        return record;
    }
    if (!before.is_object())
        return record;
    if (before.contains("analyze"))
        record["analyze"] = before["analyze"];
    if (!before.contains("command"))
        return record;
    Json earlier = Json::array();
    if (before.contains("earlier") && before["earlier"].is_array())
        earlier = before["earlier"];
    earlier.push_back(call_of(before));
    while (earlier.size() > most)
        earlier.erase(earlier.begin());
    record["earlier"] = std::move(earlier);
    return record;
}

void note_command(const std::filesystem::path& directory,
                  const std::string& verb,
                  const Invocation& invocation) {
    Json record = Json::object();
    try {
        if (std::filesystem::exists(directory / "run.json"))
            record = read_run_record(directory);
    } catch (const Error&) {
        return;
    }
    if (!record.is_object())
        return;
    record[verb] = call_of(run_record(invocation));
    write_text_file(directory / "run.json", record.dump(2) + "\n");
}

std::filesystem::path recording_of(const std::filesystem::path& directory, const Json& record) {
    const auto found = record.is_object() ? record.find("trace") : record.end();
    if (found == record.end() || !found->is_string() || found->get<std::string>().empty())
        return {};
    return directory / found->get<std::string>();
}

}  // namespace kvtape
