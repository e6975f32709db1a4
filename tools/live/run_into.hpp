#pragma once

#include "tools/live/answers.hpp"
#include "tools/live/engine.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace kvtape::live {

/// What `live` computes into a directory.
struct LiveRequest {
    Setting setting;
    /// Over the Source; schedule, query source, seed and threads are those of `setting`.
    ReplayRequest replay;
    std::string producer;
    /// Also replays every run that decides more than once over what the running model produced.
    bool teacher = false;
};

/// What a call did.
struct LiveReport {
    std::vector<AnswerRow> rows;  ///< by policy, budget, sequence
    std::int64_t generated = 0;   ///< tokens
    double decode_seconds = 0.0;
};

/// The report as one line of JSON.
std::string as_json(const LiveReport& report, const std::string& out);

/// A policy that reads attention to tokens that are gone is a usage error: that is in a recording,
/// not in a compressed cache.
void expect_held_attention(std::span<const ReplayTask> tasks);

/// Runs every policy at every budget that `directory` lacks, sequence after sequence, and writes a
/// decision file for each, and answers.csv, cache.csv and, where asked, teacher.csv with a row for
/// each sequence; rows of earlier calls stay. Nothing gets its final name before all are done.
/// `report` is told of none done before the first, and after each.
LiveReport run_into(ResultDirectory& directory,
                    const LiveRequest& request,
                    std::span<const ReplayTask> tasks,
                    const StepReport& report);

}  // namespace kvtape::live
