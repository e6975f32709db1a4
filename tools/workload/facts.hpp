#pragma once

#include "tools/workload/draw.hpp"
#include "tools/workload/lexicon.hpp"
#include "tools/workload/task.hpp"

#include <cstddef>
#include <string>
#include <vector>

namespace kvtape::workload {

/// The facts of one document and the question about them.
struct Facts {
    std::vector<std::string> sentences;
    bool ordered = false;  ///< the sentences must keep their order
    std::string question;
    std::string answer;                ///< the value that a right answer contains
    std::vector<std::size_t> support;  ///< ascending sentences that the answer follows from
};

/// Draws the facts of `task`. Sizes where the task leaves them open: 6 variables (or as many as the
/// hops need), 12 moves for `where`, 16 moves and 2 things for `object`, numbers of 5 to 7 digits.
Facts draw_facts(const Lexicon& lexicon, const Task& task, Draw& draw);

/// One sentence of prose without facts.
std::string draw_filler(const Lexicon& lexicon, Draw& draw);

}  // namespace kvtape::workload
