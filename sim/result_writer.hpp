#pragma once

#include "sim/results.hpp"

#include <memory>
#include <string>
#include <vector>

namespace kvtape {

/// Which loop drove the policies of a decision file, and what wrote it.
struct Origin {
    std::string producer;
    std::string loop = "replay";  ///< or `live-cpu`, `live-cuda`
};

/// The row that a policy at a budget will have in the index, without a fingerprint.
Result planned_result(const ReplayRequest& request, const PolicyRun& policy, const Budget& budget);

/// A usage error where two of them would be the same file: specs whose names differ by marks alone,
/// such as `file=x/y` and `file=x-y`.
void expect_distinct(const std::vector<Result>& plan);

/// Writes the decision file of one policy at one budget. Destroyed before `finish`, it leaves none.
class ResultWriter {
  public:
    /// `request` must outlive the writer.
    ResultWriter(const ResultDirectory& directory,
                 const ReplayRequest& request,
                 const PolicyRun& policy,
                 const Budget& budget,
                 const Origin& origin);

    /// The fate of one sequence; `sequence` has as many tokens. Sequences come in order.
    void add(const Fate& fate, const SequenceInfo& sequence);
    /// Completes the file.
    Result finish();

  private:
    const ReplayRequest& request_;
    Result result_;
    DecisionWriter writer_;
};

}  // namespace kvtape
