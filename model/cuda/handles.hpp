#pragma once

#include "model/cuda/check.hpp"

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <string_view>
#include <type_traits>

namespace kvtape::model::cuda {

/// The same for cuBLAS, which keeps no sticky error.
void check(cublasStatus_t status,
           std::string_view doing,
           const char* file = __builtin_FILE(),
           int line = __builtin_LINE());

/// Closes a handle with its own function; what that returns has no one to hear it.
template <auto Close>
struct Closer {
    template <typename Handle>
    void operator()(Handle* handle) const noexcept {
        static_cast<void>(Close(handle));
    }
};
template <typename Handle, auto Close>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, Closer<Close>>;

using Stream = Owned<cudaStream_t, cudaStreamDestroy>;
using CublasLt = Owned<cublasLtHandle_t, cublasLtDestroy>;
using MatmulDescription = Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using MatrixLayout = Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using MatmulPreference = Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;
using DeviceMemory = Owned<void*, cudaFree>;

Stream make_stream();
CublasLt make_cublaslt();

/// Memory of the current device. When there is not enough, the error says how much was asked for,
/// how much is free and what can be changed.
DeviceMemory allocate(std::size_t bytes);

}  // namespace kvtape::model::cuda
