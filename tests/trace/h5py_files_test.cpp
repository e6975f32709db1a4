#include "tests/support/catch.hpp"
#include "tests/trace/samples.hpp"
#include "trace/decisions.hpp"

using namespace kvtape;
using namespace kvtape::tests;

// Hidden: tests/trace/h5py_check.py runs it in a folder of its own and reads what it leaves there.
TEST_CASE("one file of every kind for h5py", "[.h5py]") {
    for (const ElementType type :
         {ElementType::float32, ElementType::float16, ElementType::bfloat16}) {
        const std::string name = std::string(name_of(type)) + ".kvtape.h5";
        write_sample(name, sample_info(type));
        CHECK(std::filesystem::exists(name));
    }
    DecisionInfo info;
    info.policy = "sample";
    info.parameters = "{}";
    DecisionSequence sequence;
    sequence.name = "0000";
    sequence.blocks = {{0, 4, false}, {4, 5, true}};
    DecisionWriter writer("sample.decisions.h5", info);
    writer.begin_sequence(sequence, 2, 5);
    writer.write_layer(0,
                       {.evicted_at = std::vector<std::int32_t>(10, -1),
                        .merged_into = std::vector<std::int32_t>(10, -1),
                        .scores = std::vector<float>(10, 0.5f),
                        .merged = {.entries = {{0, 1, 2}},
                                   .keys = std::vector<float>(4, 0.25f),
                                   .values = std::vector<float>(4, 2.0f)}});
    writer.end_sequence();
    CHECK(writer.finish().size() == 32);
}
