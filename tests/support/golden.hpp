#pragma once

#include "core/decision.hpp"
#include "core/types.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvtape::testing {

/// A trace of tests/golden, and how many KV heads its expectations judge over all their cases.
struct GoldenTrace {
    std::string_view name;
    int heads = 0;     ///< at the end of the context
    int decoding = 0;  ///< behind it
};
inline constexpr GoldenTrace golden_traces[] = {{"degenerate-float32", 124, 0},
                                                {"grouped-bfloat16", 416, 46},
                                                {"long-float16", 408, 0},
                                                {"small-float32", 444, 42},
                                                {"two-sequences-float32", 1520, 176}};

/// Over all elements of the stored keys and values after merging.
struct GoldenSums {
    double keys = 0.0, values = 0.0, key_squares = 0.0, value_squares = 0.0;
};

/// What tests/golden/README.md says about one KV head.
struct GoldenHead {
    std::vector<Position> kept;
    std::vector<Position> near;  ///< too close to the cut for float32: may stand in for each other
    bool uncertain = false;      ///< not judged
    std::vector<Absorbed> absorbed;  ///< of policies that merge
    std::optional<GoldenSums> sums;  ///< likewise
};

/// One line of a golden file: decisions that an independent program took.
struct GoldenCase {
    std::string policy;
    std::string budget;
    std::string schedule;
    std::string query_source;
    std::uint64_t seed = 0;
    /// The program that was executed or, where there is none or the specification differs from it
    /// on purpose, the paragraph of the specification. Empty where no paragraph is known.
    std::string authority;
    /// By sequence name: [layer][kv_head]. Sequences that the policy was refused for are absent.
    std::map<std::string, std::vector<std::vector<GoldenHead>>> sequences;
};

/// A case whose policy goes on deciding behind the context.
struct GoldenFate {
    std::string policy;
    std::string budget;
    std::string schedule;
    std::uint64_t seed = 0;
    std::string authority;  ///< as for `GoldenCase`
    /// `evicted_at` of one head, or nothing where it is not judged.
    using Head = std::vector<std::int32_t>;
    /// By sequence name: [layer][kv_head].
    std::map<std::string, std::vector<std::vector<Head>>> sequences;
};

/// All cases of `tests/golden/<name>.json` are of one kind or the other.
std::vector<GoldenCase> golden_cases(const std::string& path);
std::vector<GoldenFate> golden_fates(const std::string& path);

/// How `kept` contradicts `expected`, or "" when it agrees modulo what cannot be judged.
std::string disagreement(const GoldenHead& expected, std::span<const Position> kept);

}  // namespace kvtape::testing
