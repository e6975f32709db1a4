#pragma once

#include "core/json.hpp"
#include "tools/report/sources.hpp"

#include <cstddef>
#include <string>
#include <string_view>

namespace kvtape::report {

/// How much of the decisions goes into the page.
struct StripLimits {
    std::size_t bytes = 1'500'000;  ///< of encoded decisions
    std::size_t text = 96;          ///< of one token's text; a longer one is cut
};

/// The decisions of chosen sequences and KV heads: all heads of one sequence of every task and of
/// further ones while they fit, or the heads that read the needle most where one sequence does not
/// fit. Adds a note on what was left out. Null where there are no decisions at all.
///
/// `codes[sequence][head][cell]` is base64 of one code a token, the first in the lowest bits: one
/// bit, 1 = evicted, where a policy decides once; else four bits, 0 = never evicted, 1 to 12 = in
/// that twelfth of the prompt, 13 to 15 = in that third of the answer.
///
/// Series that are decided again at every one of `steps` have no codes, but `first`, as
/// `decide_steps` makes it.
Json strips(Sources& sources, const StripLimits& limits = {});

/// A token's text as a page may show it: visible, at most `limit` bytes and a remark.
std::string token_text(std::string_view text, std::size_t limit);

}  // namespace kvtape::report
