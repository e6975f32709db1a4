#include "policies/parts/critical.hpp"

#include <cstdint>

namespace kvtape::policies {
namespace {

/// Half of the budget goes to the tokens that the base likes best, the rest to those whose values,
/// weighed by their scores, move the output farthest in the worst case.
struct CriticalKv : CriticalStages {
    Compat compat = Compat::none;

    void fields(auto& field) {
        CriticalStages::fields(field);
        field("compat", compat, Choice{"", "kvpress"}, "whose budget arithmetic to follow");
    }
};

class CriticalSession final : public Session {
  public:
    CriticalSession(const CriticalKv& method,
                    std::unique_ptr<ScoredSession> base,
                    const SessionContext& context)
        : compat_(method.compat),
          stages_(method, std::move(base), context),
          context_(context) {}

    void observe(const LayerView& layer) override { stages_.observe(layer); }

    Decision decide(const Block&, const Limit& limit) const override {
        return HeadOrder(context_.shape).decide(context_.threads, [&](HeadId id) {
            return stages_.keep(id, tokens(id, limit));
        });
    }

    std::vector<float> scores(HeadId id, const Limit& limit) const override {
        return stages_.scores(id, tokens(id, limit));
    }

  private:
    Position tokens(HeadId id, const Limit& limit) const {
        return tokens_of(compat_, limit, stages_.base().held(id));
    }

    Compat compat_;
    CriticalScores stages_;
    SessionContext context_;
};

std::unique_ptr<const Policy> make(const Arguments& arguments) {
    return std::make_unique<WrapperPolicy<CriticalKv, CriticalSession>>(
        read_wrapper_parameters<CriticalKv>(arguments), make_critical_base(arguments));
}

}  // namespace

PolicyInfo criticalkv() {
    return {.name = "criticalkv",
            .summary =
                "half by a base's scores, half by these times the projected value: "
                "criticalkv(BASE)",
            .source = "Feng et al., arXiv:2502.03805",
            .variants = "kvpress: the budget arithmetic of kvpress 0.5",
            .nested = false,
            .wraps = true,
            .parameters = parameters_of<CriticalKv>,
            .make = make};
}

}  // namespace kvtape::policies
