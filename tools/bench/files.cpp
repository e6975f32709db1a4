#include "tools/bench/files.hpp"

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "trace/reader.hpp"

#include <cstdint>
#include <fcntl.h>
#include <memory>
#include <unistd.h>

namespace kvtape::bench {
namespace {

/// Reads the whole file through a buffer of the size `cat` uses; returns its bytes.
std::int64_t read_bytes(const std::filesystem::path& path) {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0)
        throw errno_error("opening " + path.string());
    std::vector<char> buffer(128 << 10);
    std::int64_t total = 0;
    for (ssize_t count = 0; (count = read(file, buffer.data(), buffer.size())) > 0;)
        total += count;
    close(file);
    return total;
}

void load_all(const Trace& trace, std::int32_t sequence, LayerData& data) {
    constexpr LayerParts everything{.keys = true,
                                    .values = true,
                                    .queries = true,
                                    .outputs = true,
                                    .logsumexp = true,
                                    .column_sums = true};
    for (std::int32_t layer = 0; layer < trace.info().shape.layers; ++layer)
        trace.load(sequence, layer, everything, data);
}

}  // namespace

std::vector<Json> bench_trace(const Setting& setting, const std::filesystem::path& path) {
    std::int64_t bytes = 0;
    const Times raw = measure(setting, [&] { bytes = read_bytes(path); });
    LayerData data;
    const Times read = measure(setting, [&] {
        const std::unique_ptr<Trace> trace = open_trace(path, Unfinished::refuse, setting.threads);
        for (std::int32_t sequence = 0; sequence < trace->sequences(); ++sequence)
            load_all(*trace, sequence, data);
    });
    Json plain = row("read file", setting, raw), checked = row("read trace", setting, read);
    plain["bytes_per_second"] = static_cast<double>(bytes) / raw.median;
    checked["bytes_per_second"] = static_cast<double>(bytes) / read.median;
    checked["share_of_page_cache"] = raw.median / read.median;
    plain["threads"] = 1;
    for (Json* one : {&plain, &checked})
        (*one)["bytes"] = bytes;
    return {plain, checked};
}

}  // namespace kvtape::bench
