#include "trace/layer_layout.hpp"

#include "trace/schema.hpp"

namespace kvtape {
namespace {

using Sizes = std::vector<std::int64_t>;

Sizes kv_rows(const Shape& shape, std::int64_t tokens, std::int64_t) {
    return {shape.kv_heads, tokens, shape.head_dim};
}
Sizes query_rows(const Shape& shape, std::int64_t, std::int64_t queries) {
    return {shape.query_heads, queries, shape.head_dim};
}
Sizes per_query(const Shape& shape, std::int64_t, std::int64_t queries) {
    return {shape.query_heads, queries};
}
Sizes per_token(const Shape& shape, std::int64_t tokens, std::int64_t) {
    return {shape.query_heads, tokens};
}
Sizes per_pair(const Shape& shape, std::int64_t tokens, std::int64_t queries) {
    return {shape.query_heads, queries, tokens};
}
Sizes mean(const Shape& shape, std::int64_t, std::int64_t) {
    return {shape.query_heads, shape.head_dim};
}
Sizes covariance(const Shape& shape, std::int64_t, std::int64_t) {
    return {shape.query_heads, shape.head_dim, shape.head_dim};
}

constexpr auto element = TensorLayout::Stored::element_type;
constexpr auto float32 = TensorLayout::Stored::float32;

constexpr TensorLayout tensors[] = {
    {schema::attention, &LayerParts::attention, &LayerData::attention, float32, per_pair},
    {schema::column_sums, &LayerParts::column_sums, &LayerData::column_sums, float32, per_token},
    {schema::keys, &LayerParts::keys, &LayerData::keys, element, kv_rows},
    {schema::logsumexp, &LayerParts::logsumexp, &LayerData::logsumexp, float32, per_query},
    {schema::outputs, &LayerParts::outputs, &LayerData::outputs, element, query_rows},
    {schema::queries, &LayerParts::queries, &LayerData::queries, element, query_rows},
    {schema::query_covariance,
     &LayerParts::query_covariance,
     &LayerData::query_covariance,
     float32,
     covariance},
    {schema::query_mean, &LayerParts::query_mean, &LayerData::query_mean, float32, mean},
    {schema::values, &LayerParts::values, &LayerData::values, element, kv_rows},
};

}  // namespace

std::span<const TensorLayout> layer_tensors() {
    return tensors;
}

}  // namespace kvtape
