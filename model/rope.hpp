#pragma once

#include "model/config.hpp"

namespace kvtape::model {

/// Fills `rope_theta`, `rope_scaling`, `inverse_frequencies` and `rope_attention_scale` of `config`
/// from the fields `rope_theta` and `rope_scaling`, or from `rope_parameters`, which replaced both.
/// Knows the kinds `default`, `linear`, `dynamic`, `llama3` and `yarn`; `what` names the file in
/// errors.
void read_rope(const Json& fields, std::string_view what, Config& config);

/// Throws a format error where `positions` are more than the frequencies hold for: `dynamic`
/// scaling changes them with the length of the text beyond `max_positions`.
void expect_fixed_rope(const Config& config, std::int64_t positions);

}  // namespace kvtape::model
