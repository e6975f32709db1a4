#pragma once

#include "core/types.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kvtape {

/// An exact non-negative fraction in lowest terms.
struct Ratio {
    std::int64_t numerator = 0;
    std::int64_t denominator = 1;

    /// floor(this * count), exactly.
    std::int64_t floor_of(std::int64_t count) const;
    /// The double nearest to it.
    double value() const;
    bool operator==(const Ratio&) const = default;
};

/// How much of the cache is **kept**, as the user wrote it.
class Budget {
  public:
    enum class Unit { ratio, tokens, bytes };

    /// Reads `0.25`, `25%`, `128t` or `4MiB` (also B, KiB, GiB). Zero, negative, above 100 % and
    /// anything that is not a number are usage errors that show the grammar.
    static Budget parse(std::string_view text);

    Unit unit() const { return unit_; }
    const std::string& text() const { return text_; }
    /// The ratio, tokens or bytes as a number, for spacing and display.
    double amount() const;
    /// The exact ratio, when the unit is a ratio.
    std::optional<Ratio> ratio() const;
    /// Tokens per KV head and layer to keep of `tokens`: max(1, floor(ratio * tokens)); or the
    /// count; or bytes / (layers * kv_heads * bytes of an entry). Never more than `tokens`. A byte
    /// budget that cannot hold one token per head is a usage error that names the least that can.
    Position tokens_of(Position tokens, const Shape& shape) const;

    /// Budgets compare by meaning, smaller first inside a unit, ratios before tokens before bytes.
    friend bool operator<(const Budget& a, const Budget& b);

  private:
    Unit unit_ = Unit::ratio;
    Ratio ratio_;
    std::int64_t count_ = 0;
    std::string text_;
};

/// Reads a comma-separated list. `1%..50%:8` stands for 8 log-spaced points, ends included; points
/// are rounded to four significant digits (ratios) or whole numbers, and a range holds each once:
/// `1t..4t:9` is 1t,2t,3t,4t. Budgets repeated in the list are usage errors.
std::vector<Budget> parse_budgets(std::string_view list);

/// What one decision may keep, resolved for one sequence and moment.
struct Limit {
    Position tokens = 0;         ///< per KV head and layer, sinks and window included
    std::optional<Ratio> ratio;  ///< the exact ratio, when the user gave one
};

}  // namespace kvtape
