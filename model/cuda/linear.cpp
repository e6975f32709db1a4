#include "model/cuda/linear.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <string>
#include <vector>

namespace kvtape::model::cuda {
namespace {

/// What NVIDIA recommends for Hopper.
constexpr std::size_t workspace_bytes = std::size_t{32} << 20;
constexpr int candidates = 32;

cudaDataType_t data_type(ElementType type) {
    switch (type) {
        case ElementType::float16:
            return CUDA_R_16F;
        case ElementType::bfloat16:
            return CUDA_R_16BF;
        case ElementType::float32:
            break;
    }
    return CUDA_R_32F;
}

/// The largest power of two up to 256 that divides the address.
std::int64_t alignment_of(const void* address) {
    const auto bits = reinterpret_cast<std::uintptr_t>(address);
    return static_cast<std::int64_t>(std::min<std::uintptr_t>(256, bits & (~bits + 1)));
}

MatmulDescription make_description() {
    cublasLtMatmulDesc_t description = nullptr;
    check(cublasLtMatmulDescCreate(&description, CUBLAS_COMPUTE_32F, CUDA_R_32F),
          "describing a product");
    return MatmulDescription(description);
}

MatrixLayout make_layout(ElementType type, std::int64_t rows, std::int64_t columns) {
    cublasLtMatrixLayout_t layout = nullptr;
    check(cublasLtMatrixLayoutCreate(&layout,
                                     data_type(type),
                                     static_cast<std::uint64_t>(rows),
                                     static_cast<std::uint64_t>(columns),
                                     rows),
          "describing a matrix");
    return MatrixLayout(layout);
}

template <typename Value>
void set(const MatmulDescription& description,
         cublasLtMatmulDescAttributes_t attribute,
         const Value& value) {
    check(cublasLtMatmulDescSetAttribute(description.get(), attribute, &value, sizeof value),
          "describing a product");
}

template <typename Value>
void set(const MatmulPreference& preference,
         cublasLtMatmulPreferenceAttributes_t attribute,
         const Value& value) {
    check(cublasLtMatmulPreferenceSetAttribute(preference.get(), attribute, &value, sizeof value),
          "stating a preference");
}

template <typename Value>
Value get(const cublasLtMatmulAlgo_t& algorithm, cublasLtMatmulAlgoConfigAttributes_t attribute) {
    Value value{};
    std::size_t written = 0;
    check(
        cublasLtMatmulAlgoConfigGetAttribute(&algorithm, attribute, &value, sizeof value, &written),
        "reading an algorithm");
    return value;
}

/// Whether every element is summed by one block in one order.
bool fixed_order(const cublasLtMatmulAlgo_t& algorithm) {
    return get<std::int32_t>(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM) <= 1 &&
           get<std::uint32_t>(algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME) ==
               CUBLASLT_REDUCTION_SCHEME_NONE;
}

std::string text_of(const Product& product) {
    return "a product of [" + std::to_string(product.rows) + ", " + std::to_string(product.inputs) +
           "] and [" + std::to_string(product.outputs) + ", " + std::to_string(product.inputs) +
           "] transposed";
}

}  // namespace

Linear::Linear(ElementType type)
    : type_(type),
      handle_(make_cublaslt()),
      workspace_(allocate(workspace_bytes)) {}

void Linear::run(const Product& product, cudaStream_t stream) {
    if (product.rows == 0)
        return;
    const Key key = {product.rows,
                     product.inputs,
                     product.outputs,
                     product.bias != nullptr ? 1 : 0,
                     alignment_of(product.x),
                     alignment_of(product.weight),
                     alignment_of(product.out),
                     product.bias != nullptr ? alignment_of(product.bias) : 0};
    auto found = plans_.find(key);
    if (found == plans_.end())
        found = plans_.emplace(key, make_plan(product, key)).first;
    const Plan& plan = found->second;
    if (product.bias != nullptr)
        set(plan.description, CUBLASLT_MATMUL_DESC_BIAS_POINTER, product.bias);
    const float one = 1.0f;
    const float zero = 0.0f;
    check(cublasLtMatmul(handle_.get(),
                         plan.description.get(),
                         &one,
                         product.weight,
                         plan.weight.get(),
                         product.x,
                         plan.x.get(),
                         &zero,
                         product.out,
                         plan.out.get(),
                         product.out,
                         plan.out.get(),
                         &plan.algorithm,
                         workspace_.get(),
                         workspace_bytes,
                         stream),
          "running " + text_of(product));
}

// cuBLAS thinks in columns: our row-major [r, c] is its [c, r]. So it computes
// outᵀ [outputs, rows] = weight (transposed on its side) · xᵀ [inputs, rows].
Linear::Plan Linear::make_plan(const Product& product, const Key& key) const {
    Plan plan{.description = make_description(),
              .weight = make_layout(type_, product.inputs, product.outputs),
              .x = make_layout(type_, product.inputs, product.rows),
              .out = make_layout(type_, product.outputs, product.rows)};
    set(plan.description, CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
    set(plan.description, CUBLASLT_MATMUL_DESC_TRANSB, CUBLAS_OP_N);
    if (product.bias != nullptr) {
        set(plan.description, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
        set(plan.description, CUBLASLT_MATMUL_DESC_BIAS_POINTER, product.bias);
    }
    plan.algorithm = choose(plan, product, key);
    return plan;
}

cublasLtMatmulAlgo_t Linear::choose(const Plan& plan,
                                    const Product& product,
                                    const Key& key) const {
    cublasLtMatmulPreference_t raw = nullptr;
    check(cublasLtMatmulPreferenceCreate(&raw), "stating a preference");
    const MatmulPreference preference(raw);
    set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_bytes);
    set(preference,
        CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
        static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_NONE));
    const auto align = [&](cublasLtMatmulPreferenceAttributes_t operand, std::int64_t bytes) {
        set(preference, operand, static_cast<std::uint32_t>(bytes));
    };
    align(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, key[5]);
    align(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key[4]);
    align(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key[6]);
    align(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key[6]);

    std::vector<cublasLtMatmulHeuristicResult_t> results(candidates);
    int found = 0;
    check(cublasLtMatmulAlgoGetHeuristic(handle_.get(),
                                         plan.description.get(),
                                         plan.weight.get(),
                                         plan.x.get(),
                                         plan.out.get(),
                                         plan.out.get(),
                                         preference.get(),
                                         candidates,
                                         results.data(),
                                         &found),
          "choosing an algorithm for " + text_of(product));
    results.resize(static_cast<std::size_t>(found));
    const auto chosen = std::find_if(results.begin(), results.end(), [](const auto& result) {
        return result.state == CUBLAS_STATUS_SUCCESS && fixed_order(result.algo);
    });
    if (chosen == results.end())
        throw device_error("choosing an algorithm for " + text_of(product) + ": none of the " +
                           std::to_string(found) + " that cuBLASLt offers sums in a fixed order");
    return chosen->algo;
}

}  // namespace kvtape::model::cuda
