#pragma once

#include "core/json.hpp"
#include "core/types.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kvtape::model {

/// What `config.json` says, for every architecture of the Llama family. Architectures differ by
/// these fields and by nothing else.
struct Config {
    std::string architecture;  ///< `LlamaForCausalLM`
    std::string text;          ///< the file, verbatim
    std::int32_t vocabulary = 0;
    std::int32_t hidden_size = 0;
    std::int32_t intermediate_size = 0;
    std::int32_t layers = 0;
    std::int32_t query_heads = 0;
    std::int32_t kv_heads = 0;
    std::int32_t head_dim = 0;
    std::int32_t max_positions = 0;
    float norm_epsilon = 1e-5f;
    bool tied_embeddings = false;
    bool qkv_bias = false;
    bool output_bias = false;
    bool mlp_bias = false;
    bool qk_norm = false;
    ElementType stored_type = ElementType::float32;       ///< `torch_dtype` / `dtype`
    std::vector<std::int32_t> stop_tokens;                ///< `eos_token_id` of both files
    std::vector<std::optional<Position>> sliding_window;  ///< per layer

    double rope_theta = 10000.0;
    Json rope_scaling;                        ///< verbatim or null
    std::vector<double> inverse_frequencies;  ///< head_dim / 2, scaling applied
    double rope_attention_scale = 1.0;        ///< multiplies cos and sin

    /// Reads and checks the file; anything unsupported is a format error that names the field. A
    /// `generation_config.json` beside it, where there is one, adds stop tokens.
    static Config load(const std::filesystem::path& config_json);
    static Config parse(std::string_view json, std::string_view what);
    /// Adds the `eos_token_id` of a `generation_config.json`, as `transformers` ends answers by it.
    void add_generation(std::string_view json, std::string_view what);

    /// The geometry with activations of `type`.
    Shape shape(ElementType type) const;
    /// The `rope` attribute of a trace: theta, scaling, rotary_dim, layout "half", inv_freq.
    Json rope() const;
};

}  // namespace kvtape::model
