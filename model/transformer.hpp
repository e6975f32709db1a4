#pragma once

#include "core/tap.hpp"
#include "core/types.hpp"
#include "model/backend.hpp"
#include "model/config.hpp"
#include "model/kv_cache.hpp"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace kvtape::model {

/// A checkpoint on a backend.
class Transformer {
  public:
    /// Reads `config.json` and the safetensors of a Hugging Face directory. The backend must
    /// outlive the model. Missing tensors, wrong shapes and unknown architectures are format
    /// errors.
    static Transformer load(const std::filesystem::path& directory, Backend& backend);
    /// The same with the architecture's fields given instead of read.
    static Transformer load(const std::filesystem::path& directory,
                            Config config,
                            Backend& backend);
    Transformer(Transformer&&) noexcept;
    ~Transformer();

    const Config& config() const;
    const Shape& shape() const;
    Backend& backend() const;
    /// W_o of a layer as the checkpoint has it, [hidden_size, query_heads * head_dim].
    std::vector<float> output_projection(std::int32_t layer) const;

    /// Runs `tokens` at positions cache.length()... through all layers in chunks of `chunk`,
    /// appends to the cache and returns the logits [vocab] of the last token as float32. Logits
    /// that are NaN or infinite are a format error.
    std::vector<float> forward(std::span<const std::int32_t> tokens,
                               KvCache& cache,
                               Tap* tap = nullptr,
                               Position chunk = 512);

  private:
    friend class KvCache;
    struct State;
    explicit Transformer(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

/// The `count` largest logits, best first (ties: lower id first).
struct TopLogits {
    std::vector<float> logits;
    std::vector<std::int32_t> ids;
};
TopLogits top_logits(std::span<const float> logits, std::int32_t count);

struct GenerateOptions {
    Position max_new_tokens = 96;
    std::vector<std::int32_t> stop = {};  ///< ids that end the answer; never fed, never returned
    std::int32_t top_logits = 20;
    Position chunk = 512;
    /// A chunk of the prompt ends behind this many tokens, as where a cache is compressed there;
    /// 0: nowhere in particular.
    Position pause = 0;
};

/// A greedy continuation. Every returned token was fed back, so the cache holds prompt + tokens.
struct Generation {
    std::vector<std::int32_t> tokens;
    /// [tokens, top_logits]: row g holds the step that produced token g.
    std::vector<float> logits_top;
    std::vector<std::int32_t> logits_top_ids;
    bool stopped = false;  ///< ended by a stop token rather than by the limit
    double prompt_seconds = 0.0;
    double decode_seconds = 0.0;
};
Generation generate(Transformer& model,
                    std::span<const std::int32_t> prompt,
                    const GenerateOptions& options,
                    KvCache& cache,
                    Tap* tap = nullptr);

}  // namespace kvtape::model
