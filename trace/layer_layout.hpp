#pragma once

#include "trace/trace.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace kvtape {

/// What the sizes of a sequence's tensors follow from.
struct SequenceSizes {
    std::int64_t tokens = 0;
    std::int64_t queries = 0;   ///< recorded ones
    std::int64_t replayed = 0;  ///< those of a second pass
};

/// How one tensor of a layer lies in the file.
struct TensorLayout {
    enum class Stored { element_type, float32 };

    const char* name;
    bool LayerParts::*part;
    std::vector<float> LayerData::*values;
    Stored stored;
    std::vector<std::int64_t> (*dimensions)(const Shape& shape, const SequenceSizes& sizes);

    ElementType type(const Shape& shape) const {
        return stored == Stored::float32 ? ElementType::float32 : shape.element_type;
    }
    bool required() const { return always_recorded.*part; }
};

/// All tensors in byte order of their names, the order in which they are written.
std::span<const TensorLayout> layer_tensors();

}  // namespace kvtape
