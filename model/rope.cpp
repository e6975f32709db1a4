#include "model/rope.hpp"

#include "model/fields.hpp"

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

void scale(const Fields& scaling, std::vector<double>& frequencies) {
    const std::string type = scaling.text("rope_type", scaling.text("type", "default"));
    if (type == "llama3")
        return scale_llama3(scaling, frequencies);
    if (type == "linear") {
        const double factor = scaling.positive("factor", largest_factor);
        for (double& frequency : frequencies)
            frequency /= factor;
        return;
    }
    if (type != "default")
        scaling.refuse("rope_type",
                       "is " + Fields::shown(Json(type)) +
                           ", which kvtape does not know; it knows default, linear and llama3");
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
    config.rope_theta = scaling.positive("rope_theta", largest_theta, config.rope_theta);
    if (scaling.positive("partial_rotary_factor", 1.0, 1.0) < 1.0)
        scaling.refuse("partial_rotary_factor", "is below 1, which kvtape does not know");
    config.inverse_frequencies = plain_frequencies(config.rope_theta, config.head_dim);
    scale(scaling, config.inverse_frequencies);
}

Json Config::rope() const {
    return {{"theta", rope_theta},
            {"scaling", rope_scaling},
            {"rotary_dim", head_dim},
            {"layout", "half"},
            {"inv_freq", inverse_frequencies}};
}

}  // namespace kvtape::model
