#pragma once

#include "core/element.hpp"
#include "model/backend.hpp"
#include "tools/verb.hpp"

#include <memory>
#include <optional>
#include <string>

namespace kvtape {

/// Where a model runs: the options `--device` and `--dtype`, which several verbs share.
struct Device {
    std::string name = "auto";  ///< auto, cpu or cuda
    std::optional<ElementType> element_type;
};
void declare_device(boost::program_options::options_description& own);
/// Anything else is a usage error.
Device read_device(const Invocation& invocation);

/// `auto` is CUDA where it works. Without a type, CUDA computes in `stored` and the CPU in float32.
std::unique_ptr<model::Backend> make_backend(const Device& device, ElementType stored, int threads);

}  // namespace kvtape
