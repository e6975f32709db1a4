#pragma once

#include "core/half.hpp"
#include "model/backend.hpp"
#include "tests/support/attention_case.hpp"
#include "tests/support/catch.hpp"

#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

/// What every backend must do, operation by operation, against double arithmetic.
namespace kvtape::testing {

using namespace model;

constexpr ElementType types[] = {ElementType::float32, ElementType::float16, ElementType::bfloat16};

/// Half a unit in the last place of elements of `type` near 1.
inline double rounding(ElementType type) {
    return type == ElementType::float32 ? 0x1p-24 : type == ElementType::float16 ? 0x1p-11 : 0x1p-8;
}

/// A weight with the stored elements it may point into.
struct StoredWeight {
    StoredWeight(Backend& backend,
                 const std::vector<float>& values,
                 std::int64_t rows,
                 std::int64_t columns)
        : stored(values.size() * static_cast<std::size_t>(bytes_of(backend.element_type()))) {
        encode(backend.element_type(), values, stored);
        weight = backend.prepare(stored, backend.element_type(), rows, columns);
    }
    const Weight& operator*() const { return *weight; }
    const Weight* get() const { return weight.get(); }

    std::vector<std::byte> stored;
    std::unique_ptr<Weight> weight;
};

/// Checks that what lies at `buffer` is `expected(i)`, up to one rounding to the element type and
/// `slack`, an absolute error of the float32 arithmetic before it.
inline void check_elements(Backend& backend,
                           const Buffer& buffer,
                           std::size_t count,
                           double slack,
                           const std::function<double(std::size_t)>& expected) {
    const std::vector<float> found = backend.to_host(buffer.data(), count);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const double value = expected(i);
        const double tolerance = slack + 1.01 * rounding(backend.element_type()) * std::abs(value);
        // Written so that NaN is wrong.
        if (!(std::abs(static_cast<double>(found[i]) - value) <= tolerance) && wrong++ < 3) {
            CAPTURE(i, found[i], value, tolerance);
            CHECK(std::abs(static_cast<double>(found[i]) - value) <= tolerance);
        }
    }
    CHECK(wrong == 0);
}

inline double wide(float value) {
    return static_cast<double>(value);
}

inline void check_attention(Backend& backend, AttentionCase test) {
    test.type = backend.element_type();
    CAPTURE(test.query_heads, test.kv_heads, test.head_dim, test.length, test.chunk);
    CAPTURE(test.window, test.column_limit, test.sharpness);
    const AttentionResult found = run_attention(backend, test);
    const AttentionResult expected = reference_attention(test);
    const bool is_float = test.type == ElementType::float32;
    // 16-bit weights are rounded before they meet the values, the outputs once more.
    CHECK(largest_difference(found.outputs, expected.outputs) <
          (is_float ? 1e-5 : 3.0 * rounding(test.type)));
    CHECK(largest_difference(found.logsumexp, expected.logsumexp) < 2e-5);
    // A column adds up to `length` probabilities of at most 1, each with float32 scores.
    CHECK(largest_difference(found.column_sums, expected.column_sums) <
          1e-6 * (10.0 + test.column_limit));
}

inline void check_prepare(Backend& backend) {
    for (const ElementType stored_type : types) {
        CAPTURE(name_of(stored_type));
        const std::vector<float> values = random_values(stored_type, 300, 2);
        std::vector<std::byte> stored(values.size() *
                                      static_cast<std::size_t>(bytes_of(stored_type)));
        encode(stored_type, values, stored);
        const auto table = backend.prepare(stored, stored_type, 10, 30);
        const std::vector<std::int32_t> rows = {9, 0, 4, 4};
        const Buffer out = backend.allocate(4 * 30 * sizeof(float));
        backend.embed(rows, *table, {out.data(), 4, 30});

        std::vector<float> rounded = values;
        round_to(backend.element_type(), rounded);
        std::vector<float> expected;
        for (const std::int32_t row : rows)
            expected.insert(
                expected.end(), rounded.begin() + row * 30, rounded.begin() + row * 30 + 30);
        CHECK(backend.to_host(out.data(), expected.size()) == expected);
    }
}

inline void check_rms_norm(Backend& backend) {
    for (const std::int64_t columns : {8, 256, 1000, 4096}) {
        CAPTURE(columns);
        constexpr std::int64_t rows = 7;
        const auto count = static_cast<std::size_t>(rows * columns);
        const auto width = static_cast<std::size_t>(columns);
        const auto x = random_values(backend.element_type(), count, 3);
        const auto gain = random_values(backend.element_type(), width, 4);
        const Buffer in = put(backend, x);
        const Buffer out = backend.allocate(in.bytes());
        backend.rms_norm({in.data(), rows, columns},
                         *StoredWeight(backend, gain, 1, columns),
                         1e-5f,
                         {out.data(), rows, columns});
        check_elements(backend, out, count, 2e-6, [&](std::size_t i) {
            double squares = 0.0;
            for (std::size_t column = 0; column < width; ++column)
                squares += std::pow(wide(x[i / width * width + column]), 2.0);
            return wide(x[i]) / std::sqrt(squares / static_cast<double>(columns) + 1e-5) *
                   wide(gain[i % width]);
        });
    }
}

inline void check_linear(Backend& backend) {
    struct Size {
        std::int64_t rows, inputs, outputs;
    };
    for (const Size size : {Size{1, 256, 512}, {3, 64, 96}, {65, 256, 1283}, {512, 512, 256}})
        for (const bool biased : {false, true}) {
            CAPTURE(size.rows, size.inputs, size.outputs, biased);
            const auto inputs = static_cast<std::size_t>(size.inputs);
            const auto outputs = static_cast<std::size_t>(size.outputs);
            const std::size_t rows = static_cast<std::size_t>(size.rows);
            const auto x = random_values(backend.element_type(), rows * inputs, 5);
            const auto w = random_values(backend.element_type(), outputs * inputs, 6);
            const auto b = random_values(backend.element_type(), outputs, 7);
            const Buffer in = put(backend, x);
            const Buffer out = backend.allocate(rows * outputs * sizeof(float));
            const StoredWeight prepared(backend, w, size.outputs, size.inputs);
            const StoredWeight bias(backend, b, 1, size.outputs);
            backend.linear({in.data(), size.rows, size.inputs},
                           *prepared,
                           biased ? bias.get() : nullptr,
                           {out.data(), size.rows, size.outputs});
            // float32 sums of products below 1; TF32 would miss this by a factor of 100.
            const double slack = 2e-7 * static_cast<double>(inputs);
            check_elements(backend, out, rows * outputs, slack, [&](std::size_t i) {
                return reference::dot(
                           &x[i / outputs * inputs], &w[i % outputs * inputs], size.inputs) +
                       (biased ? wide(b[i % outputs]) : 0.0);
            });
        }
}

inline void check_linear_offset(Backend& backend) {
    constexpr std::size_t inputs = 24;
    const auto x = random_values(backend.element_type(), 5 * inputs, 5);
    const auto w = random_values(backend.element_type(), 16 * inputs, 6);
    const Buffer in = put(backend, x);
    const Buffer out = backend.allocate(16 * sizeof(float));
    const StoredWeight prepared(backend, w, 16, inputs);
    for (std::size_t row = 0; row < 5; ++row) {
        CAPTURE(row);
        const auto skipped =
            row * inputs * static_cast<std::size_t>(bytes_of(backend.element_type()));
        backend.linear({static_cast<std::byte*>(in.data()) + skipped, 1, inputs},
                       *prepared,
                       nullptr,
                       {out.data(), 1, 16});
        check_elements(backend, out, 16, 5e-6, [&](std::size_t i) {
            return reference::dot(&x[row * inputs], &w[i * inputs], inputs);
        });
    }
}

inline void check_rope(Backend& backend) {
    for (const std::int32_t head_dim : {32, 64, 80, 128}) {
        for (const Position first : {0, 130000}) {
            CAPTURE(head_dim, first);
            constexpr std::int64_t rows = 5;
            constexpr std::int64_t heads = 3;
            const auto half = static_cast<std::size_t>(head_dim / 2);
            std::vector<double> frequencies(half);
            for (std::size_t i = 0; i < half; ++i)
                frequencies[i] =
                    std::pow(10000.0, -static_cast<double>(i) / static_cast<double>(half));
            const auto count = static_cast<std::size_t>(rows * heads * head_dim);
            const auto x = random_values(backend.element_type(), count, 8);
            const Buffer buffer = put(backend, x);
            backend.rope(
                {buffer.data(), rows, heads * head_dim}, head_dim, frequencies, 1.5, first);
            check_elements(backend, buffer, count, 1e-6, [&](std::size_t i) {
                const std::size_t row = i / static_cast<std::size_t>(heads * head_dim);
                const std::size_t dim = i % static_cast<std::size_t>(head_dim);
                const double angle = (first + static_cast<double>(row)) * frequencies[dim % half];
                const double partner = dim < half ? -wide(x[i + half]) : wide(x[i - half]);
                return 1.5 * (wide(x[i]) * std::cos(angle) + partner * std::sin(angle));
            });
        }
    }
}

inline void check_elementwise(Backend& backend) {
    constexpr std::int64_t rows = 3;
    constexpr std::int64_t columns = 333;
    constexpr std::size_t count = rows * columns;
    auto a = random_values(backend.element_type(), count, 9);
    const auto b = random_values(backend.element_type(), count, 10);
    a[0] = -200.0f;  // e^200 is infinite in float32
    a[1] = 200.0f;
    const Buffer left = put(backend, a);
    const Buffer right = put(backend, b);
    const Buffer out = backend.allocate(left.bytes());
    backend.swiglu(
        {left.data(), rows, columns}, {right.data(), rows, columns}, {out.data(), rows, columns});
    check_elements(backend, out, count, 1e-5, [&](std::size_t i) {
        return wide(a[i]) / (1.0 + std::exp(-wide(a[i]))) * wide(b[i]);
    });
    backend.add({left.data(), rows, columns}, {right.data(), rows, columns});
    check_elements(
        backend, left, count, 1e-6, [&](std::size_t i) { return wide(a[i]) + wide(b[i]); });
}

inline void check_shapes(Backend& backend) {
    for (const std::int32_t head_dim : {8, 32, 64, 80, 96, 128, 256})
        check_attention(backend,
                        {.query_heads = 2,
                         .kv_heads = 1,
                         .head_dim = head_dim,
                         .length = 150,
                         .column_limit = 140});
    for (const std::int32_t kv_heads : {8, 4, 2, 1})
        check_attention(backend,
                        {.query_heads = 8, .kv_heads = kv_heads, .length = 97, .column_limit = 97});
    for (const Position length : {1, 2, 63, 64, 65, 129, 700})
        check_attention(backend, {.length = length, .column_limit = length});
}

inline void check_chunks(Backend& backend) {
    for (const Position chunk : {1, 7, 64, 100, 257})
        check_attention(
            backend,
            {.query_heads = 4, .kv_heads = 2, .length = 300, .chunk = chunk, .column_limit = 211});
}

inline void check_windows(Backend& backend) {
    for (const Position window : {1, 5, 64, 65, 200, 1000})
        check_attention(backend,
                        {.length = 330, .chunk = 128, .window = window, .column_limit = 320});
}

inline void check_steep(Backend& backend) {
    AttentionCase test{.type = backend.element_type(),
                       .query_heads = 2,
                       .kv_heads = 1,
                       .length = 200,
                       .column_limit = 200,
                       .sharpness = 16.0f};
    const AttentionResult found = run_attention(backend, test);
    const AttentionResult expected = reference_attention(test);
    CHECK(largest_difference(found.logsumexp, expected.logsumexp) < 1e-4);
    CHECK(largest_difference(found.outputs, expected.outputs) < 1e-4 + 3.0 * rounding(test.type));
    CHECK(largest_difference(found.column_sums, expected.column_sums) < 1e-3);
}

inline void check_column_limit(Backend& backend) {
    for (const Position limit : {0, 1, 40, 50}) {
        const AttentionCase test{
            .type = backend.element_type(), .length = 130, .chunk = 50, .column_limit = limit};
        const AttentionResult found = run_attention(backend, test);
        double total = 0.0;
        for (const float sum : found.column_sums)
            total += wide(sum);
        CHECK(std::abs(total - limit) < 1e-4);
    }
}

}  // namespace kvtape::testing
