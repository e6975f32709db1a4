#pragma once

#include "core/json.hpp"
#include "core/types.hpp"
#include "policies/arguments.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kvtape {

/// A number for every KV head of a model, from a small file that somebody measured.
class HeadValues {
  public:
    HeadValues() = default;
    /// Reads `text`: lines of numbers between commas, tabs or blanks, one line for each layer, or
    /// the same as JSON, an array of arrays. The numbers of a line are those of the layer's KV
    /// heads or of its query heads. Anything else is a format error that names `what`.
    HeadValues(std::string_view text, std::string what);

    /// Reads the file that a parameter names; nothing where there is none, or nothing is replayed.
    static HeadValues of(const Arguments& arguments, const std::string& file);

    bool empty() const { return lines_.empty(); }
    /// A usage error where nothing was read, a format error where the file is for another model.
    void expect_fit(const Shape& shape, std::string_view policy) const;
    /// Of a file that fits: KV head `h` of layer `l` at [l * kv_heads + h]. Query heads that share
    /// a KV head give it their mean.
    std::vector<double> by_kv_head(const Shape& shape) const;
    /// 16 hex digits that stand for the numbers; an empty object where there are none.
    Json echo() const;

  private:
    std::string what_;
    std::vector<std::vector<double>> lines_;
};

/// Shares `total` whole pieces out in proportion to `shares` (none negative): each gets the whole
/// part of its due, and the largest remainders get the rest, the first of equals first. Nothing to
/// go by means equal shares.
std::vector<std::int64_t> largest_remainder(const std::vector<double>& shares, std::int64_t total);

}  // namespace kvtape
