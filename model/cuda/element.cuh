#pragma once

#include "core/element.hpp"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace kvtape::model::cuda {

using Bfloat16 = __nv_bfloat16;
using Float16 = __half;

__device__ inline float to_float(float value) {
    return value;
}
__device__ inline float to_float(Float16 value) {
    return __half2float(value);
}
__device__ inline float to_float(Bfloat16 value) {
    return __bfloat162float(value);
}

/// To the nearest element, ties to even.
template <typename Element>
__device__ Element from_float(float value);
template <>
__device__ inline float from_float<float>(float value) {
    return value;
}
template <>
__device__ inline Float16 from_float<Float16>(float value) {
    return __float2half_rn(value);
}
template <>
__device__ inline Bfloat16 from_float<Bfloat16>(float value) {
    return __float2bfloat16_rn(value);
}

/// Calls `body` with a zero of the C++ type that stands for `type`.
template <typename Body>
void with_element(ElementType type, const Body& body) {
    switch (type) {
        case ElementType::float16:
            return body(Float16{});
        case ElementType::bfloat16:
            return body(Bfloat16{});
        case ElementType::float32:
            break;
    }
    body(float{});
}

}  // namespace kvtape::model::cuda
