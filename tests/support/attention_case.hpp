#pragma once

#include "core/half.hpp"
#include "core/philox.hpp"
#include "core/types.hpp"
#include "model/backend.hpp"
#include "tests/support/reference.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

/// Attention over random queries, keys and values: what any backend makes of it, prompt in chunks,
/// and what it should be, in double over whole rows.
namespace kvtape::testing {

/// `count` numbers in (-1, 1) that elements of `type` hold exactly.
inline std::vector<float> random_values(ElementType type, std::size_t count, std::uint64_t stream) {
    const Philox random(7, stream);
    std::vector<float> values(count);
    for (std::size_t i = 0; i < count; ++i)
        values[i] = static_cast<float>(2.0 * random.uniform(i) - 1.0);
    round_to(type, values);
    return values;
}

struct AttentionCase {
    ElementType type = ElementType::float32;
    std::int32_t query_heads = 1;
    std::int32_t kv_heads = 1;
    std::int32_t head_dim = 64;
    Position length = 1;
    Position chunk = 512;
    Position window = 0;
    Position column_limit = 0;
    float sharpness = 1.0f;  ///< multiplies the queries; more makes the softmax steeper

    Shape shape() const {
        return {.layers = 1,
                .query_heads = query_heads,
                .kv_heads = kv_heads,
                .head_dim = head_dim,
                .hidden_size = query_heads * head_dim,
                .softmax_scale = 1.0 / std::sqrt(static_cast<double>(head_dim)),
                .element_type = type};
    }
    /// [length, heads * head_dim]
    std::vector<float> queries() const {
        std::vector<float> values = rows_of(query_heads, 1);
        for (float& value : values)
            value *= sharpness;
        round_to(type, values);
        return values;
    }
    std::vector<float> keys() const { return rows_of(kv_heads, 2); }
    std::vector<float> values() const { return rows_of(kv_heads, 3); }

  private:
    std::vector<float> rows_of(std::int32_t heads, std::uint64_t stream) const {
        return random_values(
            type,
            static_cast<std::size_t>(length) * static_cast<std::size_t>(heads * head_dim),
            stream);
    }
};

struct AttentionResult {
    std::vector<float> outputs;      ///< [length, query_heads * head_dim]
    std::vector<float> logsumexp;    ///< [query_heads, length]
    std::vector<float> column_sums;  ///< [query_heads, length]
    bool operator==(const AttentionResult&) const = default;
};

/// The case in double: for every head and query, the whole row of probabilities.
inline AttentionResult reference_attention(const AttentionCase& test) {
    const auto queries = test.queries();
    const auto keys = test.keys();
    const auto values = test.values();
    const std::int64_t dim = test.head_dim;
    const std::int64_t length = test.length;
    const std::int64_t query_columns = test.query_heads * dim;
    const std::int64_t key_columns = test.kv_heads * dim;
    const auto at = [](std::int64_t index) { return static_cast<std::size_t>(index); };

    AttentionResult result;
    result.outputs.resize(at(length * query_columns));
    result.logsumexp.resize(at(test.query_heads * length));
    std::vector<double> sums(at(test.query_heads * length));
    for (std::int64_t head = 0; head < test.query_heads; ++head) {
        const std::int64_t kv = head / test.shape().group() * dim;
        for (std::int64_t q = 0; q < length; ++q) {
            const float* query = &queries[at(q * query_columns + head * dim)];
            const std::int64_t begin =
                test.window == 0 ? 0 : std::max<std::int64_t>(0, q - test.window + 1);
            std::vector<double> logits;
            for (std::int64_t k = begin; k <= q; ++k)
                logits.push_back(test.shape().softmax_scale *
                                 reference::dot(query, &keys[at(k * key_columns + kv)], dim));
            const std::vector<double> weights = reference::softmax(logits);
            // ln sum e^x = x - ln softmax(x), for the best-conditioned x.
            const auto best = std::max_element(logits.begin(), logits.end());
            result.logsumexp[at(head * length + q)] =
                static_cast<float>(*best - std::log(weights[at(best - logits.begin())]));
            for (std::int64_t d = 0; d < dim; ++d) {
                double sum = 0.0;
                for (std::int64_t k = begin; k <= q; ++k)
                    sum += weights[at(k - begin)] *
                           static_cast<double>(values[at(k * key_columns + kv + d)]);
                result.outputs[at(q * query_columns + head * dim + d)] = static_cast<float>(sum);
            }
            if (q < test.column_limit)
                for (std::int64_t k = begin; k <= q; ++k)
                    sums[at(head * length + k)] += weights[at(k - begin)];
        }
    }
    result.column_sums.assign(sums.begin(), sums.end());
    return result;
}

/// Elements of the backend's type in its memory.
inline model::Buffer put(model::Backend& backend, const std::vector<float>& values) {
    std::vector<std::byte> stored(values.size() *
                                  static_cast<std::size_t>(bytes_of(backend.element_type())));
    encode(backend.element_type(), values, stored);
    model::Buffer buffer = backend.allocate(stored.size());
    backend.upload(buffer.data(), stored);
    return buffer;
}

/// `count` floats (not elements) at `device`.
inline std::vector<float> get_floats(model::Backend& backend,
                                     const void* device,
                                     std::size_t count) {
    std::vector<float> values(count);
    backend.download(std::as_writable_bytes(std::span(values)), device);
    return values;
}

/// The same on a backend, in chunks. The cache is longer than needed and holds NaN to begin with:
/// nothing may read beyond what was appended.
inline AttentionResult run_attention(model::Backend& backend, const AttentionCase& test) {
    const auto queries = test.queries();
    const auto keys = test.keys();
    const auto values = test.values();
    const Shape shape = test.shape();
    const std::int64_t dim = test.head_dim;
    const std::int64_t capacity = test.length + 5;
    const auto heads = static_cast<std::size_t>(test.query_heads);
    const std::vector<float> nothing(static_cast<std::size_t>(test.kv_heads * capacity * dim),
                                     std::nanf(""));
    const model::Buffer cached_keys = put(backend, nothing);
    const model::Buffer cached_values = put(backend, nothing);
    const model::Buffer sums =
        backend.allocate(heads * static_cast<std::size_t>(capacity) * sizeof(float));
    backend.clear(sums.data(), sums.bytes());
    std::vector<model::CacheSlot> slots;
    for (std::int64_t head = 0; head < test.kv_heads; ++head)
        slots.push_back({.begin = head * capacity, .capacity = capacity, .held = 0});
    const model::CacheLayer cache{
        .keys = cached_keys.data(), .values = cached_values.data(), .slots = slots};

    AttentionResult result;
    result.logsumexp.resize(heads * static_cast<std::size_t>(test.length));
    for (Position first = 0; first < test.length; first += test.chunk) {
        const Position rows = std::min(test.chunk, test.length - first);
        const auto slice = [&](const std::vector<float>& all, std::int64_t columns) {
            return put(backend,
                       {all.begin() + first * columns, all.begin() + (first + rows) * columns});
        };
        const model::Buffer new_queries = slice(queries, test.query_heads * dim);
        const model::Buffer new_keys = slice(keys, test.kv_heads * dim);
        const model::Buffer new_values = slice(values, test.kv_heads * dim);
        const model::Buffer outputs = backend.allocate(new_queries.bytes());
        const model::Buffer logsumexp =
            backend.allocate(heads * static_cast<std::size_t>(rows) * sizeof(float));
        backend.append({new_keys.data(), rows, test.kv_heads * dim},
                       {new_values.data(), rows, test.kv_heads * dim},
                       shape,
                       cache);
        backend.attend({.shape = shape,
                        .queries = {new_queries.data(), rows, test.query_heads * dim},
                        .cache = cache,
                        .outputs = {outputs.data(), rows, test.query_heads * dim},
                        .first = first,
                        .window = test.window,
                        .logsumexp = static_cast<float*>(logsumexp.data()),
                        .column_sums = static_cast<float*>(sums.data()),
                        .column_limit = test.column_limit});
        for (model::CacheSlot& slot : slots)
            slot.held += rows;
        const auto row_count = static_cast<std::size_t>(rows);
        const std::vector<float> out =
            backend.to_host(outputs.data(), row_count * heads * static_cast<std::size_t>(dim));
        result.outputs.insert(result.outputs.end(), out.begin(), out.end());
        const std::vector<float> lse = get_floats(backend, logsumexp.data(), heads * row_count);
        for (std::size_t head = 0; head < heads; ++head)
            std::copy_n(
                lse.begin() + static_cast<std::ptrdiff_t>(head * row_count),
                rows,
                result.logsumexp.begin() + static_cast<std::ptrdiff_t>(head) * test.length + first);
    }
    const std::vector<float> padded =
        get_floats(backend, sums.data(), heads * static_cast<std::size_t>(capacity));
    for (std::size_t head = 0; head < heads; ++head) {
        const auto begin = padded.begin() + static_cast<std::ptrdiff_t>(head) * capacity;
        result.column_sums.insert(result.column_sums.end(), begin, begin + test.length);
    }
    return result;
}

/// The largest |a - b|; infinite when one is NaN or the lengths differ.
inline double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
    if (a.size() != b.size())
        return INFINITY;
    double largest = 0.0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        const double difference = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
        if (!(difference <= largest))
            largest = std::isnan(difference) ? INFINITY : difference;
    }
    return largest;
}

}  // namespace kvtape::testing
