#include "policies/parts/finite.hpp"

#include "core/error.hpp"

#include <bit>
#include <cmath>
#include <cstdint>
#include <string>

namespace kvtape {
namespace {

constexpr std::uint32_t exponent_bits = 0x7f800000u;

/// Sets bits alone, so that the loop over many scores has no branch.
bool all_finite(std::span<const float> values) {
    std::uint32_t spoiled = 0;
    for (const float value : values)
        spoiled |= (std::bit_cast<std::uint32_t>(value) & exponent_bits) == exponent_bits ? 1u : 0u;
    return spoiled == 0;
}

[[noreturn]] void refuse(const HeadView& head, std::string_view tensor, Position position) {
    throw format_error("scoring layer " + std::to_string(head.id.layer) + ", KV head " +
                       std::to_string(head.id.head) + ": the " + std::string(tensor) +
                       " at position " + std::to_string(position) +
                       " hold a number that is not finite; record the sequence again");
}

/// Row `r` of `rows` belongs to `positions[r % positions.size()]`.
void check_rows(const HeadView& head,
                std::string_view tensor,
                MatrixView rows,
                std::span<const Position> positions) {
    const auto count = static_cast<Eigen::Index>(positions.size());
    for (Eigen::Index r = 0; r < rows.rows(); ++r) {
        const std::span<const float> row(rows.data() + r * rows.outerStride(),
                                         static_cast<std::size_t>(rows.cols()));
        if (!all_finite(row))
            refuse(head, tensor, count == 0 ? 0 : positions[static_cast<std::size_t>(r % count)]);
    }
}

void check_numbers(const HeadView& head,
                   std::string_view tensor,
                   std::span<const float> numbers,
                   std::span<const Position> positions) {
    for (std::size_t i = 0; i < numbers.size(); ++i)
        if (!std::isfinite(numbers[i]))
            refuse(head, tensor, positions[i % positions.size()]);
}

void expect_finite(const HeadView& head, std::string_view what, MatrixView rows) {
    for (Eigen::Index r = 0; r < rows.rows(); ++r)
        if (!all_finite(
                {rows.data() + r * rows.outerStride(), static_cast<std::size_t>(rows.cols())}))
            throw format_error("scoring layer " + std::to_string(head.id.layer) + ", KV head " +
                               std::to_string(head.id.head) + ": the " + std::string(what) +
                               " holds a number that is not finite; record the sequence again");
}

}  // namespace

void check_scores(const HeadView& head, std::span<const float> scores) {
    if (!all_finite(scores))
        refuse_not_finite(head);
}

void check_repetition(const HeadView& head) {
    check_rows(head, "keys", head.keys, head.positions);
    expect_finite(head, "second pass", head.repetition.queries);
    for (const std::span<const float> row :
         {head.repetition.logsumexp, head.repetition.hidden_norms})
        expect_finite(head, "second pass", view(row.data(), 1, std::ssize(row)));
}

void refuse_not_finite(const HeadView& head) {
    check_rows(head, "keys", head.keys, head.positions);
    check_rows(head, "values", head.values, head.positions);
    check_rows(head, "queries", head.observed.queries, head.observed.positions);
    check_rows(head, "keys", head.observed.keys, head.observed.positions);
    check_numbers(head, "row normalisers", head.observed.logsumexp, head.observed.positions);
    for (Eigen::Index r = 0; r < head.column_sums.rows(); ++r)
        check_numbers(head,
                      "column sums",
                      {head.column_sums.data() + r * head.column_sums.outerStride(),
                       static_cast<std::size_t>(head.column_sums.cols())},
                      head.positions);
    for (const MatrixView& moments : {head.statistics.mean, head.statistics.covariance})
        expect_finite(head, "mean or the covariance of its queries", moments);
    throw format_error("scoring layer " + std::to_string(head.id.layer) + ", KV head " +
                       std::to_string(head.id.head) +
                       ": the recorded numbers are finite but too large to score in float32");
}

}  // namespace kvtape
