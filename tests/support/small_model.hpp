#pragma once

#include "core/philox.hpp"
#include "model/config.hpp"
#include "tests/support/checkpoint_files.hpp"
#include "tests/support/naive_transformer.hpp"

#include <cstdint>
#include <filesystem>
#include <vector>

/// A model so small that the naive twin runs it, with random weights.
namespace kvtape::testing {

/// Two layers, three query heads to a KV head.
inline Json small_config() {
    return {{"architectures", {"LlamaForCausalLM"}},
            {"vocab_size", 37},
            {"hidden_size", 24},
            {"intermediate_size", 40},
            {"num_hidden_layers", 2},
            {"num_attention_heads", 6},
            {"num_key_value_heads", 2},
            {"head_dim", 8},
            {"rms_norm_eps", 1e-5},
            {"eos_token_id", 7}};
}

inline model::Config parse(const Json& json) {
    return model::Config::parse(json.dump(), "config.json");
}

inline std::vector<std::int32_t> some_tokens(std::size_t count) {
    std::vector<std::int32_t> tokens;
    const Philox random(3, 1);
    for (std::size_t i = 0; i < count; ++i)
        tokens.push_back(static_cast<std::int32_t>(37.0 * random.uniform(i)));
    return tokens;
}

/// A checkpoint directory with random weights for `config`.
class RandomCheckpoint {
  public:
    explicit RandomCheckpoint(const model::Config& config, ElementType type = ElementType::float32)
        : tensors(random_weights(config)) {
        write_file(path() / "model.safetensors", safetensors_file(tensors, type));
    }
    const std::filesystem::path& path() const { return directory_.path(); }
    FloatTensors tensors;

  private:
    TemporaryDirectory directory_;
};

}  // namespace kvtape::testing
