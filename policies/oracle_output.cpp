#include "core/kernels.hpp"
#include "policies/parts/attention.hpp"
#include "policies/parts/scored.hpp"

#include <algorithm>

namespace kvtape::policies {
namespace {

using Index = Eigen::Index;

/// Keeps the tokens whose removal, each alone, would move the outputs of the true future queries
/// most. Removing token j from the softmax of a query moves its output o by p_j/(1-p_j) (o - v_j);
/// a token's score is the square of that, summed over queries and the query heads of the group.
/// Greedy: the best single tokens are not always the best set.
struct OracleOutput {
    void fields(auto&) {}
    Needs needs() const { return {.keys = true, .values = true, .future = true, .outputs = true}; }

    Scores score(const HeadView& head, const SessionContext& context) const {
        std::vector<double> total(head.positions.size());
        std::vector<float> distances(total.size());
        attention_rows(
            head, context.shape, [&](Index row, std::span<const float> weights, float factor) {
                squared_distances(head.values.topRows(std::ssize(weights)),
                                  head.observed.outputs.row(row),
                                  distances);
                for (std::size_t i = 0; i < weights.size(); ++i)
                    total[i] +=
                        static_cast<double>(distances[i]) * odds_squared(weights[i] * factor);
            });
        return {total.begin(), total.end()};
    }

  private:
    static double odds_squared(float probability) {
        const double p = static_cast<double>(probability);
        const double odds = p / std::max(1.0 - p, 1e-6);
        return odds * odds;
    }

    /// Of every row from `point`, by their difference: near the output, where it matters, the
    /// difference of squares would cancel.
    template <typename Rows, typename Point>
    static void squared_distances(const Rows& rows, const Point& point, std::vector<float>& out) {
        constexpr Index at_once = 64;
        Matrix difference(at_once, rows.cols());
        for (Index begin = 0; begin < rows.rows(); begin += at_once) {
            const Index count = std::min(at_once, rows.rows() - begin);
            for (Index i = 0; i < count; ++i)
                difference.row(i) = rows.row(begin + i) - point;
            squared_norms(view(difference.data(), count, rows.cols()),
                          std::span(out).subspan(static_cast<std::size_t>(begin),
                                                 static_cast<std::size_t>(count)));
        }
    }
};

}  // namespace

PolicyInfo oracle_output() {
    return {
        .name = "oracle_output",
        .summary = "keeps what moves future outputs most, token by token; sees the future",
        .source = "exact leave-one-out effect on the attention output; greedy, not the best set",
        .parameters = parameters_of<OracleOutput>,
        .make = make_scored<OracleOutput>};
}

}  // namespace kvtape::policies
