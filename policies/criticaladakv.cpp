#include "policies/parts/critical.hpp"
#include "policies/parts/head_budgets.hpp"

#include <cstdint>

namespace kvtape::policies {
namespace {

/// The heads of a layer share its budget as in adakv, by the scores of the base; inside a head the
/// two stages of criticalkv choose.
struct CriticalAdaKv : CriticalStages {
    double alpha = 0.2;
    Compat compat = Compat::none;

    void fields(auto& field) {
        CriticalStages::fields(field);
        field("alpha", alpha, Real{0.0, 1.0}, "share of the budget that every head is sure of");
        field("compat",
              compat,
              Choice{"", "kvpress"},
              "a hard floor for every head; the total is exact");
    }
};

class CriticalAdaSession final : public Session {
  public:
    CriticalAdaSession(const CriticalAdaKv& method,
                       std::unique_ptr<ScoredSession> base,
                       const SessionContext& context)
        : stages_(method, std::move(base), context),
          budgets_(method.alpha, method.compat, stages_.base(), context.shape),
          context_(context) {}

    void observe(const LayerView& layer) override {
        stages_.observe(layer);
        budgets_.observe(layer.layer);
    }

    Decision decide(const Block&, const Limit& limit) const override {
        return budgets_.decide(
            context_, limit, [&](HeadId id, Position tokens) { return stages_.keep(id, tokens); });
    }

    std::vector<float> scores(HeadId id, const Limit& limit) const override {
        const std::vector<Position> tokens = budgets_.tokens(id.layer, limit);
        return stages_.scores(id, tokens[static_cast<std::size_t>(id.head)]);
    }

  private:
    CriticalScores stages_;
    HeadBudgets budgets_;
    SessionContext context_;
};

std::unique_ptr<const Policy> make(const Arguments& arguments) {
    return std::make_unique<WrapperPolicy<CriticalAdaKv, CriticalAdaSession>>(
        read_wrapper_parameters<CriticalAdaKv>(arguments), make_critical_base(arguments));
}

}  // namespace

PolicyInfo criticaladakv() {
    return {.name = "criticaladakv",
            .summary =
                "heads share a layer's budget as in adakv, each chooses as in criticalkv: "
                "criticaladakv(BASE)",
            .source = "Feng et al., arXiv:2502.03805",
            .variants = "kvpress: a hard floor for every head, the total is exact",
            .budget_rule = BudgetRule::own,
            .nested = false,
            .wraps = true,
            .parameters = parameters_of<CriticalAdaKv>,
            .make = make};
}

}  // namespace kvtape::policies
