#pragma once

#include <cuda_runtime_api.h>

#include <string_view>

namespace kvtape::model::cuda {

/// A device error `doing: cudaErrorName (text) at file:line` unless `status` is success. Clears the
/// sticky error first, so that it is not blamed on the next call.
void check(cudaError_t status,
           std::string_view doing,
           const char* file = __builtin_FILE(),
           int line = __builtin_LINE());

}  // namespace kvtape::model::cuda
