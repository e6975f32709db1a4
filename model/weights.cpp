#include "model/weights.hpp"

#include "core/error.hpp"

#include <array>
#include <numeric>
#include <set>
#include <span>
#include <string>
#include <utility>

namespace kvtape::model {
namespace {

class Reader {
  public:
    Reader(const Checkpoint& checkpoint, Backend& backend)
        : checkpoint_(checkpoint),
          backend_(backend) {}

    std::unique_ptr<Weight> matrix(const std::string& name,
                                   std::int64_t out,
                                   std::int64_t in) const {
        const Checkpoint::Tensor tensor = take(name, {out, in});
        return backend_.prepare(tensor.bytes, tensor.type, out, in);
    }
    std::unique_ptr<Weight> vector(const std::string& name, std::int64_t size) const {
        const Checkpoint::Tensor tensor = take(name, {size});
        return backend_.prepare(tensor.bytes, tensor.type, 1, size);
    }
    Projection projection(const std::string& name,
                          std::int64_t out,
                          std::int64_t in,
                          bool with_bias) const {
        Projection projection{.weight = matrix(name + ".weight", out, in), .bias = nullptr};
        if (with_bias)
            projection.bias = vector(name + ".bias", out);
        return projection;
    }

    /// Projections of the same input whose rows the checkpoint has one below the other in one
    /// tensor, as Phi-3 has them.
    std::vector<Projection> stacked(const std::string& name,
                                    std::span<const std::int64_t> outs,
                                    std::int64_t in,
                                    bool with_bias) const {
        const std::int64_t all = std::accumulate(outs.begin(), outs.end(), std::int64_t{0});
        const Checkpoint::Tensor weight = take(name + ".weight", {all, in});
        Checkpoint::Tensor bias;
        if (with_bias)
            bias = take(name + ".bias", {all});
        std::vector<Projection> parts;
        std::int64_t first = 0;
        for (const std::int64_t out : outs) {
            Projection& part = parts.emplace_back();
            part.weight = backend_.prepare(rows(weight, first, out, in), weight.type, out, in);
            if (with_bias)
                part.bias = backend_.prepare(rows(bias, first, out, 1), bias.type, 1, out);
            first += out;
        }
        return parts;
    }
    bool has(const std::string& name) const { return checkpoint_.has(name + ".weight"); }

    /// Refuses tensors of the model that were not taken: it would be another model without them.
    /// Old checkpoints hold the angles of RoPE, and some a second copy of a tied head.
    void expect_all_taken(bool tied_head) const {
        std::vector<std::string> left;
        for (const std::string& name : checkpoint_.names())
            if ((name.starts_with("model.") || name.starts_with("lm_head.")) &&
                !taken_.contains(name) && !name.ends_with("rotary_emb.inv_freq") &&
                !(tied_head && name == "lm_head.weight"))
                left.push_back(name);
        if (!left.empty())
            throw format_error("reading " + checkpoint_.name() + ": it has " +
                               std::to_string(left.size()) +
                               (left.size() == 1 ? " tensor" : " tensors") +
                               " that config.json does not ask for, as " + left.front() +
                               "; correct config.json (biases: attention_bias, mlp_bias), or merge "
                               "adapters into the weights");
    }

  private:
    Checkpoint::Tensor take(const std::string& name,
                            std::initializer_list<std::int64_t> shape) const {
        taken_.insert(name);
        return checkpoint_.tensor(name, shape);
    }
    static std::span<const std::byte> rows(const Checkpoint::Tensor& tensor,
                                           std::int64_t first,
                                           std::int64_t count,
                                           std::int64_t columns) {
        const auto row = static_cast<std::size_t>(columns * bytes_of(tensor.type));
        return tensor.bytes.subspan(static_cast<std::size_t>(first) * row,
                                    static_cast<std::size_t>(count) * row);
    }

    const Checkpoint& checkpoint_;
    Backend& backend_;
    mutable std::set<std::string> taken_;
};

std::string attention_name(std::int32_t layer) {
    return "model.layers." + std::to_string(layer) + ".self_attn.";
}

/// Queries, keys and values, apart or in one tensor.
void read_attention(const Reader& reader,
                    const Config& config,
                    const std::string& attention,
                    LayerWeights& layer) {
    const std::int64_t hidden = config.hidden_size;
    const std::int64_t query = std::int64_t{config.query_heads} * config.head_dim;
    const std::int64_t kv = std::int64_t{config.kv_heads} * config.head_dim;
    if (reader.has(attention + "qkv_proj")) {
        const std::array outs{query, kv, kv};
        auto parts = reader.stacked(attention + "qkv_proj", outs, hidden, config.qkv_bias);
        layer.query = std::move(parts[0]);
        layer.key = std::move(parts[1]);
        layer.value = std::move(parts[2]);
        return;
    }
    layer.query = reader.projection(attention + "q_proj", query, hidden, config.qkv_bias);
    layer.key = reader.projection(attention + "k_proj", kv, hidden, config.qkv_bias);
    layer.value = reader.projection(attention + "v_proj", kv, hidden, config.qkv_bias);
}

/// Gate and up, apart or in one tensor.
void read_inner(const Reader& reader,
                const Config& config,
                const std::string& mlp,
                LayerWeights& layer) {
    const std::int64_t hidden = config.hidden_size;
    const std::int64_t inner = config.intermediate_size;
    if (reader.has(mlp + "gate_up_proj")) {
        const std::array outs{inner, inner};
        auto parts = reader.stacked(mlp + "gate_up_proj", outs, hidden, config.mlp_bias);
        layer.gate = std::move(parts[0]);
        layer.up = std::move(parts[1]);
        return;
    }
    layer.gate = reader.projection(mlp + "gate_proj", inner, hidden, config.mlp_bias);
    layer.up = reader.projection(mlp + "up_proj", inner, hidden, config.mlp_bias);
}

LayerWeights read_layer(const Reader& reader, const Config& config, std::int32_t index) {
    const std::string prefix = "model.layers." + std::to_string(index) + ".";
    const std::string attention = attention_name(index);
    const std::string mlp = prefix + "mlp.";
    const std::int64_t hidden = config.hidden_size;
    const std::int64_t inner = config.intermediate_size;
    const std::int64_t query = std::int64_t{config.query_heads} * config.head_dim;
    LayerWeights layer;
    layer.attention_norm = reader.vector(prefix + "input_layernorm.weight", hidden);
    layer.mlp_norm = reader.vector(prefix + "post_attention_layernorm.weight", hidden);
    if (config.qk_norm) {
        layer.query_norm = reader.vector(attention + "q_norm.weight", config.head_dim);
        layer.key_norm = reader.vector(attention + "k_norm.weight", config.head_dim);
    }
    read_attention(reader, config, attention, layer);
    layer.output = reader.projection(attention + "o_proj", hidden, query, config.output_bias);
    read_inner(reader, config, mlp, layer);
    layer.down = reader.projection(mlp + "down_proj", hidden, inner, config.mlp_bias);
    return layer;
}

void refuse_more_layers(const Checkpoint& checkpoint, const Config& config) {
    const std::string next =
        "model.layers." + std::to_string(config.layers) + ".input_layernorm.weight";
    if (checkpoint.has(next))
        throw format_error("reading " + checkpoint.name() + ": it has the tensor " + next +
                           ", but config.json says num_hidden_layers is " +
                           std::to_string(config.layers) + "; they do not belong together");
}

}  // namespace

std::string output_projection_name(std::int32_t layer) {
    return attention_name(layer) + "o_proj.weight";
}

Weights read_weights(const Checkpoint& checkpoint, const Config& config, Backend& backend) {
    const Reader reader(checkpoint, backend);
    Weights weights;
    weights.embedding =
        reader.matrix("model.embed_tokens.weight", config.vocabulary, config.hidden_size);
    weights.final_norm = reader.vector("model.norm.weight", config.hidden_size);
    if (!config.tied_embeddings)
        weights.head = reader.matrix("lm_head.weight", config.vocabulary, config.hidden_size);
    for (std::int32_t layer = 0; layer < config.layers; ++layer)
        weights.layers.push_back(read_layer(reader, config, layer));
    checkpoint.expect_covered();
    refuse_more_layers(checkpoint, config);
    reader.expect_all_taken(config.tied_embeddings);
    return weights;
}

}  // namespace kvtape::model
