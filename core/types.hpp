#pragma once

#include "core/element.hpp"

#include <Eigen/Core>

#include <compare>
#include <cstdint>

namespace kvtape {

/// Index of a token in its sequence, from 0. Absolute, never renumbered.
using Position = std::int32_t;

/// Row-major float matrix. Views never own; rows may be further apart than they are long.
using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using MatrixView = Eigen::Map<const Matrix, Eigen::Unaligned, Eigen::OuterStride<>>;
using MutableMatrixView = Eigen::Map<Matrix, Eigen::Unaligned, Eigen::OuterStride<>>;

/// A dense `rows x columns` view of `data`.
inline MatrixView view(const float* data, Eigen::Index rows, Eigen::Index columns) {
    return {data, rows, columns, Eigen::OuterStride<>(columns)};
}
inline MutableMatrixView mutable_view(float* data, Eigen::Index rows, Eigen::Index columns) {
    return {data, rows, columns, Eigen::OuterStride<>(columns)};
}
/// A view of nothing.
inline MatrixView no_rows() {
    return view(nullptr, 0, 0);
}
inline MatrixView view(const Matrix& matrix) {
    return view(matrix.data(), matrix.rows(), matrix.cols());
}
inline MutableMatrixView mutable_view(Matrix& matrix) {
    return mutable_view(matrix.data(), matrix.rows(), matrix.cols());
}

/// One KV head of one layer.
struct HeadId {
    std::int32_t layer = 0;
    std::int32_t head = 0;
    auto operator<=>(const HeadId&) const = default;
};

/// Tokens `[begin, end)` that go through the model together. A decoding block holds one token.
struct Block {
    Position begin = 0;
    Position end = 0;
    bool decoding = false;
    bool operator==(const Block&) const = default;
};

/// A piece of a context that a model repeated in a second pass: tokens `[begin, end)`, and the rows
/// `[first, first + count)` of what was recorded of the queries that repeated them.
struct ReplayChunk {
    Position begin = 0;
    Position end = 0;
    std::int32_t first = 0;
    std::int32_t count = 0;
    bool operator==(const ReplayChunk&) const = default;
};

/// The attention geometry of a model. Query head `h` reads KV head `h / group()`.
struct Shape {
    std::int32_t layers = 0;
    std::int32_t query_heads = 0;
    std::int32_t kv_heads = 0;
    std::int32_t head_dim = 0;
    std::int32_t hidden_size = 0;
    double softmax_scale = 0.0;  ///< multiplies q·k
    ElementType element_type = ElementType::float32;

    std::int32_t group() const { return query_heads / kv_heads; }
    /// Bytes of one token's key and value in one KV head.
    std::int64_t entry_bytes() const { return 2 * head_dim * bytes_of(element_type); }
    bool operator==(const Shape&) const = default;
};

}  // namespace kvtape
