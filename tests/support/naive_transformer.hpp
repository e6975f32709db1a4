#pragma once

#include "core/philox.hpp"
#include "model/config.hpp"
#include "tests/support/checkpoint_files.hpp"
#include "tests/support/reference.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

/// A transformer of the Llama family in double, one token and one head after the other.
namespace kvtape::testing {

using Row = std::vector<double>;
using Rows = std::vector<Row>;

/// Random weights for every tensor that `config` asks for.
inline FloatTensors random_weights(const model::Config& config) {
    FloatTensors tensors;
    std::uint64_t stream = 0;
    const auto add = [&](const std::string& name, std::vector<std::int64_t> shape, double centre) {
        std::size_t count = 1;
        for (const std::int64_t extent : shape)
            count *= static_cast<std::size_t>(extent);
        const Philox random(5, stream++);
        std::vector<float> values(count);
        for (std::size_t i = 0; i < count; ++i)
            values[i] = static_cast<float>(centre + (random.uniform(i) - 0.5));
        tensors[name] = {.shape = std::move(shape), .values = std::move(values)};
    };
    const auto project =
        [&](const std::string& name, std::int64_t out, std::int64_t in, bool bias) {
            add(name + ".weight", {out, in}, 0.0);
            if (bias)
                add(name + ".bias", {out}, 0.0);
        };
    const std::int64_t hidden = config.hidden_size;
    const std::int64_t inner = config.intermediate_size;
    const std::int64_t query = std::int64_t{config.query_heads} * config.head_dim;
    const std::int64_t kv = std::int64_t{config.kv_heads} * config.head_dim;
    add("model.embed_tokens.weight", {config.vocabulary, hidden}, 0.0);
    add("model.norm.weight", {hidden}, 1.0);
    if (!config.tied_embeddings)
        add("lm_head.weight", {config.vocabulary, hidden}, 0.0);
    for (std::int32_t layer = 0; layer < config.layers; ++layer) {
        const std::string prefix = "model.layers." + std::to_string(layer) + ".";
        add(prefix + "input_layernorm.weight", {hidden}, 1.0);
        add(prefix + "post_attention_layernorm.weight", {hidden}, 1.0);
        project(prefix + "self_attn.q_proj", query, hidden, config.qkv_bias);
        project(prefix + "self_attn.k_proj", kv, hidden, config.qkv_bias);
        project(prefix + "self_attn.v_proj", kv, hidden, config.qkv_bias);
        project(prefix + "self_attn.o_proj", hidden, query, config.output_bias);
        project(prefix + "mlp.gate_proj", inner, hidden, config.mlp_bias);
        project(prefix + "mlp.up_proj", inner, hidden, config.mlp_bias);
        project(prefix + "mlp.down_proj", hidden, inner, config.mlp_bias);
        if (config.qk_norm) {
            add(prefix + "self_attn.q_norm.weight", {config.head_dim}, 1.0);
            add(prefix + "self_attn.k_norm.weight", {config.head_dim}, 1.0);
        }
    }
    return tensors;
}

class NaiveTransformer {
  public:
    /// Whether the query of one token finds the entry of another in a KV head of a layer.
    using Holds = std::function<bool(HeadId head, std::size_t query, std::size_t key)>;

    NaiveTransformer(const model::Config& config, const FloatTensors& tensors, Holds holds = {})
        : config_(config),
          tensors_(tensors),
          holds_(std::move(holds)) {}

    /// The logits of the last token.
    Row logits(const std::vector<std::int32_t>& tokens) const {
        Rows stream;
        const FloatTensor& table = tensors_.at("model.embed_tokens.weight");
        for (const std::int32_t token : tokens) {
            const auto first = table.values.begin() + std::int64_t{token} * config_.hidden_size;
            stream.emplace_back(first, first + config_.hidden_size);
        }
        for (std::int32_t layer = 0; layer < config_.layers; ++layer) {
            add_attention(layer, stream);
            for (Row& row : stream)
                add_mlp(layer, row);
        }
        return project(config_.tied_embeddings ? "model.embed_tokens" : "lm_head",
                       normed(stream.back(), "model.norm.weight"));
    }

  private:
    Row project(const std::string& name, const Row& x) const {
        const FloatTensor& weight = tensors_.at(name + ".weight");
        const auto bias = tensors_.find(name + ".bias");
        Row out;
        for (std::size_t n = 0; n < static_cast<std::size_t>(weight.shape[0]); ++n) {
            double sum = bias == tensors_.end() ? 0.0 : static_cast<double>(bias->second.values[n]);
            for (std::size_t k = 0; k < x.size(); ++k)
                sum += x[k] * static_cast<double>(weight.values[n * x.size() + k]);
            out.push_back(sum);
        }
        return out;
    }

    Row normed(Row x, const std::string& name) const {
        double sum = 0.0;
        for (const double value : x)
            sum += value * value;
        const double factor = 1.0 / std::sqrt(sum / static_cast<double>(x.size()) +
                                              static_cast<double>(config_.norm_epsilon));
        for (std::size_t i = 0; i < x.size(); ++i)
            x[i] *= factor * static_cast<double>(tensors_.at(name).values[i]);
        return x;
    }

    /// One head of a projection: normalised if the architecture does, then rotated if asked for.
    Row head_of(const Row& all, std::int32_t head, const std::string& norm, double position) const {
        const auto first = all.begin() + std::int64_t{head} * config_.head_dim;
        Row x(first, first + config_.head_dim);
        if (config_.qk_norm)
            x = normed(x, norm);
        const std::size_t half = x.size() / 2;
        for (std::size_t i = 0; i < half; ++i) {
            const double angle = position * config_.inverse_frequencies[i];
            const double a = x[i], b = x[i + half];
            x[i] = a * std::cos(angle) - b * std::sin(angle);
            x[i + half] = b * std::cos(angle) + a * std::sin(angle);
        }
        return x;
    }

    void add_attention(std::int32_t layer, Rows& stream) const {
        const std::string prefix = "model.layers." + std::to_string(layer) + ".";
        const std::string attention = prefix + "self_attn.";
        Rows queries, keys, values;
        for (const Row& row : stream) {
            const Row x = normed(row, prefix + "input_layernorm.weight");
            queries.push_back(project(attention + "q_proj", x));
            keys.push_back(project(attention + "k_proj", x));
            values.push_back(project(attention + "v_proj", x));
        }
        const std::int64_t window =
            config_.sliding_window[static_cast<std::size_t>(layer)].value_or(1 << 20);
        for (std::size_t t = 0; t < stream.size(); ++t) {
            Row outputs;
            for (std::int32_t head = 0; head < config_.query_heads; ++head) {
                const Row one = attend(t, layer, head, window, attention, queries, keys, values);
                outputs.insert(outputs.end(), one.begin(), one.end());
            }
            add(project(attention + "o_proj", outputs), stream[t]);
        }
    }

    Row attend(std::size_t t,
               std::int32_t layer,
               std::int32_t head,
               std::int64_t window,
               const std::string& attention,
               const Rows& queries,
               const Rows& keys,
               const Rows& values) const {
        const std::int32_t kv_head = head * config_.kv_heads / config_.query_heads;
        const Row query =
            head_of(queries[t], head, attention + "q_norm.weight", static_cast<double>(t));
        const auto begin = static_cast<std::size_t>(
            std::max<std::int64_t>(0, static_cast<std::int64_t>(t) + 1 - window));
        std::vector<double> logits;
        for (std::size_t j = begin; j <= t; ++j) {
            const Row key =
                head_of(keys[j], kv_head, attention + "k_norm.weight", static_cast<double>(j));
            double sum = 0.0;
            for (std::size_t i = 0; i < key.size(); ++i)
                sum += query[i] * key[i];
            const bool held = !holds_ || holds_({layer, kv_head}, t, j);
            logits.push_back(held ? sum / std::sqrt(static_cast<double>(config_.head_dim))
                                  : -std::numeric_limits<double>::infinity());
        }
        const std::vector<double> weights = reference::softmax(logits);
        Row output(query.size());
        for (std::size_t j = begin; j <= t; ++j)
            for (std::size_t i = 0; i < output.size(); ++i)
                output[i] += weights[j - begin] *
                             values[j][static_cast<std::size_t>(kv_head * config_.head_dim) + i];
        return output;
    }

    void add_mlp(std::int32_t layer, Row& row) const {
        const std::string prefix = "model.layers." + std::to_string(layer) + ".";
        const Row x = normed(row, prefix + "post_attention_layernorm.weight");
        Row gate = project(prefix + "mlp.gate_proj", x);
        const Row up = project(prefix + "mlp.up_proj", x);
        for (std::size_t i = 0; i < gate.size(); ++i)
            gate[i] = gate[i] / (1.0 + std::exp(-gate[i])) * up[i];
        add(project(prefix + "mlp.down_proj", gate), row);
    }

    static void add(const Row& y, Row& x) {
        for (std::size_t i = 0; i < x.size(); ++i)
            x[i] += y[i];
    }

    const model::Config& config_;
    const FloatTensors& tensors_;
    Holds holds_;
};

}  // namespace kvtape::testing
