#include "core/exp.hpp"
#include "core/kernels.hpp"
#include "policies/parts/scored.hpp"

#include <algorithm>
#include <cmath>
#include <span>

namespace kvtape::policies {
namespace {

using Index = Eigen::Index;

/// What the outputs of the last queries would lose if one token were gone: exact, in closed form,
/// for each token alone.
struct DropKv {
    std::int32_t window = 64;

    void fields(auto& field) {
        field("window", window, Whole{1, 65536}, "last context tokens: they vote and stay");
    }
    Needs needs() const { return {.keys = true, .values = true, .window = window}; }
    ByRule by_rule(Position budget, Position) const { return {.last = std::min(window, budget)}; }

    /// Of the tokens before the window: the squared distance that the output of a voter moves
    /// without the token, summed over the voters, averaged over the query heads. Rows are
    /// normalised over the entries held, whoever votes.
    Scores score(const HeadView& head, const SessionContext& context) const {
        const Index held = std::ssize(head.positions);
        const Index past = std::max<Index>(0, held - window);
        const Index rows = head.observed.queries.rows();
        if (past == 0)
            return {};
        const Matrix scaled =
            head.observed.queries * static_cast<float>(context.shape.softmax_scale);
        std::vector<double> losses(static_cast<std::size_t>(past));
        Matrix logits(1, held);
        for (Index row = 0; row < rows; ++row) {
            multiply_transposed(
                view(scaled.row(row).data(), 1, scaled.cols()), head.keys, mutable_view(logits));
            const auto voter = static_cast<std::size_t>(row) % head.observed.positions.size();
            const auto visible = std::upper_bound(
                head.positions.begin(), head.positions.end(), head.observed.positions[voter]);
            add_losses(head,
                       std::span(logits.data(),
                                 static_cast<std::size_t>(visible - head.positions.begin())),
                       losses);
        }
        Scores scores;
        for (const double loss : losses)
            scores.push_back(static_cast<float>(loss / context.shape.group()));
        return scores;
    }

  private:
    /// (p / (1 - p))^2 ||v - o||^2 for every entry before the window. Shares and outputs are
    /// doubles: where one entry has nearly all, what the others have is a small difference.
    static void add_losses(const HeadView& head,
                           std::span<const float> logits,
                           std::vector<double>& losses) {
        constexpr double least_rest = 1e-6;
        if (logits.empty())
            return;
        const auto dim = static_cast<std::size_t>(head.values.cols());
        const auto largest = static_cast<double>(maximum(logits));
        std::vector<double> shares, output(dim);
        double total = 0.0;
        for (const float logit : logits) {
            shares.push_back(exponential(static_cast<double>(logit) - largest));
            total += shares.back();
        }
        for (std::size_t j = 0; j < shares.size(); ++j) {
            shares[j] /= total;
            const float* value = row_of(head.values, j);
            for (std::size_t c = 0; c < dim; ++c)
                output[c] += shares[j] * static_cast<double>(value[c]);
        }
        std::vector<float> distance(dim);
        for (std::size_t j = 0; j < std::min(losses.size(), shares.size()); ++j) {
            const float* value = row_of(head.values, j);
            for (std::size_t c = 0; c < dim; ++c)
                distance[c] = static_cast<float>(static_cast<double>(value[c]) - output[c]);
            const double odds = shares[j] / std::max(least_rest, 1.0 - shares[j]);
            losses[j] += odds * odds * static_cast<double>(dot(distance, distance));
        }
    }

    static const float* row_of(MatrixView matrix, std::size_t row) {
        return matrix.data() + static_cast<Index>(row) * matrix.outerStride();
    }
};

}  // namespace

PolicyInfo dropkv() {
    return {.name = "dropkv",
            .summary = "keeps the tokens without which the last queries' outputs would move most",
            .source = "exact leave-one-out error of softmax attention",
            .parameters = parameters_of<DropKv>,
            .make = make_scored<DropKv>};
}

}  // namespace kvtape::policies
