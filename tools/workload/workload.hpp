#pragma once

#include "model/tokenizer.hpp"
#include "tools/workload/document.hpp"
#include "tools/workload/facts.hpp"
#include "tools/workload/lexicon.hpp"
#include "tools/workload/task.hpp"

#include <cstdint>
#include <optional>
#include <vector>

namespace kvtape::workload {

/// What is asked of every document of a workload.
struct DocumentOptions {
    Position length = 1024;      ///< tokens of context, the begin-of-text token included
    std::vector<double> depths;  ///< 0..1, used in turn by the sequences; empty: drawn
    std::uint64_t seed = 0;
};

/// Document `index` of `task`: prose with facts in it, whose context has exactly `length` tokens,
/// and a question. It depends on the task, the options and the index alone, not on how many are
/// made. Where a depth is given, the last sentence that the answer needs begins that share of the
/// way between the first and the last place where it can stand; other facts that must come before
/// or after it do. Facts that do not fit are a usage error that names the least length.
Document make_document(const Lexicon& lexicon,
                       const model::Tokenizer& tokenizer,
                       const Task& task,
                       const DocumentOptions& options,
                       std::uint64_t index);

}  // namespace kvtape::workload
