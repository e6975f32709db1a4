#include "sim/rope.hpp"

#include "core/error.hpp"
#include "core/json.hpp"

#include <string>

namespace kvtape {
namespace {

/// No model turns faster, and the angles of all positions are good to a millionth of a turn.
constexpr double fastest = 1000.0;

}  // namespace

Rotation rotation_of(const TraceInfo& info) {
    const Json rope = parse_json(info.rope, "the attribute rope");
    if (!rope.is_object() || !rope.contains("inv_freq"))
        return {};
    try {
        Rotation rotation;
        rotation.inv_freq = rope.at("inv_freq").get<std::vector<double>>();
        rotation.rotary_dim = 2 * static_cast<std::int32_t>(rotation.inv_freq.size());
        rotation.interleaved = rope.value("layout", "half") == "interleaved";
        for (const double frequency : rotation.inv_freq)
            if (!(frequency >= 0.0 && frequency <= fastest))
                throw format_error("reading the attribute rope: inv_freq holds " +
                                   to_text(Json(frequency)) + ", expected 0 to 1000");
        if (rotation.rotary_dim > info.shape.head_dim)
            throw format_error("reading the attribute rope: inv_freq has " +
                               std::to_string(rotation.inv_freq.size()) + " frequencies for " +
                               std::to_string(info.shape.head_dim) +
                               " channels, expected one for two channels at most");
        return rotation;
    } catch (const Json::exception&) {
        throw format_error(
            "reading the attribute rope: inv_freq and layout are not a list of numbers and a word");
    }
}

}  // namespace kvtape
