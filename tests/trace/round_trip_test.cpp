#include "tests/support/catch.hpp"
#include "tests/trace/samples.hpp"
#include "trace/fingerprint.hpp"
#include "trace/reader.hpp"

#include <bit>
#include <cmath>
#include <cstring>

using namespace kvtape;
using namespace kvtape::tests;

TEST_CASE("a trace comes back as it was written, for every element type", "[trace][writer]") {
    for (const ElementType type :
         {ElementType::float32, ElementType::float16, ElementType::bfloat16}) {
        INFO(name_of(type));
        const Folder folder;
        const TraceInfo info = sample_info(type);
        const std::string fingerprint = write_sample(folder / "a.kvtape.h5", info);
        const auto trace = open_trace(folder / "a.kvtape.h5");
        CHECK(trace->info().shape == info.shape);
        CHECK(trace->info().model_config == info.model_config);
        CHECK(trace->info().sliding_window == info.sliding_window);
        CHECK(trace->info().fingerprint == fingerprint);
        CHECK(trace->info().complete);
        REQUIRE(trace->sequences() == 2);
        for (std::int32_t index = 0; index < 2; ++index) {
            const SequenceInfo written = sample_sequence(20 + index);
            const SequenceInfo& read = trace->sequence(index);
            CHECK(read.name == (index == 0 ? "0000" : "0001"));
            CHECK(read.tokens == written.tokens);
            CHECK(read.text == written.text);
            CHECK(read.text_offsets == written.text_offsets);
            CHECK(read.spans == written.spans);
            CHECK(read.query_positions == written.query_positions);
            CHECK(read.logits_top == written.logits_top);
            CHECK(read.logits_top_ids == written.logits_top_ids);
            CHECK(read.seed == written.seed);
            CHECK(read.generated_text == written.generated_text);
            for (std::int32_t layer = 0; layer < 2; ++layer) {
                const LayerData expected = sample_layer(info.shape, written, 10 * index + layer);
                LayerData data;
                trace->load(index, layer, always_recorded, data);
                CHECK(data.keys == expected.keys);
                CHECK(data.values == expected.values);
                CHECK(data.queries == expected.queries);
                CHECK(data.outputs == expected.outputs);
                CHECK(data.logsumexp == expected.logsumexp);
                CHECK(data.column_sums == expected.column_sums);
            }
        }
    }
}

TEST_CASE("the same content gives the same bytes", "[trace][writer]") {
    const Folder folder;
    write_sample(folder / "a.kvtape.h5");
    const std::vector<char> dirt(1 << 20, '\x5a');  // moves the heap about
    write_sample(folder / "b.kvtape.h5");
    CHECK(dirt.front() == 'Z');
    CHECK(bytes_of_file(folder / "a.kvtape.h5") == bytes_of_file(folder / "b.kvtape.h5"));
}

TEST_CASE("a trace in memory reads like the file", "[trace][reader]") {
    const std::string bytes = bytes_of_file(golden("grouped-bfloat16.kvtape.h5"));
    const auto image = open_trace_image(std::as_bytes(std::span(bytes)));
    const auto file = open_trace(golden("grouped-bfloat16.kvtape.h5"));
    LayerData from_image;
    LayerData from_file;
    image->load(0, 1, always_recorded, from_image);
    file->load(0, 1, always_recorded, from_file);
    CHECK(from_image.values == from_file.values);
    CHECK(from_image.queries == from_file.queries);
}

TEST_CASE("an old file is replaced only when asked", "[trace][writer]") {
    const Folder folder;
    write_sample(folder / "a.kvtape.h5", sample_info(), 1);
    const std::string before = bytes_of_file(folder / "a.kvtape.h5");
    CHECK_THROWS_WITH(write_sample(folder / "a.kvtape.h5"),
                      Catch::Matchers::Contains("a.kvtape.h5 exists") &&
                          Catch::Matchers::Contains("--overwrite"));
    CHECK(bytes_of_file(folder / "a.kvtape.h5") == before);
    write_sample(folder / "a.kvtape.h5", sample_info(), 2, Existing::replace);
    CHECK(open_trace(folder / "a.kvtape.h5")->sequences() == 2);
    CHECK_FALSE(std::filesystem::exists(folder / "a.kvtape.h5.partial"));
}
