#include "policies/parts/head_budgets.hpp"
#include "policies/parts/wrapper.hpp"

#include <cstdint>

namespace kvtape::policies {
namespace {

/// Shares out the budget of a layer among its heads by how their scores compare, and leaves the
/// choice inside a head to the base.
struct AdaKv {
    double alpha = 0.2;
    Compat compat = Compat::none;

    void fields(auto& field) {
        field("alpha", alpha, Real{0.0, 1.0}, "share of the budget that every head is sure of");
        field("compat",
              compat,
              Choice{"", "kvpress"},
              "a hard floor for every head; the total is exact");
    }
};

class AdaSession final : public Session {
  public:
    AdaSession(const AdaKv& method,
               std::unique_ptr<ScoredSession> base,
               const SessionContext& context)
        : method_(method),
          base_(std::move(base)),
          context_(context),
          budgets_(method.alpha, method.compat, *base_, context.shape) {}

    void observe(const LayerView& layer) override {
        base_->observe(layer);
        budgets_.observe(layer.layer);
    }

    Decision decide(const Block&, const Limit& limit) const override {
        return budgets_.decide(
            context_, limit, [&](HeadId id, Position tokens) { return kept(id, tokens); });
    }

    std::vector<float> scores(HeadId head, const Limit& limit) const override {
        return base_->scores(head, limit);
    }

  private:
    /// With compat=kvpress what is kept by rule is a tie, of which the earliest stay when not all
    /// can.
    std::vector<Position> kept(HeadId id, Position tokens) const {
        const ByRule rule = base_->rule(id, tokens);
        if (method_.compat == Compat::none || rule.first + rule.last < tokens)
            return base_->keep(id, tokens);
        const std::span<const Position> positions = base_->positions(id);
        const ByRule whole = base_->rule(id, base_->held(id));
        std::vector<Position> keep(positions.begin(), positions.begin() + whole.first);
        keep.insert(keep.end(), positions.end() - whole.last, positions.end());
        keep.resize(static_cast<std::size_t>(tokens));
        return keep;
    }

    const AdaKv& method_;
    std::unique_ptr<ScoredSession> base_;
    SessionContext context_;
    HeadBudgets budgets_;
};

std::unique_ptr<const Policy> make(const Arguments& arguments) {
    const AdaKv method = read_wrapper_parameters<AdaKv>(arguments);
    const std::string_view fallback = method.compat == Compat::kvpress
                                          ? "snapkv"
                                          : "snapkv:window=32,kernel=7,pool=max,group=before";
    return std::make_unique<WrapperPolicy<AdaKv, AdaSession>>(
        method, ScoringBase(arguments, fallback, Allotting::by_wrapper));
}

}  // namespace

PolicyInfo adakv() {
    return {.name = "adakv",
            .summary = "shares a layer's budget among its heads by their scores: adakv(BASE)",
            .source = "Feng et al., arXiv:2407.11550",
            .variants = "kvpress: a hard floor for every head, any base, snapkv by default",
            .budget_rule = BudgetRule::own,
            .nested = false,
            .wraps = true,
            .parameters = parameters_of<AdaKv>,
            .make = make};
}

}  // namespace kvtape::policies
