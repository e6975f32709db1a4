#pragma once

#include "core/query_moments.hpp"
#include "core/rotation.hpp"
#include "core/tap.hpp"
#include "model/tokenizer.hpp"
#include "model/transformer.hpp"
#include "tools/workload/document.hpp"
#include "trace/trace.hpp"
#include "trace/writer.hpp"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace kvtape {

/// The root of a trace of this model, from the checkpoint in `folder`, made now.
TraceInfo describe_trace(const model::Transformer& model, const std::filesystem::path& folder);

/// A generated text may end within a character; what is not UTF-8 becomes U+FFFD.
std::string as_utf8(const std::string& bytes);

/// Collects the queries, attention outputs and normalisers of every position from `first` on.
class QueryRecorder : public Tap {
  public:
    /// `ran` is told, whenever a layer is about to run, how many positions are behind the model;
    /// a block counts as far as its layers have run.
    QueryRecorder(const Shape& shape, Position first, std::function<void(Position)> ran = {});
    /// Also gathers how the queries of positions [begin, end) are distributed before `rotation`.
    void gather_statistics(Rotation rotation, Position begin, Position end, int threads);

    TapRequest wants(std::int32_t layer, const Block& block) override;
    void take(const TapRows& rows) override;

    /// `first`, ... as far as the model has run.
    std::vector<Position> positions() const;
    /// Sets queries, outputs and logsumexp of one layer, heads first, and the statistics if they
    /// were gathered.
    void fill(std::int32_t layer, LayerData& data) const;

  private:
    /// Rows as they arrive: positions first, so that they can grow.
    struct Rows {
        std::vector<float> queries;    ///< [Tq, query_heads, head_dim]
        std::vector<float> outputs;    ///< [Tq, query_heads, head_dim]
        std::vector<float> logsumexp;  ///< [Tq, query_heads]
    };
    struct Statistics {
        Rotation rotation;
        Position begin = 0, end = 0;
        int threads = 1;
        std::vector<QueryMoments> moments;  ///< [layers, query_heads]
        /// Of the rows that were taken last; layers share them.
        std::vector<Position> positions;
        std::optional<Turns> turns;
    };
    void count(const TapRows& rows);

    Shape shape_;
    Position first_;
    std::function<void(Position)> ran_;
    std::vector<Position> wanted_;
    std::vector<Rows> layers_;
    std::optional<Statistics> statistics_;
};

struct RecordingOptions {
    Position context_queries = 64;  ///< how many of the context's last queries are kept; -1 = all
    Position max_new_tokens = 96;
    bool attention = false;         ///< keep the probability rows of the recorded queries too
    bool replay = false;            ///< run the context's second pass and keep what it asked for
    bool query_statistics = false;  ///< keep mean and covariance of the context's queries too
    int threads = 1;
    /// Told how many positions the model has run over, again and again while it runs.
    std::function<void(Position)> progress = {};
};

/// One run of a model over one prompt: the sequence as a trace holds it.
class Recording {
  public:
    Recording(model::Transformer& model,
              const model::Tokenizer& tokenizer,
              const workload::Prompt& prompt,
              const RecordingOptions& options);

    const SequenceInfo& sequence() const { return sequence_; }
    LayerData layer(std::int32_t layer) const;
    /// Appends the sequence with all its layers.
    void write(TraceWriter& writer) const;

  private:
    void describe(const model::Tokenizer& tokenizer,
                  const workload::Prompt& prompt,
                  const model::Generation& generation);
    void add_attention(std::int32_t layer, LayerData& data) const;
    void replay(const model::Tokenizer& tokenizer);

    model::Transformer& model_;
    RecordingOptions options_;
    QueryRecorder queries_;
    model::KvCache cache_;
    SequenceInfo sequence_;
    /// Keys and values of all layers, where a second pass has overwritten them, and what it gave.
    std::vector<LayerData> kept_;
};

}  // namespace kvtape
