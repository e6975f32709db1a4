#include "policies/parts/head_values.hpp"
#include "policies/parts/wrapper.hpp"

#include <algorithm>

namespace kvtape::policies {
namespace {

/// Every head has a budget of its own, by an importance that was measured beforehand and never
/// changes: a floor for all, and a pool of tokens shared out in proportion to importance. The
/// choice inside a head is the base's.
struct HeadKv {
    std::string file = {};
    double beta = 1.01;
    HeadValues importance = {};

    void fields(auto& field) {
        field("file", file, FilePath{}, "importance of every head (docs/head-files.md)");
        field(
            "beta", beta, Real{1.0, 1000.0}, "a share of 1/beta of the tokens goes by importance");
    }
    void expect_fit(const Shape& shape) const { importance.expect_fit(shape, "headkv"); }
    Json extra() const { return importance.echo(); }
};

class HeadSession final : public Session {
  public:
    HeadSession(const HeadKv& method,
                std::unique_ptr<ScoredSession> base,
                const SessionContext& context)
        : method_(method),
          base_(std::move(base)),
          heads_(context.shape),
          threads_(context.threads),
          importance_(method.importance.by_kv_head(context.shape)) {}

    void observe(const LayerView& layer) override { base_->observe(layer); }

    Decision decide(const Block&, const Limit& limit) const override {
        const std::vector<Position> tokens = allotted(limit);
        return heads_.decide(threads_, [&](HeadId id) {
            const Position held = base_->held(id);
            return base_->keep(id, limit.tokens < held ? std::min(tokens[heads_[id]], held) : held);
        });
    }

    std::vector<float> scores(HeadId id, const Limit& limit) const override {
        return base_->scores(id, limit);
    }

  private:
    /// What the base keeps by rule stands outside: floor and pool are of the tokens beyond.
    std::vector<Position> allotted(const Limit& limit) const {
        const std::size_t heads = importance_.size();
        const ByRule rule = base_->rule({0, 0}, limit.tokens);
        const Position ruled = rule.first + rule.last;
        const Position free = std::max(0, limit.tokens - ruled);
        const auto pooled = static_cast<Position>(static_cast<double>(free) / method_.beta);
        const std::vector<std::int64_t> extra =
            largest_remainder(importance_, static_cast<std::int64_t>(heads) * pooled);
        std::vector<Position> tokens;
        for (const std::int64_t more : extra)
            tokens.push_back(static_cast<Position>(
                std::min<std::int64_t>(ruled + (free - pooled) + more, 1 << 30)));
        return tokens;
    }

    const HeadKv& method_;
    std::unique_ptr<ScoredSession> base_;
    HeadOrder heads_;
    int threads_;
    std::vector<double> importance_;
};

std::unique_ptr<const Policy> make(const Arguments& arguments) {
    HeadKv method = read_wrapper_parameters<HeadKv>(arguments);
    method.importance = HeadValues::of(arguments, method.file);
    return std::make_unique<WrapperPolicy<HeadKv, HeadSession>>(
        std::move(method),
        ScoringBase(arguments, "snapkv:window=32,kernel=7,pool=max", Allotting::by_wrapper));
}

}  // namespace

PolicyInfo headkv() {
    return {.name = "headkv",
            .summary = "budgets of heads by a measured importance: headkv(BASE):file=F",
            .source = "Fu et al., arXiv:2410.19258; largest remainders instead of rounding",
            .budget_rule = BudgetRule::own,
            .nested = false,
            .wraps = true,
            .parameters = parameters_of<HeadKv>,
            .make = make};
}

}  // namespace kvtape::policies
