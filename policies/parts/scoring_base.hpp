#pragma once

#include "policies/parts/scored.hpp"
#include "policies/spec.hpp"

#include <string>
#include <string_view>

namespace kvtape {

/// The policy that a wrapper stands on, `wrapper(base)`.
struct ScoringBase {
    PolicyRun run;
    const ScoringPolicy* scoring = nullptr;  ///< the policy of `run`
};

/// Makes it from its spec. More than one base, and one that does not score, are usage errors;
/// `without` says what cannot be done then.
ScoringBase make_scoring_base(std::string_view wrapper,
                              const std::string& spec,
                              std::string_view without);

/// Writes the base into the parameters of its wrapper.
void echo_base(const ScoringBase& base, Json& parameters);

}  // namespace kvtape
