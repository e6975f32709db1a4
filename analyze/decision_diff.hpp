#pragma once

#include "analyze/head_diff.hpp"
#include "trace/decisions.hpp"
#include "trace/trace.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace kvtape {

/// One sequence that both files hold.
struct SequenceDiff {
    std::string name;                       ///< of the sequence in the trace
    std::int32_t place_a = 0, place_b = 0;  ///< its index in either file
    Position moment = 0;                    ///< tokens in the sequence when sets are compared
    std::vector<std::int32_t> layers;       ///< that both hold
    std::vector<std::int32_t> layers_only_a, layers_only_b;
    std::vector<HeadDiff> heads;  ///< by layer, then KV head
};

/// How two decision files of one trace differ.
struct DecisionDiff {
    std::vector<SequenceDiff> sequences;
    std::vector<std::string> sequences_only_a, sequences_only_b;
    bool scores_a = false, scores_b = false;  ///< whether every layer compared has them
    std::optional<double> kendall_tau;        ///< mean over the heads where it is defined
    double jaccard = 0.0, overlap = 0.0;      ///< means over sequences, layers and KV heads
    std::int64_t heads = 0, heads_identical = 0, heads_tied = 0;
    std::int64_t kept_both = 0, changed_differently = 0;  ///< added up over all heads

    /// Both files hold the same sequences and layers, and every head is identical.
    bool identical() const;
};

/// What to compare, and with what.
struct DiffRequest {
    const DecisionFile* a = nullptr;
    const DecisionFile* b = nullptr;
    const Trace* trace = nullptr;        ///< for needles; may be absent
    std::vector<std::string> sequences;  ///< only these; empty: all
    int threads = 1;
};

/// The moment at which a sequence is compared: the number of tokens after which either side decided
/// last before the answer began. `prefill` decides when the context is in the cache, every other
/// schedule when the prompt is.
Position moment_of(const DecisionInfo& a,
                   const DecisionSequence& in_a,
                   const DecisionInfo& b,
                   const DecisionSequence& in_b);

/// Index of a sequence in a trace by its name, or none.
std::optional<std::int32_t> place_in(const Trace& trace, const std::string& sequence);

/// Compares two files. Files of different traces, with other tokens or KV heads in a sequence, or
/// without anything in common are format errors (answers of live runs may differ in length: the
/// tokens that both have are compared); asking for a sequence neither holds is a usage
/// error. Results do not depend on the number of threads.
DecisionDiff compare_decisions(const DiffRequest& request);

/// Rows of one head of a loaded layer. `fate` and `file` must outlive it.
HeadFate head_of(const LayerFate& fate,
                 const DecisionFile& file,
                 std::int32_t sequence,
                 std::int32_t head);

}  // namespace kvtape
