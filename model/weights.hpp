#pragma once

#include "model/backend.hpp"
#include "model/config.hpp"
#include "model/safetensors.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace kvtape::model {

/// A matrix with its bias; the bias is null where there is none.
struct Projection {
    std::unique_ptr<Weight> weight, bias;
};

struct LayerWeights {
    std::unique_ptr<Weight> attention_norm, mlp_norm;
    std::unique_ptr<Weight> query_norm, key_norm;  ///< null without `Config::qk_norm`
    Projection query, key, value, output;
    Projection gate, up, down;
};

struct Weights {
    std::unique_ptr<Weight> embedding, final_norm;
    std::unique_ptr<Weight> head;  ///< null when tied to the embedding
    std::vector<LayerWeights> layers;
};

/// The checkpoint's name of W_o of a layer.
std::string output_projection_name(std::int32_t layer);

/// All weights of a model, prepared by `backend`. The checkpoint must outlive them. Tensors of the
/// model that `config` has no use for are a format error that names one.
Weights read_weights(const Checkpoint& checkpoint, const Config& config, Backend& backend);

}  // namespace kvtape::model
