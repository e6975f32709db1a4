#pragma once

#include "sim/held_state.hpp"

#include <cstddef>
#include <span>

namespace kvtape {

/// Tokens of pages that hold at least one kept token: what an engine still holds that frees whole
/// pages of `block` tokens. The last page may be shorter.
Kept held_pages(std::span<const char> kept, std::size_t block);

/// Whole pages at the budget of a kept set: in the order of how many kept tokens they hold, earlier
/// ones first among equals, each that still fits into that number of tokens, and the first of them
/// in any case. Pages without a kept token are left out.
Kept chosen_pages(std::span<const char> kept, std::size_t block);

}  // namespace kvtape
