#include "model/backend.hpp"

#include "core/half.hpp"
#include "core/kernels.hpp"
#include "core/parallel.hpp"
#include "model/cpu/attention.hpp"
#include "model/cpu/linear.hpp"
#include "model/cpu/rows.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>

namespace kvtape::model {
namespace {

using namespace cpu;

/// Rows of one parallel item of the row-wise operations.
constexpr std::int64_t strip_rows = 16;
constexpr std::align_val_t alignment{64};
/// Models of at most this size stay packed in memory beside the file.
constexpr std::int64_t most_kept_bytes = std::int64_t{64} << 20;

const CpuWeight& cpu_weight(const Weight& weight) {
    return static_cast<const CpuWeight&>(weight);
}

/// Activations are stored as real elements of the chosen type, so that the cache has its real size;
/// every operation computes in float32 and rounds its result once. The order of every sum is fixed.
class CpuBackend final : public Backend {
  public:
    CpuBackend(ElementType type, int threads) : type_(type), threads_(std::max(threads, 1)) {}

    std::string name() const override { return "cpu"; }
    std::string description() const override { return "cpu"; }
    ElementType element_type() const override { return type_; }

    Buffer allocate(std::size_t bytes) override {
        return {::operator new(std::max<std::size_t>(bytes, 1), alignment),
                bytes,
                [](void* data) noexcept { ::operator delete(data, alignment); }};
    }
    void upload(void* device, std::span<const std::byte> host) override {
        std::memcpy(device, host.data(), host.size());
    }
    void download(std::span<std::byte> host, const void* device) override {
        std::memcpy(host.data(), device, host.size());
    }
    void clear(void* device, std::size_t bytes) override { std::memset(device, 0, bytes); }
    void synchronize() override {}

    std::unique_ptr<Weight> prepare(std::span<const std::byte> stored,
                                    ElementType type,
                                    std::int64_t rows,
                                    std::int64_t columns) override {
        weight_bytes_ += static_cast<std::int64_t>(stored.size());
        return std::make_unique<CpuWeight>(stored, type, rows, columns);
    }

    void embed(std::span<const std::int32_t> tokens,
               const Weight& table,
               Activations out) override {
        for_rows(out, Results::Start::anything, [&](std::int64_t row, std::span<float> result) {
            cpu_weight(table).read_row(tokens[static_cast<std::size_t>(row)], result);
        });
    }

    void rms_norm(Activations x, const Weight& weight, float epsilon, Activations out) override {
        const std::span<const float> weights = cpu_weight(weight).vector();
        for_rows(out, Results::Start::anything, [&](std::int64_t row, std::span<float> result) {
            const Floats values = row_of(x, row);
            const double mean = static_cast<double>(dot(values.span(), values.span())) /
                                static_cast<double>(x.columns);
            const auto factor =
                static_cast<float>(1.0 / std::sqrt(mean + static_cast<double>(epsilon)));
            for (std::size_t i = 0; i < result.size(); ++i)
                result[i] = values.data()[i] * factor * weights[i];
        });
    }

    void linear(Activations x, const Weight& weight, const Weight* bias, Activations out) override {
        cpu::linear(type_,
                    x,
                    cpu_weight(weight),
                    bias == nullptr ? std::span<const float>() : cpu_weight(*bias).vector(),
                    out,
                    weight_bytes_ <= most_kept_bytes ? Keep::yes : Keep::no,
                    threads_for(x.rows * x.columns * out.columns),
                    linear_scratch_);
    }

    void rope(Activations x,
              std::int32_t head_dim,
              std::span<const double> inverse_frequencies,
              double scale,
              Position first) override {
        const std::size_t half = inverse_frequencies.size();
        for_rows(x, Results::Start::old_values, [&](std::int64_t row, std::span<float> result) {
            std::vector<float> cosines(half), sines(half);
            for (std::size_t i = 0; i < half; ++i) {
                const double angle = static_cast<double>(first + row) * inverse_frequencies[i];
                cosines[i] = static_cast<float>(std::cos(angle) * scale);
                sines[i] = static_cast<float>(std::sin(angle) * scale);
            }
            for (std::size_t head = 0; head < result.size();
                 head += static_cast<std::size_t>(head_dim))
                for (std::size_t i = 0; i < half; ++i) {
                    float& even = result[head + i];
                    float& odd = result[head + half + i];
                    const float rotated = even * cosines[i] - odd * sines[i];
                    odd = odd * cosines[i] + even * sines[i];
                    even = rotated;
                }
        });
    }

    void append(Activations keys,
                Activations values,
                const Shape& shape,
                CacheLayer cache) override {
        const auto bytes = static_cast<std::size_t>(shape.head_dim * bytes_of(type_));
        const auto copy = [&](const Activations& from, void* to) {
            for (std::int64_t row = 0; row < from.rows; ++row)
                for (std::int64_t head = 0; head < shape.kv_heads; ++head) {
                    const CacheSlot& slot = cache.slots[static_cast<std::size_t>(head)];
                    std::memcpy(
                        element(type_, to, (slot.begin + slot.held + row) * shape.head_dim),
                        element(type_, from.data, row * from.columns + head * shape.head_dim),
                        bytes);
                }
        };
        copy(keys, cache.keys);
        copy(values, cache.values);
    }

    void gather(const void* from,
                std::span<const std::int64_t> rows,
                std::size_t row_bytes,
                void* to) override {
        auto* next = static_cast<std::byte*>(to);
        for (const std::int64_t row : rows) {
            std::memcpy(
                next,
                static_cast<const std::byte*>(from) + static_cast<std::size_t>(row) * row_bytes,
                row_bytes);
            next += row_bytes;
        }
    }

    void attend(const Attention& attention) override {
        std::int64_t entries = 0;
        for (const CacheSlot& slot : attention.cache.slots)
            entries = std::max(entries, slot.held + attention.queries.rows);
        cpu::attend(type_,
                    attention,
                    threads_for(attention.queries.rows * attention.queries.columns * entries),
                    attention_scratch_);
    }

    void swiglu(Activations gate, Activations up, Activations out) override {
        for_rows(out, Results::Start::anything, [&](std::int64_t row, std::span<float> result) {
            const Floats gates = row_of(gate, row);
            const Floats ups = row_of(up, row);
            // `out` may be `gate`: the exponentials need a place of their own.
            std::vector<float> exponentials(result.size());
            for (std::size_t i = 0; i < result.size(); ++i)
                exponentials[i] = -gates.data()[i];
            exp_shifted(exponentials, 0.0f);
            for (std::size_t i = 0; i < result.size(); ++i)
                result[i] = gates.data()[i] / (1.0f + exponentials[i]) * ups.data()[i];
        });
    }

    void add(Activations x, Activations y) override {
        for_rows(x, Results::Start::old_values, [&](std::int64_t row, std::span<float> result) {
            const Floats values = row_of(y, row);
            for (std::size_t i = 0; i < result.size(); ++i)
                result[i] += values.data()[i];
        });
    }

    std::vector<float> to_host(const void* device, std::size_t count) override {
        const Floats values(type_, device, static_cast<std::int64_t>(count));
        return {values.span().begin(), values.span().end()};
    }

  private:
    Floats row_of(const Activations& x, std::int64_t row) const {
        return {type_, element(type_, x.data, row * x.columns), x.columns};
    }

    /// Waking a second thread costs more than a small operation, such as a decoding step.
    int threads_for(std::int64_t multiplications) const {
        constexpr std::int64_t worth_sharing = 1 << 21;
        return multiplications < worth_sharing ? 1 : threads_;
    }

    /// Calls `body(row, result)` for every row of `out`, in parallel, and stores what it wrote.
    template <typename Body>
    void for_rows(Activations out, Results::Start start, const Body& body) const {
        const std::int64_t strips = (out.rows + strip_rows - 1) / strip_rows;
        // An element, read from memory and rounded, takes as long as some thirty multiplications.
        const int threads = threads_for(out.rows * out.columns * 32);
        parallel_for(static_cast<std::size_t>(strips), threads, [&](std::size_t strip) {
            const std::int64_t begin = static_cast<std::int64_t>(strip) * strip_rows;
            for (std::int64_t row = begin; row < std::min(out.rows, begin + strip_rows); ++row) {
                Results results(
                    type_, element(type_, out.data, row * out.columns), out.columns, start);
                body(row, results.span());
                results.store();
            }
        });
    }

    ElementType type_;
    int threads_;
    std::int64_t weight_bytes_ = 0;  ///< of all weights that were prepared
    AttentionScratch attention_scratch_;
    LinearScratch linear_scratch_;
};

}  // namespace

std::unique_ptr<Backend> cpu_backend(ElementType type, int threads) {
    return std::make_unique<CpuBackend>(type, threads);
}

}  // namespace kvtape::model
