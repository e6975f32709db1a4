#pragma once

#include "tests/support/attention_case.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

/// Attention over a cache whose KV heads hold differently many entries, as after an eviction.
namespace kvtape::testing {

struct RaggedCase {
    ElementType type = ElementType::float32;
    std::int32_t group = 2;
    std::int32_t head_dim = 64;
    std::vector<Position> held = {5, 70};  ///< of every KV head, before the new rows
    Position rows = 3;
    Position first = 200;  ///< position of the first new row
    Position column_limit = 0;

    Shape shape() const {
        const auto kv_heads = static_cast<std::int32_t>(held.size());
        return {.layers = 1,
                .query_heads = group * kv_heads,
                .kv_heads = kv_heads,
                .head_dim = head_dim,
                .hidden_size = 8,
                .softmax_scale = 1.0 / std::sqrt(static_cast<double>(head_dim)),
                .element_type = type};
    }
    std::size_t columns(std::int32_t heads) const {
        return static_cast<std::size_t>(heads) * static_cast<std::size_t>(head_dim);
    }
    std::vector<float> queries() const {
        return random_values(
            type, static_cast<std::size_t>(rows) * columns(shape().query_heads), 21);
    }
    /// What one KV head holds and then gets, [held + rows, head_dim].
    std::vector<float> entries(std::size_t head, std::uint64_t stream) const {
        return random_values(
            type, static_cast<std::size_t>(held[head] + rows) * columns(1), stream + head);
    }
    std::vector<float> keys(std::size_t head) const { return entries(head, 100); }
    std::vector<float> values(std::size_t head) const { return entries(head, 200); }
};

struct RaggedResult {
    std::vector<float> outputs;      ///< [rows, query_heads * head_dim]
    std::vector<float> column_sums;  ///< for every query head its held + rows entries
};

/// In double.
inline RaggedResult reference_ragged(const RaggedCase& test) {
    const Shape shape = test.shape();
    const std::vector<float> queries = test.queries();
    const std::int64_t dim = test.head_dim, columns = shape.query_heads * dim;
    RaggedResult result;
    result.outputs.resize(static_cast<std::size_t>(test.rows * columns));
    for (std::int32_t head = 0; head < shape.query_heads; ++head) {
        const auto kv = static_cast<std::size_t>(head / test.group);
        const std::vector<float> keys = test.keys(kv), values = test.values(kv);
        std::vector<double> sums(static_cast<std::size_t>(test.held[kv] + test.rows));
        for (Position row = 0; row < test.rows; ++row) {
            std::vector<double> logits;
            for (std::int64_t j = 0; j <= test.held[kv] + row; ++j)
                logits.push_back(
                    shape.softmax_scale *
                    reference::dot(&queries[static_cast<std::size_t>(row * columns + head * dim)],
                                   &keys[static_cast<std::size_t>(j * dim)],
                                   dim));
            const std::vector<double> weights = reference::softmax(logits);
            for (std::int64_t d = 0; d < dim; ++d) {
                double sum = 0.0;
                for (std::size_t j = 0; j < weights.size(); ++j)
                    sum +=
                        weights[j] * static_cast<double>(values[j * static_cast<std::size_t>(dim) +
                                                                static_cast<std::size_t>(d)]);
                result.outputs[static_cast<std::size_t>(row * columns + head * dim + d)] =
                    static_cast<float>(sum);
            }
            if (test.first + row < test.column_limit)
                for (std::size_t j = 0; j < weights.size(); ++j)
                    sums[j] += weights[j];
        }
        result.column_sums.insert(result.column_sums.end(), sums.begin(), sums.end());
    }
    return result;
}

/// On a backend: the held entries are gathered from a longer cache, the new ones appended. What is
/// not theirs holds NaN.
inline RaggedResult run_ragged(model::Backend& backend, const RaggedCase& test) {
    constexpr std::int64_t room = 4;
    const Shape shape = test.shape();
    const auto dim = static_cast<std::size_t>(test.head_dim);
    const std::size_t entry_bytes = dim * static_cast<std::size_t>(bytes_of(test.type));
    std::vector<model::CacheSlot> slots;
    std::int64_t begin = 0;
    for (const Position held : test.held) {
        slots.push_back({.begin = begin, .capacity = held + test.rows + room, .held = held});
        begin += slots.back().capacity;
    }
    const std::vector<float> nothing(static_cast<std::size_t>(begin) * dim, std::nanf(""));
    const model::Buffer keys = put(backend, nothing), values = put(backend, nothing);
    const auto kv_columns = test.columns(shape.kv_heads);
    std::vector<float> new_keys(static_cast<std::size_t>(test.rows) * kv_columns);
    std::vector<float> new_values(new_keys.size());
    const auto fill = [&](std::size_t head,
                          const std::vector<float>& entries,
                          const model::Buffer& cache,
                          std::vector<float>& fresh) {
        const auto held = static_cast<std::size_t>(test.held[head]);
        // Every entry stands behind one that is not wanted.
        std::vector<float> longer(2 * held * dim, std::nanf(""));
        std::vector<std::int64_t> rows;
        for (std::size_t i = 0; i < held; ++i) {
            rows.push_back(static_cast<std::int64_t>(2 * i + 1));
            std::copy_n(entries.begin() + static_cast<std::ptrdiff_t>(i * dim),
                        dim,
                        longer.begin() + static_cast<std::ptrdiff_t>((2 * i + 1) * dim));
        }
        if (held > 0)
            backend.gather(put(backend, longer).data(),
                           rows,
                           entry_bytes,
                           static_cast<std::byte*>(cache.data()) +
                               static_cast<std::size_t>(slots[head].begin) * entry_bytes);
        backend.synchronize();
        for (std::size_t row = 0; row < static_cast<std::size_t>(test.rows); ++row)
            std::copy_n(entries.begin() + static_cast<std::ptrdiff_t>((held + row) * dim),
                        dim,
                        fresh.begin() + static_cast<std::ptrdiff_t>(row * kv_columns + head * dim));
    };
    for (std::size_t head = 0; head < test.held.size(); ++head) {
        fill(head, test.keys(head), keys, new_keys);
        fill(head, test.values(head), values, new_values);
    }
    const model::CacheLayer cache{.keys = keys.data(), .values = values.data(), .slots = slots};
    const model::Buffer appended_keys = put(backend, new_keys);
    const model::Buffer appended_values = put(backend, new_values);
    const auto width = static_cast<std::int64_t>(kv_columns);
    backend.append({appended_keys.data(), test.rows, width},
                   {appended_values.data(), test.rows, width},
                   shape,
                   cache);
    const model::Buffer queries = put(backend, test.queries());
    const model::Buffer outputs = backend.allocate(queries.bytes());
    const auto heads = static_cast<std::size_t>(shape.query_heads);
    const model::Buffer logsumexp =
        backend.allocate(heads * static_cast<std::size_t>(test.rows) * sizeof(float));
    const auto sum_count = static_cast<std::size_t>(begin) * static_cast<std::size_t>(test.group);
    const model::Buffer sums = backend.allocate(sum_count * sizeof(float));
    backend.clear(sums.data(), sums.bytes());
    const std::int64_t query_columns = shape.query_heads * test.head_dim;
    backend.attend({.shape = shape,
                    .queries = {queries.data(), test.rows, query_columns},
                    .cache = cache,
                    .outputs = {outputs.data(), test.rows, query_columns},
                    .first = test.first,
                    .window = 0,
                    .logsumexp = static_cast<float*>(logsumexp.data()),
                    .column_sums = static_cast<float*>(sums.data()),
                    .column_limit = test.column_limit});
    RaggedResult result;
    result.outputs = backend.to_host(
        outputs.data(), static_cast<std::size_t>(test.rows) * test.columns(shape.query_heads));
    const std::vector<float> padded = get_floats(backend, sums.data(), sum_count);
    for (std::size_t head = 0; head < heads; ++head) {
        const model::CacheSlot& slot = slots[head / static_cast<std::size_t>(test.group)];
        const auto line = static_cast<std::ptrdiff_t>(
            test.group * slot.begin + static_cast<std::int64_t>(head) % test.group * slot.capacity);
        result.column_sums.insert(result.column_sums.end(),
                                  padded.begin() + line,
                                  padded.begin() + line + slot.held + test.rows);
    }
    return result;
}

}  // namespace kvtape::testing
