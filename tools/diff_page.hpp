#pragma once

#include "tools/diff_tables.hpp"

#include <cstddef>
#include <string>

namespace kvtape {

/// How much of the comparison goes into a page; the rest is counted on it.
struct PageLimits {
    std::size_t strips = 48;              ///< heads whose tokens are shown
    Position tokens = 3072;               ///< of a strip; a longer one shows what differs
    Position around = 24;                 ///< tokens shown around a difference of a longer strip
    std::size_t bytes = 6 * 1024 * 1024;  ///< no strip is begun beyond
};

/// One self-contained HTML page: a table of all layers and KV heads of every sequence, and the
/// heads that differ most as two columns of tokens, A's and B's. It loads nothing, runs nothing,
/// and shows text of the files as text.
std::string diff_page(const DiffSubject& subject, const PageLimits& limits = {});

}  // namespace kvtape
