#include "model/cuda/handles.hpp"

#include "core/error.hpp"

#include <string>

namespace kvtape::model::cuda {
namespace {

/// The file's name without the folders of whoever compiled it.
std::string place(std::string_view file, int line) {
    return std::string(file.substr(file.rfind('/') + 1)) + ":" + std::to_string(line);
}

[[noreturn]] void fail(std::string_view doing,
                       const char* name,
                       const char* text,
                       const std::string& where) {
    throw device_error(std::string(doing) + ": " + name + " (" + text + ") at " + where);
}

}  // namespace

void check(cudaError_t status, std::string_view doing, const char* file, int line) {
    if (status == cudaSuccess)
        return;
    static_cast<void>(cudaGetLastError());
    fail(doing, cudaGetErrorName(status), cudaGetErrorString(status), place(file, line));
}

void check(cublasStatus_t status, std::string_view doing, const char* file, int line) {
    if (status == CUBLAS_STATUS_SUCCESS)
        return;
    fail(doing, cublasLtGetStatusName(status), cublasLtGetStatusString(status), place(file, line));
}

Stream make_stream() {
    cudaStream_t stream = nullptr;
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "creating a CUDA stream");
    return Stream(stream);
}

CublasLt make_cublaslt() {
    cublasLtHandle_t handle = nullptr;
    check(cublasLtCreate(&handle), "starting cuBLASLt");
    return CublasLt(handle);
}

DeviceMemory allocate(std::size_t bytes) {
    void* memory = nullptr;
    const cudaError_t status = cudaMalloc(&memory, bytes);
    if (status == cudaErrorMemoryAllocation) {
        static_cast<void>(cudaGetLastError());
        std::size_t free = 0;
        std::size_t total = 0;
        check(cudaMemGetInfo(&free, &total), "asking for the free GPU memory");
        throw device_error("allocating " + std::to_string(bytes) + " bytes of GPU memory: " +
                           std::to_string(free) + " of " + std::to_string(total) +
                           " bytes are free; take a shorter context, a 16-bit element type, a "
                           "smaller model or the cpu backend, or free the GPU of other programs");
    }
    check(status, "allocating " + std::to_string(bytes) + " bytes of GPU memory");
    return DeviceMemory(memory);
}

}  // namespace kvtape::model::cuda
