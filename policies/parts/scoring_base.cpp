#include "policies/parts/scoring_base.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <cstddef>

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

ScoringBase make_scoring_base(std::string_view wrapper,
                              const std::string& spec,
                              std::string_view without) {
    const std::string name(wrapper);
    if (names_several(spec))
        throw usage_error("policy " + name + " takes one base, found '" + spec.substr(0, 80) +
                          "'; write " + name + "(BASE), such as " + name + "(snapkv)");
    ScoringBase base{make_policy(spec), nullptr};
    base.scoring = dynamic_cast<const ScoringPolicy*>(base.run.policy.get());
    if (base.scoring == nullptr || !base.scoring->scores())
        throw usage_error("policy " + name + ": " + std::string(base.run.info->name) +
                          " does not score tokens, so " + std::string(without) +
                          "; name a base that scores, such as " + name + "(snapkv)");
    return base;
}

void echo_base(const ScoringBase& base, Json& parameters) {
    parameters["base"] = base.run.spec;
    parameters["base_parameters"] = base.scoring->parameters();
}

}  // namespace kvtape
