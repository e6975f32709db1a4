#pragma once

#include "tools/workload/document.hpp"
#include "trace/trace.hpp"
#include "trace/writer.hpp"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

namespace kvtape {

/// Where `record --resume` puts what an earlier run left of `out`, until the new run has ended.
std::filesystem::path set_aside(const std::filesystem::path& out);

/// The sequences of an earlier recording to `out`, finished or cut off, which a new run need not
/// make again.
class EarlierRecording {
  public:
    /// Opens what there is: `out`, or what was cut off; when a run that resumed was cut off too,
    /// the file with more sequences. Without any there are no sequences.
    EarlierRecording(const std::filesystem::path& out, int threads);

    /// Sequences that were finished.
    std::int32_t sequences() const { return trace_ ? trace_->sequences() : 0; }
    const SequenceInfo& sequence(std::int32_t index) const { return trace_->sequence(index); }
    /// Of the finished recording, "" when it was cut off.
    std::string fingerprint() const { return complete_ ? trace_->info().fingerprint : ""; }

    /// Refuses, with a usage error, a model of another shape, configuration or element type, and
    /// W_o in one of the two recordings alone.
    void expect_model(const TraceInfo& now, bool output_projection) const;
    /// The same when sequence `index` was another prompt.
    void expect_prompt(std::int32_t index, const workload::Prompt& prompt) const;
    /// The same when sequence 0 of `again`, which is sequence `index` recorded anew, is not what
    /// was recorded then: another model, device or option.
    void expect_same(std::int32_t index, const Trace& again) const;

    /// Moves what was cut off aside, so that a writer does not overwrite it.
    void make_way();
    /// Writes sequence `index` with all that it holds.
    void copy(std::int32_t index, TraceWriter& writer) const;

  private:
    std::filesystem::path out_;
    bool complete_ = false;
    bool aside_ = false;  ///< it lies where `make_way` would put it
    std::unique_ptr<Trace> trace_;
};

}  // namespace kvtape
