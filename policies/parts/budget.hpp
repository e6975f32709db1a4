#pragma once

#include "core/budget.hpp"

#include <algorithm>

namespace kvtape {

/// Whose arithmetic a policy follows where published code differs from the method.
enum class Compat { none, kvpress };

/// Tokens kept of `held` under the arithmetic of kvpress 0.5: max(1, trunc(held * (1 - r))) in
/// doubles, where r is the double nearest to one minus the kept ratio. Token budgets are exact.
inline Position kvpress_tokens(const Limit& limit, Position held) {
    if (!limit.ratio || held == 0)
        return std::min(limit.tokens, held);
    const Ratio removed{limit.ratio->denominator - limit.ratio->numerator,
                        limit.ratio->denominator};
    const auto kept = static_cast<Position>(static_cast<double>(held) * (1.0 - removed.value()));
    return std::clamp<Position>(kept, 1, held);
}

/// Tokens a policy keeps of `held`.
inline Position tokens_of(Compat compat, const Limit& limit, Position held) {
    return compat == Compat::kvpress ? kvpress_tokens(limit, held) : std::min(limit.tokens, held);
}

}  // namespace kvtape
