#pragma once

#include "core/tap.hpp"
#include "model/tokenizer.hpp"
#include "model/transformer.hpp"
#include "trace/trace.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace kvtape {

/// The second pass of KVzip (Kim et al., arXiv:2505.23416) over a context that lies in a cache: it
/// is cut into pieces of 2048 tokens, and for each the model reads, on top of the whole context, an
/// instruction to repeat it and then the piece itself. What the queries of these tokens attend to
/// is what the model needs of the cache to say the context again.
class SecondPass {
  public:
    /// Tokens of context in one piece.
    static constexpr Position piece = 2048;
    /// No instruction is longer.
    static constexpr Position longest_instruction = 256;

    /// The pieces of a context and how many rows their reading takes.
    static std::vector<ReplayChunk> layout(const model::Tokenizer& tokenizer,
                                           std::span<const std::int32_t> context);

    /// Runs it. Afterwards the cache holds the context alone.
    SecondPass(model::Transformer& model,
               const model::Tokenizer& tokenizer,
               std::span<const std::int32_t> context,
               model::KvCache& cache,
               int threads);

    const std::vector<ReplayChunk>& chunks() const { return chunks_; }
    /// Sets the replay tensors of a layer, which are then gone from here.
    void move_into(std::int32_t layer, LayerData& data);

  private:
    class Listener;
    /// Rows of one piece, as they arrived: positions first.
    struct Rows {
        std::vector<float> queries;  ///< [n, query_heads, head_dim]
        std::vector<float> norms;    ///< [n]
    };
    /// Of all pieces so far.
    struct Layer {
        std::vector<float> queries;    ///< [n, query_heads, head_dim]
        std::vector<float> logsumexp;  ///< [n, query_heads]
        std::vector<float> norms;      ///< [n]
    };

    void run(const ReplayChunk& chunk, const std::vector<std::int32_t>& tokens);
    void normalise(const ReplayChunk& chunk,
                   const std::vector<float>& keys,
                   std::span<const float> queries,
                   std::span<float> logsumexp) const;

    model::Transformer& model_;
    model::KvCache& cache_;
    Position context_len_;
    int threads_;
    std::vector<ReplayChunk> chunks_;
    std::vector<Layer> layers_;
};

}  // namespace kvtape
