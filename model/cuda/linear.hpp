#pragma once

#include "core/element.hpp"
#include "model/cuda/handles.hpp"

#include <array>
#include <cstdint>
#include <map>

namespace kvtape::model::cuda {

/// out[rows, outputs] = x[rows, inputs] · weight[outputs, inputs]ᵀ (+ bias[outputs]); dense device
/// memory of one element type.
struct Product {
    const void* x = nullptr;
    const void* weight = nullptr;
    const void* bias = nullptr;
    void* out = nullptr;
    std::int64_t rows = 0;
    std::int64_t inputs = 0;
    std::int64_t outputs = 0;
};

/// Products through cuBLASLt, accumulated in float32 (never TF32) and rounded once, bias included.
/// The algorithm is chosen once per shape, without split-K or any other reduction across blocks, so
/// the same product has the same bits every time on one GPU model and cuBLAS version.
class Linear {
  public:
    explicit Linear(ElementType type);
    void run(const Product& product, cudaStream_t stream);

  private:
    /// Shape, whether there is a bias, and how x, weight, out and bias are aligned.
    using Key = std::array<std::int64_t, 8>;
    struct Plan {
        MatmulDescription description;
        MatrixLayout weight;
        MatrixLayout x;
        MatrixLayout out;
        cublasLtMatmulAlgo_t algorithm{};
    };
    Plan make_plan(const Product& product, const Key& key) const;
    cublasLtMatmulAlgo_t choose(const Plan& plan, const Product& product, const Key& key) const;

    ElementType type_;
    CublasLt handle_;
    DeviceMemory workspace_;
    std::map<Key, Plan> plans_;
};

}  // namespace kvtape::model::cuda
