#include "tests/support/ragged_attention.hpp"

#include "tests/support/catch.hpp"

using namespace kvtape;
using namespace kvtape::testing;

TEST_CASE("attention over heads that hold differently many entries matches double arithmetic",
          "[model][attention]") {
    const RaggedCase test =
        GENERATE(RaggedCase{},
                 RaggedCase{.group = 4, .held = {0, 300, 17}, .rows = 1},
                 RaggedCase{.group = 1, .head_dim = 32, .held = {129, 1, 0, 640}, .rows = 40},
                 RaggedCase{.held = {128, 127}, .rows = 9, .first = 500, .column_limit = 505},
                 RaggedCase{.type = ElementType::bfloat16, .held = {33, 64}, .rows = 12});
    const auto backend = model::cpu_backend(test.type, 2);
    const RaggedResult found = run_ragged(*backend, test), expected = reference_ragged(test);
    const double tolerance = test.type == ElementType::float32 ? 2e-6 : 8e-3;
    CHECK(largest_difference(found.outputs, expected.outputs) < tolerance);
    CHECK(largest_difference(found.column_sums, expected.column_sums) < 1e-5);
}
