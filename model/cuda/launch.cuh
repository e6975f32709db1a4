#pragma once

#include "model/cuda/check.hpp"

#include <cuda_runtime.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace kvtape::model::cuda {

/// Blocks, threads of a block, bytes of dynamic shared memory and the stream of one launch.
struct Geometry {
    dim3 grid;
    dim3 block;
    std::size_t shared = 0;
    cudaStream_t stream = nullptr;
};

/// The only way a kernel is started. An empty grid is no work. Debug builds wait for the kernel, so
/// that a fault is reported under its name.
template <typename... Parameters, typename... Arguments>
void launch(std::string_view name,
            const Geometry& geometry,
            void (*kernel)(Parameters...),
            Arguments&&... arguments) {
    if (geometry.grid.x == 0 || geometry.grid.y == 0 || geometry.grid.z == 0)
        return;
    cudaLaunchConfig_t config{};
    config.gridDim = geometry.grid;
    config.blockDim = geometry.block;
    config.dynamicSmemBytes = geometry.shared;
    config.stream = geometry.stream;
    const std::string doing = "running the kernel " + std::string(name);
    check(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...), doing);
    if constexpr (KVTAPE_CHECKED_LAUNCHES != 0)
        check(cudaStreamSynchronize(geometry.stream), doing);
}

}  // namespace kvtape::model::cuda
