#pragma once

#include "analyze/agreement.hpp"
#include "analyze/calibration.hpp"
#include "trace/decisions.hpp"

#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace kvtape {

/// A policy at a budget that two directories hold: one of replays and one of live runs, or two of
/// one kind.
struct ResultPair {
    std::string policy;      ///< spec
    std::string parameters;  ///< JSON
    std::string budget;
    std::string schedule;
    std::string query_source;
    std::shared_ptr<const DecisionFile> a, b;
};

/// All pairs of two directories, in the order of the index of the first. Directories without an
/// index or without anything in common, and files of different traces are format errors.
std::vector<ResultPair> pair_results(const std::filesystem::path& a,
                                     const std::filesystem::path& b);

/// Results of the second directory that the first does not hold, as `policy at budget`, in the
/// order of its index.
std::vector<std::string> unpaired_results(const std::filesystem::path& a,
                                          const std::filesystem::path& b);

/// One KV head of one sequence in both files of a pair.
struct HeadAgreement {
    std::string sequence;
    std::int32_t layer = 0;
    std::int32_t kv_head = 0;
    std::vector<SetSizes> blocks;  ///< by block of PairAgreement::blocks
    /// Where they part first: the block at whose end, and the first token that one of them lacks.
    std::optional<std::int32_t> parting_block;
    std::optional<Position> parting_token;
    /// In the run that dropped it there: how far below the border (the highest score that was
    /// dropped) its score was, over the largest change from `a` to `b` among the tokens that both
    /// dropped there. At most 1 where that change explains the parting. None unless both files hold
    /// scores and both dropped tokens there.
    std::optional<double> score_gap;
};

/// What two files of one policy have in common (metrics.md, section 6).
struct PairAgreement {
    /// By sequence: the blocks that both runs went through and that the schedule decides behind.
    std::map<std::string, std::vector<Block>> blocks;
    std::vector<HeadAgreement> heads;  ///< by sequence, layer, KV head
    double jaccard = 1.0;              ///< mean over sequences, layers, KV heads and blocks
    double least = 1.0;
    bool identical = true;
};
PairAgreement agreement_of(const ResultPair& pair);

/// Replayed metrics against live answers, one correlation for each metric (metrics.md, section 6).
struct MetricCalibration {
    std::string metric;  ///< as in calibration.csv (docs/cli.md, "verify")
    std::string task;    ///< or "" for all
    Calibration calibration;
};

/// From recall.csv and readers.csv of `replay`, and answers.csv and index.csv of `live`, over the
/// cells that both hold and, in each task, the sequences that all of these cells hold; sequences
/// without a judged answer do not count. Over all tasks first, then task by task. Tasks whose cells
/// share no sequence are left out.
std::vector<MetricCalibration> calibrate_directories(const std::filesystem::path& replay,
                                                     const std::filesystem::path& live,
                                                     int threads);

}  // namespace kvtape
