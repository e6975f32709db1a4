#include "policies/parts/wrapper.hpp"

#include "core/error.hpp"

#include <cstddef>
#include <string>
#include <string_view>

namespace kvtape {
namespace {

/// Whether what follows a comma outside of parentheses is no parameter.
bool names_several(std::string_view spec) {
    int depth = 0;
    for (std::size_t i = 0; i < spec.size(); ++i) {
        depth += spec[i] == '(' ? 1 : spec[i] == ')' ? -1 : 0;
        if (spec[i] != ',' || depth != 0)
            continue;
        const std::size_t next = spec.find_first_of("=,:()", i + 1);
        if (next == std::string_view::npos || spec[next] != '=')
            return true;
    }
    return false;
}

}  // namespace

void refuse_base(const Arguments& wrapper, const std::string& reason, std::string_view wanted) {
    throw usage_error("policy " + wrapper.name + ": " + reason + "; name " + std::string(wanted) +
                      ", as in " + wrapper.name + "(snapkv)");
}

PolicyRun make_base(const Arguments& wrapper, std::string_view fallback, std::string_view wanted) {
    if (names_several(wrapper.base))
        refuse_base(
            wrapper, "it takes one base, found '" + wrapper.base.substr(0, 80) + "'", wanted);
    return make_policy(wrapper.base.empty() ? fallback : std::string_view(wrapper.base),
                       policies::all(),
                       wrapper.files);
}

ScoringBase::ScoringBase(const Arguments& wrapper, std::string_view fallback, Allotting allotting) {
    run_ = make_base(wrapper, fallback);
    scoring_ = dynamic_cast<const ScoringPolicy*>(run_.policy.get());
    if (scoring_ == nullptr)
        refuse_base(wrapper,
                    run_.info->wraps ? name() + " wraps a policy itself and does not score tokens"
                                     : name() + " cuts by a rule of its own, not by scores alone");
    if (!scoring_->scores())
        refuse_base(wrapper, name() + " does not score tokens: it keeps them by their place");
    if (scoring_->needs().block > 0)
        refuse_base(wrapper, run_.spec + " decides after every token, by what it kept before");
    if (allotting == Allotting::by_base)
        return;
    if (run_.info->budget_rule == BudgetRule::own)
        refuse_base(
            wrapper,
            name() + " gives heads budgets of its own, which " + wrapper.name + " would undo");
    if (scoring_->parameters().value("compat", "") == "kvpress")
        refuse_base(wrapper,
                    "the base's compat=kvpress is an arithmetic of budgets, which " + wrapper.name +
                        " does itself");
}

Json ScoringBase::echo(Json values) const {
    values["base"] = run_.spec;
    values["base_parameters"] = scoring_->parameters();
    return values;
}

}  // namespace kvtape
