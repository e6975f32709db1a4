#pragma once

#include "model/config.hpp"

namespace kvtape::model {

/// Fills `rope_theta`, `rope_scaling`, `inverse_frequencies` and `rope_attention_scale` of `config`
/// from the fields `rope_theta` and `rope_scaling`, or from `rope_parameters`, which replaced both.
/// Knows the kinds `default`, `linear` and `llama3`; `what` names the file in errors.
void read_rope(const Json& fields, std::string_view what, Config& config);

}  // namespace kvtape::model
