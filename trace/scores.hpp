#pragma once

#include "core/score_table.hpp"
#include "trace/trace.hpp"

#include <filesystem>
#include <memory>

namespace kvtape {

/// Opens a file of scores for the tokens of `trace` (docs/scores-file.md). Reads all of it once: a
/// file that belongs to another trace, lacks a sequence or a layer, or holds arrays of another
/// shape or a number that is not finite is a format error. The table outlives `trace` and reads
/// layers when they are asked for.
std::shared_ptr<const ScoreTable> open_scores(const std::filesystem::path& path,
                                              const Trace& trace);

}  // namespace kvtape
