#pragma once

#include "analyze/decision_diff.hpp"
#include "core/json.hpp"

#include <string>

namespace kvtape {

/// Two compared files, as every output of `kvtape diff` needs them.
struct DiffSubject {
    const DiffRequest& request;
    const DecisionDiff& diff;
    std::string name_a, name_b;  ///< the files as the user named them
};

/// `0-3,10`: both ends included.
std::string text_of(const std::vector<TokenRange>& ranges);

/// `snapkv at 10% (prefill, agnostic, replay)`; visible text.
std::string title_of(const DecisionInfo& info);

/// What the total does not say: that caches of the same tokens hold other keys or values. Empty
/// where they hold the same.
std::string changed_note(const DecisionDiff& diff);

/// `12.5` style numbers with three digits behind the point.
std::string three_digits(double number);

/// Everything there is to say, a row per sequence, layer and KV head.
std::string diff_csv(const DiffSubject& subject);
Json diff_json(const DiffSubject& subject);

/// What `kvtape diff` prints: a table by layer and KV head, the needles that changed sides, what
/// only one side keeps in the heads that differ most, and the total as the last line.
std::string diff_text(const DiffSubject& subject);

}  // namespace kvtape
