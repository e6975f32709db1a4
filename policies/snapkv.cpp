#include "policies/parts/attention.hpp"
#include "policies/parts/pooling.hpp"
#include "policies/parts/scored.hpp"

#include <algorithm>

namespace kvtape::policies {
namespace {

/// The last queries of the context vote for the tokens before them; votes are smoothed over
/// neighbours, so that what is kept comes in readable pieces. The window of the last tokens stays.
/// Under another query source the voters change, the window does not.
struct SnapKv {
    enum class Group { after, before };

    std::int32_t window = 64;
    std::int32_t kernel = 5;
    Pool pool = Pool::avg;
    Group group = Group::after;
    Compat compat = Compat::none;

    void fields(auto& field) {
        field("window", window, Whole{1, 65536}, "last context tokens: they vote and stay");
        field("kernel", kernel, Whole{.lowest = 1, .highest = 1023, .odd = true}, "pooling width");
        field("pool", pool, Choice{"avg", "max"}, "how votes are smoothed over neighbours");
        field("group",
              group,
              Choice{"after", "before"},
              "query heads are averaged after pooling or before");
        field("compat", compat, Choice{"", "kvpress"}, "whose budget arithmetic to follow");
    }
    Needs needs() const { return {.keys = true, .window = window}; }
    Position budget(const Limit& limit, Position held) const {
        return tokens_of(compat, limit, held);
    }
    ByRule by_rule(Position budget, Position) const { return {.last = std::min(window, budget)}; }

    Scores score(const HeadView& head, const SessionContext& context) const {
        const Eigen::Index past = std::max<Eigen::Index>(0, std::ssize(head.positions) - window);
        if (past == 0)
            return {};
        Matrix votes = observed_attention(head, context.shape).leftCols(past);
        votes /= static_cast<float>(head.observed.positions.size());
        return group == Group::before ? smooth(mean_of_rows(votes))
                                      : mean_of_rows(smooth_rows(votes));
    }

  private:
    static std::vector<float> mean_of_rows(const Matrix& votes) {
        std::vector<float> mean = sum_of_rows(votes);
        for (float& value : mean)
            value /= static_cast<float>(votes.rows());
        return mean;
    }
    Scores smooth(std::span<const float> votes) const { return pooled(votes, pool, kernel); }
    Matrix smooth_rows(Matrix votes) const {
        for (Eigen::Index row = 0; row < votes.rows(); ++row) {
            float* begin = votes.data() + row * votes.cols();
            const Scores smoothed = smooth({begin, static_cast<std::size_t>(votes.cols())});
            std::copy(smoothed.begin(), smoothed.end(), begin);
        }
        return votes;
    }
};

}  // namespace

PolicyInfo snapkv() {
    return {.name = "snapkv",
            .summary = "keeps what the last queries of the context attend to, and their window",
            .source = "Li et al., arXiv:2404.14469",
            .variants = "kvpress: the budget arithmetic of kvpress 0.5",
            .parameters = parameters_of<SnapKv>,
            .make = make_scored<SnapKv>};
}

}  // namespace kvtape::policies
