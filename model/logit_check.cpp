#include "model/logit_check.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <cmath>
#include <string>

namespace kvtape::model {

void expect_numbers(std::span<const float> logits, ElementType type, Position position) {
    if (std::all_of(logits.begin(), logits.end(), [](float logit) { return std::isfinite(logit); }))
        return;
    const std::string remedy =
        type == ElementType::float32 ? "the checkpoint is damaged, or config.json is not its own"
        : type == ElementType::float16
            ? "what it computes may exceed that; choose --dtype bfloat16 or float32"
            : "what it computes may exceed that; choose --dtype float32";
    throw format_error("running the model: it computed NaN or infinity in " +
                       std::string(name_of(type)) + " for token " + std::to_string(position) +
                       ", expected numbers; " + remedy);
}

}  // namespace kvtape::model
