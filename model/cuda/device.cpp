#include "model/cuda/device.hpp"

#include "core/error.hpp"
#include "model/backend.hpp"
#include "model/cuda/check.hpp"
#include "model/cuda/kernels.hpp"

#include <cuda_runtime_api.h>

#include <string>

namespace kvtape::model {
namespace {

std::string status_text(cudaError_t status) {
    return std::string(cudaGetErrorName(status)) + " (" + cudaGetErrorString(status) + ")";
}

}  // namespace

void cuda::use_device(int device) {
    if (const std::string reason = cuda_unavailable(); !reason.empty())
        throw device_error("starting the cuda backend: " + reason + "; use the cpu backend");
    int devices = 0;
    check(cudaGetDeviceCount(&devices), "counting the GPUs");
    if (device < 0 || device >= devices)
        throw device_error("starting the cuda backend on GPU " + std::to_string(device) +
                           ": there are " + std::to_string(devices) + ", counted from 0");
    const std::string which = "starting GPU " + std::to_string(device);
    check(cudaSetDevice(device), which);
    if (const std::string reason = kernels_unusable(); !reason.empty())
        throw device_error(which + ": " + reason +
                           "; build with CMAKE_CUDA_ARCHITECTURES set to its compute capability");
}

std::string cuda_unavailable() {
    int devices = 0;
    const cudaError_t status = cudaGetDeviceCount(&devices);
    if (status == cudaSuccess && devices > 0)
        return {};
    static_cast<void>(cudaGetLastError());
    return "no usable NVIDIA GPU: " +
           status_text(status == cudaSuccess ? cudaErrorNoDevice : status);
}

}  // namespace kvtape::model
