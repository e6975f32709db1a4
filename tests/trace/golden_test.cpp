#include "core/json.hpp"
#include "tests/support/catch.hpp"
#include "tests/trace/samples.hpp"
#include "trace/fingerprint.hpp"
#include "trace/reader.hpp"

#include <cmath>

using namespace kvtape;
using namespace kvtape::tests;

namespace {

const std::vector<std::string> traces = {"small-float32",
                                         "grouped-bfloat16",
                                         "long-float16",
                                         "two-sequences-float32",
                                         "degenerate-float32"};

}  // namespace

TEST_CASE("golden traces have the fingerprint they and their expectations name",
          "[trace][golden]") {
    for (const std::string& name : traces) {
        INFO(name);
        const std::filesystem::path path = golden(name + ".kvtape.h5");
        const auto trace = open_trace(path);
        const Json expected = parse_json(bytes_of_file(golden(name + ".json")), name);
        CHECK(trace->info().fingerprint == expected["fingerprint"].get<std::string>());
        CHECK(fingerprint_of(InputFile::open(path)) == trace->info().fingerprint);
    }
}

TEST_CASE("golden traces load, layer by layer", "[trace][golden]") {
    for (const std::string& name : traces) {
        INFO(name);
        const auto trace = open_trace(golden(name + ".kvtape.h5"));
        const Shape& shape = trace->info().shape;
        REQUIRE(trace->sequences() == (name == "two-sequences-float32" ? 2 : 1));
        LayerData data;
        for (std::int32_t index = 0; index < trace->sequences(); ++index) {
            const SequenceInfo& sequence = trace->sequence(index);
            CHECK(sequence.task == "synthetic");
            trace->load(index, shape.layers - 1, always_recorded, data);
            CHECK(data.keys.size() ==
                  sequence.tokens.size() *
                      static_cast<std::size_t>(shape.kv_heads * shape.head_dim));
            CHECK(data.logsumexp.size() ==
                  sequence.query_positions.size() * static_cast<std::size_t>(shape.query_heads));
            for (const float key : data.keys)
                REQUIRE(std::isfinite(key));
        }
    }
}

TEST_CASE("what the degenerate trace promises is in the tensors", "[trace][golden]") {
    const auto trace = open_trace(golden("degenerate-float32.kvtape.h5"));
    LayerData data;
    trace->load(0, 0, {.values = true, .attention = true}, data);
    const auto width = static_cast<std::size_t>(trace->info().shape.head_dim);
    for (std::size_t index = 50 * width; index < 61 * width; ++index)
        REQUIRE(data.values[index] == 0.0f);
    CHECK(data.keys.empty());
    CHECK(trace->stored(0).attention);
    CHECK_FALSE(trace->stored(0).query_mean);
    double row = 0.0;
    for (std::size_t key = 0; key < trace->sequence(0).tokens.size(); ++key)
        row += static_cast<double>(data.attention[key]);
    CHECK(row == Approx(1.0).epsilon(1e-5));
}

TEST_CASE("the output projection is there where it was recorded", "[trace][golden]") {
    CHECK(open_trace(golden("small-float32.kvtape.h5"))->output_projection(1).size() == 64 * 64);
    CHECK(open_trace(golden("long-float16.kvtape.h5"))->output_projection(0).empty());
    CHECK(open_trace(golden("small-float32.kvtape.h5"))->has_output_projections());
    CHECK(!open_trace(golden("long-float16.kvtape.h5"))->has_output_projections());
}
