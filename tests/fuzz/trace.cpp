#include "tests/fuzz/fuzz.hpp"
#include "trace/reader.hpp"

#include <span>

namespace {

/// A trace that opens gives up its sequences, and every layer or a clean refusal.
void open_and_load(std::string_view input) {
    const auto image = std::as_bytes(std::span<const char>(input));
    const auto trace = kvtape::open_trace_image(image, kvtape::Unfinished::allow);
    constexpr kvtape::LayerParts every_part{.keys = true,
                                            .values = true,
                                            .queries = true,
                                            .outputs = true,
                                            .logsumexp = true,
                                            .column_sums = true};
    kvtape::LayerData data;
    for (std::int32_t sequence = 0; sequence < trace->sequences(); ++sequence) {
        static_cast<void>(trace->sequence(sequence).generated());
        for (std::int32_t layer = 0; layer < trace->info().shape.layers; ++layer)
            trace->load(sequence, layer, every_part, data);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    return expect_clean_outcome(data, size, open_and_load);
}
