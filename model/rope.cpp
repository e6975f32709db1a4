#include "model/rope.hpp"

#include "model/fields.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace kvtape::model {
namespace {

constexpr double largest_theta = 1e15;
constexpr double largest_factor = 1e6;

std::vector<double> plain_frequencies(double theta, std::int32_t head_dim) {
    std::vector<double> frequencies;
    for (std::int32_t i = 0; i < head_dim; i += 2)
        frequencies.push_back(std::pow(theta, -static_cast<double>(i) / head_dim));
    return frequencies;
}

/// Llama 3.1: long waves are slowed by `factor`, short ones stay, between them a linear blend.
void scale_llama3(const Fields& scaling, std::vector<double>& frequencies) {
    const double factor = scaling.positive("factor", largest_factor);
    const double low = scaling.positive("low_freq_factor", largest_factor);
    const double high = scaling.positive("high_freq_factor", largest_factor);
    const auto original = static_cast<double>(
        scaling.integer("original_max_position_embeddings", 1, std::int64_t{1} << 30));
    if (high <= low)
        scaling.refuse("high_freq_factor", "must be larger than low_freq_factor");
    for (double& frequency : frequencies) {
        const double wavelength = 2.0 * std::numbers::pi / frequency;
        if (wavelength > original / low)
            frequency /= factor;
        else if (wavelength >= original / high) {
            const double smooth = (original / wavelength - low) / (high - low);
            frequency = (1.0 - smooth) * frequency / factor + smooth * frequency;
        }
    }
}

/// YaRN's temperature: 0.1 m ln(s) + 1 (Peng et al., arXiv:2309.00071, section 3.4).
double yarn_magnitude(double factor, double scale) {
    return factor <= 1.0 ? 1.0 : 0.1 * scale * std::log(factor) + 1.0;
}

double yarn_attention_scale(const Fields& scaling, double factor) {
    if (scaling.find("attention_factor") != nullptr)
        return scaling.positive("attention_factor", largest_factor);
    if (scaling.find("mscale") != nullptr && scaling.find("mscale_all_dim") != nullptr)
        return yarn_magnitude(factor, scaling.positive("mscale", largest_factor)) /
               yarn_magnitude(factor, scaling.positive("mscale_all_dim", largest_factor));
    return yarn_magnitude(factor, 1.0);
}

/// YaRN (arXiv:2309.00071, section 3.2): pairs that turn more than `beta_fast` times over the
/// original context stay, those that turn less than `beta_slow` times are slowed by `factor`, with
/// a linear blend over the pairs between them.
void scale_yarn(const Fields& scaling, Config& config) {
    const double factor = scaling.positive("factor", largest_factor);
    const auto original = static_cast<double>(
        scaling.integer("original_max_position_embeddings", 1, std::int64_t{1} << 30));
    const double fast = scaling.positive("beta_fast", largest_factor, 32.0);
    const double slow = scaling.positive("beta_slow", largest_factor, 1.0);
    if (fast < slow)
        scaling.refuse("beta_fast", "must not be smaller than beta_slow");
    if (config.rope_theta <= 1.0)
        scaling.refuse("rope_theta", "must be larger than 1 for yarn");
    const double dim = config.head_dim;
    const auto pair_of = [&](double turns) {
        return dim * std::log(original / (turns * 2.0 * std::numbers::pi)) /
               (2.0 * std::log(config.rope_theta));
    };
    double first = pair_of(fast), last = pair_of(slow);
    if (scaling.flag("truncate", true)) {
        first = std::floor(first);
        last = std::ceil(last);
    }
    first = std::max(first, 0.0);
    last = std::min(last, dim - 1.0);
    if (first == last)
        last += 0.001;  // No division by zero.
    for (std::size_t i = 0; i < config.inverse_frequencies.size(); ++i) {
        double& frequency = config.inverse_frequencies[i];
        const double slowed =
            std::clamp((static_cast<double>(i) - first) / (last - first), 0.0, 1.0);
        frequency = slowed * frequency / factor + (1.0 - slowed) * frequency;
    }
    config.rope_attention_scale = yarn_attention_scale(scaling, factor);
}

void scale(const Fields& scaling, Config& config) {
    const std::string type = scaling.text("rope_type", scaling.text("type", "default"));
    if (type == "default")
        return;
    // Plain up to max_position_embeddings; what lies beyond is refused by expect_fixed_rope.
    if (type == "dynamic") {
        scaling.positive("factor", largest_factor);
        return;
    }
    if (type == "llama3")
        return scale_llama3(scaling, config.inverse_frequencies);
    if (type == "yarn")
        return scale_yarn(scaling, config);
    if (type == "linear") {
        const double factor = scaling.positive("factor", largest_factor);
        for (double& frequency : config.inverse_frequencies)
            frequency /= factor;
        return;
    }
    scaling.refuse("rope_type",
                   "is " + Fields::shown(Json(type)) +
                       ", which kvtape does not know; it knows default, linear, dynamic, "
                       "llama3 and yarn");
}

/// Models whose kinds of layers turn differently have one object for each kind.
void refuse_kinds_of_layers(const Fields& parameters, const Json& fields) {
    for (const auto& [kind, own] : fields.items())
        if (own.is_object())
            parameters.refuse(Fields::shown(Json(kind)),
                              "is RoPE of one kind of layers, which kvtape does not know; it knows "
                              "one for all layers");
}

}  // namespace

void read_rope(const Json& fields, std::string_view what, Config& config) {
    const Fields root(fields, what);
    const Json* parameters = root.find("rope_parameters");
    if (parameters == nullptr)
        parameters = root.find("rope_scaling");
    config.rope_theta = root.positive("rope_theta", largest_theta, 10000.0);
    config.rope_scaling = parameters == nullptr ? Json() : *parameters;
    if (root.positive("partial_rotary_factor", 1.0, 1.0) < 1.0)
        root.refuse("partial_rotary_factor", "is below 1, which kvtape does not know");
    if (parameters == nullptr) {
        config.inverse_frequencies = plain_frequencies(config.rope_theta, config.head_dim);
        return;
    }
    const Fields scaling(*parameters, std::string(what) + ", RoPE parameters");
    refuse_kinds_of_layers(scaling, *parameters);
    config.rope_theta = scaling.positive("rope_theta", largest_theta, config.rope_theta);
    if (scaling.positive("partial_rotary_factor", 1.0, 1.0) < 1.0)
        scaling.refuse("partial_rotary_factor", "is below 1, which kvtape does not know");
    config.inverse_frequencies = plain_frequencies(config.rope_theta, config.head_dim);
    scale(scaling, config);
}

void expect_fixed_rope(const Config& config, std::int64_t positions) {
    if (!config.rope_scaling.is_object() || positions <= config.max_positions)
        return;
    const Fields scaling(config.rope_scaling, "RoPE parameters");
    if (scaling.text("rope_type", scaling.text("type", "default")) == "dynamic")
        throw format_error("running the model: " + std::to_string(positions) +
                           " positions, but RoPE scaling \"dynamic\" turns keys by the length of "
                           "the text beyond " +
                           std::to_string(config.max_positions) +
                           " (max_position_embeddings), so that a recording would have no one "
                           "rotation; use a shorter text");
}

Json Config::rope() const {
    return {{"theta", rope_theta},
            {"scaling", rope_scaling},
            {"rotary_dim", head_dim},
            {"layout", "half"},
            {"inv_freq", inverse_frequencies}};
}

}  // namespace kvtape::model
