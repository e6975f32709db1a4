#pragma once

#include "analyze/agreement.hpp"
#include "analyze/calibration.hpp"
#include "trace/decisions.hpp"

#include <cstdint>
#include <filesystem>
#include <limits>
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

/// One KV head of one sequence in both files of a pair.
struct HeadAgreement {
    std::string sequence;
    std::int32_t layer = 0;
    std::int32_t kv_head = 0;
    std::vector<SetSizes> blocks;  ///< at the end of every block that both went through
    /// Where they part first: the block at whose end, and the first token that one of them lacks.
    std::optional<std::int32_t> parting_block;
    std::optional<Position> parting_token;
    /// Distance of that token's score from the lowest score kept in `a`, over the largest change of
    /// any score between `a` and `b` in this head: at most 1 where that change explains the
    /// parting. None unless both files hold scores.
    std::optional<double> score_gap;
};

/// What two files of one policy have in common (metrics.md, section 6).
struct PairAgreement {
    std::vector<Block> longest;        ///< the blocks of the sequence with the most in common
    std::vector<HeadAgreement> heads;  ///< by sequence, layer, KV head
    double jaccard = 1.0;              ///< mean over sequences, layers, KV heads and blocks
    double least = 1.0;
    bool identical = true;
};
PairAgreement agreement_of(const ResultPair& pair);

/// Replayed metrics against live answers, one correlation for each metric (metrics.md, section 6).
struct MetricCalibration {
    std::string metric;  ///< needle_recall, needle_recall_weighted, mass_kept, output_error_median
    std::string task;    ///< or "" for all
    Calibration calibration;
};

/// From recall.csv of `replay` and answers.csv of `live`, over the cells that both hold; sequences
/// without a judged answer do not count. Over all tasks first, then task by task.
std::vector<MetricCalibration> calibrate_directories(const std::filesystem::path& replay,
                                                     const std::filesystem::path& live,
                                                     int threads);

}  // namespace kvtape
