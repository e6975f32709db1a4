#pragma once

#include "tools/workload/facts.hpp"

namespace kvtape::workload {

/// People who go from place to place; asks where one of them is at the end.
Facts draw_where(const Lexicon& lexicon, Draw& draw);

/// The same with two things that are taken along and left behind; asks where one of them is. The
/// answer follows from two sentences: who took or left it last, and where that person went.
Facts draw_object(const Lexicon& lexicon, Draw& draw);

}  // namespace kvtape::workload
