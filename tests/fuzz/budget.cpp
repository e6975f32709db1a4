#include "core/budget.hpp"

#include "tests/fuzz/fuzz.hpp"

namespace {

/// A budget list that is accepted resolves at any length, within its promise.
void parse_and_resolve(std::string_view list) {
    const kvtape::Shape shape{
        .layers = 6, .query_heads = 8, .kv_heads = 4, .head_dim = 64, .hidden_size = 256};
    for (const kvtape::Budget& budget : kvtape::parse_budgets(list)) {
        for (const kvtape::Position held : {1, 7, 1024, 1 << 30}) {
            const kvtape::Position kept = budget.tokens_of(held, shape);
            if (kept < 1 || kept > held)
                std::abort();
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    return expect_clean_outcome(data, size, parse_and_resolve);
}
