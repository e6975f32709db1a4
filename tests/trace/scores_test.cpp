#include "trace/scores.hpp"

#include "core/error.hpp"
#include "tests/support/catch.hpp"
#include "tests/trace/samples.hpp"
#include "trace/output.hpp"
#include "trace/reader.hpp"
#include "trace/schema.hpp"

#include <cmath>
#include <functional>

using namespace kvtape;
using namespace kvtape::tests;

namespace {

std::unique_ptr<Trace> golden_trace() {
    return open_trace(golden("small-float32.kvtape.h5"));
}

/// What a score file is made of.
struct Recipe {
    std::string version = "1.0";
    std::string fingerprint;
    std::int32_t missing_layer = -1;
    Position longer = 0;
    float odd_one = 0.0f;  ///< added to the fourth score of every layer
    ElementType type = ElementType::float32;
};

float score_of(std::int32_t layer, std::size_t element) {
    return static_cast<float>(element % 97) + 0.25f * static_cast<float>(layer);
}

void write_scores(const std::filesystem::path& path, const Trace& trace, const Recipe& recipe) {
    const Shape& shape = trace.info().shape;
    OutputFile file(path, Existing::replace, schema::scores_mark, "a test", Unended::remove);
    if (recipe.version != "1.0")
        file.root().replace_text(schema::scores_mark, recipe.version);
    file.root().text(schema::trace_fingerprint, recipe.fingerprint);
    const OutputGroup sequences = file.root().group(schema::sequences);
    for (std::int32_t i = 0; i < trace.sequences(); ++i) {
        const SequenceInfo& sequence = trace.sequence(i);
        const OutputGroup layers = sequences.group(sequence.name).group(schema::layers);
        for (std::int32_t layer = 0; layer < shape.layers; ++layer) {
            if (layer == recipe.missing_layer)
                continue;
            const std::int64_t tokens = sequence.length() + recipe.longer;
            std::vector<float> scores(static_cast<std::size_t>(shape.kv_heads * tokens));
            for (std::size_t element = 0; element < scores.size(); ++element)
                scores[element] = score_of(layer, element);
            scores[3] += recipe.odd_one;
            layers.group(schema::layer_name(layer))
                .floats(
                    schema::scores, recipe.type, {shape.kv_heads, tokens}, Chunking::heads, scores);
        }
    }
    file.finish();
}

std::string refusal(const Recipe& recipe) {
    const Folder folder;
    const auto trace = golden_trace();
    write_scores(folder / "F.h5", *trace, recipe);
    try {
        open_scores(folder / "F.h5", *trace);
    } catch (const Error& error) {
        CHECK(error.kind() == ErrorKind::format);
        return error.what();
    }
    FAIL("nothing was refused");
    return {};
}

bool says(const std::string& message, std::string_view part) {
    return message.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a file of scores is read layer by layer", "[trace][scores]") {
    const Folder folder;
    const auto trace = golden_trace();
    write_scores(folder / "F.h5", *trace, {.fingerprint = trace->info().fingerprint});
    const auto table = open_scores(folder / "F.h5", *trace);
    CHECK(table->fingerprint().size() == 32);
    const SequenceInfo& sequence = trace->sequence(0);
    for (std::int32_t layer = 0; layer < trace->info().shape.layers; ++layer) {
        const std::vector<float> scores = table->layer(sequence.name, layer);
        REQUIRE(std::ssize(scores) == trace->info().shape.kv_heads * sequence.length());
        for (std::size_t element = 0; element < scores.size(); ++element)
            if (scores[element] != score_of(layer, element))
                FAIL("layer " << layer << ", element " << element);
    }
}

TEST_CASE("a file of scores that does not fit its trace is refused", "[trace][scores]") {
    const std::string own = golden_trace()->info().fingerprint;
    CHECK(says(refusal({.fingerprint = std::string(32, '0')}), "belongs to the trace 000"));
    CHECK(says(refusal({.version = "2.0", .fingerprint = own}), "version '2.0'"));
    CHECK(says(refusal({.fingerprint = own, .missing_layer = 1}), "001"));
    CHECK(says(refusal({.fingerprint = own, .longer = 1}), "expected"));
    CHECK(says(refusal({.fingerprint = own, .odd_one = std::nanf("")}),
               "not finite, of KV head 0 at position 3"));
    CHECK(says(refusal({.fingerprint = own, .odd_one = INFINITY}), "not finite"));
    CHECK(says(refusal({.fingerprint = own, .type = ElementType::bfloat16}), "float32"));
}

TEST_CASE("what is no file of scores is refused", "[trace][scores]") {
    const auto trace = golden_trace();
    CHECK_THROWS_AS(open_scores(golden("small-float32.kvtape.h5"), *trace), Error);
    CHECK_THROWS_AS(open_scores(golden("README.md"), *trace), Error);
    CHECK_THROWS_AS(open_scores("/nowhere/F.h5", *trace), Error);
}
