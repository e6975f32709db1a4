#include "trace/layer_layout.hpp"

#include "trace/schema.hpp"

namespace kvtape {
namespace {

using Sizes = std::vector<std::int64_t>;

Sizes kv_rows(const Shape& shape, const SequenceSizes& sizes) {
    return {shape.kv_heads, sizes.tokens, shape.head_dim};
}
Sizes query_rows(const Shape& shape, const SequenceSizes& sizes) {
    return {shape.query_heads, sizes.queries, shape.head_dim};
}
Sizes per_query(const Shape& shape, const SequenceSizes& sizes) {
    return {shape.query_heads, sizes.queries};
}
Sizes per_token(const Shape& shape, const SequenceSizes& sizes) {
    return {shape.query_heads, sizes.tokens};
}
Sizes per_pair(const Shape& shape, const SequenceSizes& sizes) {
    return {shape.query_heads, sizes.queries, sizes.tokens};
}
Sizes mean(const Shape& shape, const SequenceSizes&) {
    return {shape.query_heads, shape.head_dim};
}
Sizes covariance(const Shape& shape, const SequenceSizes&) {
    return {shape.query_heads, shape.head_dim, shape.head_dim};
}
Sizes replay_rows(const Shape& shape, const SequenceSizes& sizes) {
    return {shape.query_heads, sizes.replayed, shape.head_dim};
}
Sizes per_replay(const Shape& shape, const SequenceSizes& sizes) {
    return {shape.query_heads, sizes.replayed};
}
Sizes per_replayed_token(const Shape&, const SequenceSizes& sizes) {
    return {sizes.replayed};
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
    {schema::replay_hidden_norm,
     &LayerParts::replay_hidden_norm,
     &LayerData::replay_hidden_norm,
     float32,
     per_replayed_token},
    {schema::replay_logsumexp,
     &LayerParts::replay_logsumexp,
     &LayerData::replay_logsumexp,
     float32,
     per_replay},
    {schema::replay_queries,
     &LayerParts::replay_queries,
     &LayerData::replay_queries,
     element,
     replay_rows},
    {schema::values, &LayerParts::values, &LayerData::values, element, kv_rows},
};

}  // namespace

std::span<const TensorLayout> layer_tensors() {
    return tensors;
}

}  // namespace kvtape
