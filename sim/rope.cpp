#include "sim/rope.hpp"

#include "core/error.hpp"
#include "core/json.hpp"

namespace kvtape {

Rotation rotation_of(const TraceInfo& info) {
    const Json rope = parse_json(info.rope, "the attribute rope");
    if (!rope.is_object() || !rope.contains("inv_freq"))
        return {};
    try {
        Rotation rotation;
        rotation.inv_freq = rope.at("inv_freq").get<std::vector<double>>();
        rotation.rotary_dim = 2 * static_cast<std::int32_t>(rotation.inv_freq.size());
        rotation.interleaved = rope.value("layout", "half") == "interleaved";
        return rotation;
    } catch (const Json::exception&) {
        throw format_error(
            "reading the attribute rope: inv_freq and layout are not a list of numbers and a word");
    }
}

}  // namespace kvtape
