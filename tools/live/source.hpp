#pragma once

#include "model/tokenizer.hpp"
#include "model/transformer.hpp"
#include "trace/trace.hpp"

#include <filesystem>
#include <vector>

namespace kvtape::live {

/// The sequences of a trace as the running model provides them: every query is there to be seen and
/// every statistic can be taken, whatever the trace recorded. Tensors come from the model, so
/// nothing can be loaded.
class Source final : public Trace {
  public:
    /// `model`, from the checkpoint in `folder`, runs the sequences of `recorded`; both outlive the
    /// source. A trace of another model is a format error that names the difference.
    Source(const Trace& recorded,
           const model::Transformer& model,
           const model::Tokenizer& tokenizer,
           const std::filesystem::path& folder);

    const TraceInfo& info() const override { return info_; }
    std::int32_t sequences() const override { return static_cast<std::int32_t>(all_.size()); }
    const SequenceInfo& sequence(std::int32_t index) const override {
        return all_[static_cast<std::size_t>(index)];
    }
    void load(std::int32_t, std::int32_t, const LayerParts&, LayerData&) const override;
    LayerParts stored(std::int32_t sequence) const override;
    bool has_output_projections() const override { return true; }
    std::vector<float> output_projection(std::int32_t layer) const override;

  private:
    const model::Transformer& model_;
    TraceInfo info_;
    std::vector<SequenceInfo> all_;
};

/// Refuses, before anything runs, sequences that the model cannot run compressed: usage errors that
/// name the first one. A layer with a sliding window shorter than a sequence forgets by itself, and
/// a prompt with its answer must fit the model's positions, unless the recording went as far.
void expect_runnable(const Source& source,
                     const std::vector<std::int32_t>& sequences,
                     const model::Transformer& model,
                     Position max_new_tokens);

}  // namespace kvtape::live
