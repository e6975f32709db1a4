#include "tools/device.hpp"

#include "core/error.hpp"

#include <array>

namespace kvtape {
namespace {

namespace options = boost::program_options;

[[noreturn]] void refuse(const std::string& option,
                         const std::string& found,
                         const std::string& allowed) {
    throw usage_error(option + " is '" + found + "'; it must be " + allowed);
}

}  // namespace

void declare_device(options::options_description& own) {
    own.add_options()  //
        ("device",
         options::value<std::string>()->default_value("auto")->value_name("NAME"),
         "auto, cpu or cuda")  //
        ("dtype",
         options::value<std::string>()->default_value("")->value_name("TYPE"),
         "float32, bfloat16 or float16; default: float32 on the CPU, the checkpoint's on CUDA");
}

Device read_device(const Invocation& invocation) {
    Device device;
    device.name = invocation.values["device"].as<std::string>();
    if (device.name != "auto" && device.name != "cpu" && device.name != "cuda")
        refuse("--device", device.name, "auto, cpu or cuda");
    const std::string type = invocation.values["dtype"].as<std::string>();
    constexpr std::array types = {
        ElementType::float32, ElementType::bfloat16, ElementType::float16};
    for (const ElementType known : types)
        if (type == name_of(known))
            device.element_type = known;
    if (!type.empty() && !device.element_type)
        refuse("--dtype", type, "float32, bfloat16 or float16");
    return device;
}

std::unique_ptr<model::Backend> make_backend(const Device& device,
                                             ElementType stored,
                                             int threads) {
    const bool cuda =
        device.name == "cuda" || (device.name == "auto" && model::cuda_unavailable().empty());
    if (cuda)
        return model::cuda_backend(device.element_type.value_or(stored), 0);
    return model::cpu_backend(device.element_type.value_or(ElementType::float32), threads);
}

}  // namespace kvtape
