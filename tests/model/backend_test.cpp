#include "model/backend.hpp"

#include "tests/model/backend_checks.hpp"
#include "tests/support/catch.hpp"

#include <functional>

using namespace kvtape;
using namespace kvtape::model;
using namespace kvtape::testing;

namespace {

/// Runs `body` on the cpu backend for every element type.
void on_cpu(const std::function<void(Backend&)>& body) {
    for (const ElementType type : types) {
        CAPTURE(name_of(type));
        body(*cpu_backend(type, 1));
    }
}

}  // namespace

TEST_CASE("on the cpu, weights of every stored type become elements, rounded to nearest",
          "[model][backend]") {
    on_cpu(check_prepare);
}

TEST_CASE("on the cpu, rms_norm divides rows by their root mean square", "[model][backend]") {
    on_cpu(check_rms_norm);
}

TEST_CASE("on the cpu, linear multiplies by the transposed weight without TF32",
          "[model][backend]") {
    on_cpu(check_linear);
}

TEST_CASE("on the cpu, linear takes rows that begin anywhere in a buffer", "[model][backend]") {
    on_cpu(check_linear_offset);
}

TEST_CASE(
    "on the cpu, linear gives the same bits whether weights stay packed or not, for any threads",
    "[model][backend]") {
    constexpr std::int64_t rows = 70, inputs = 1100, outputs = 300;
    // Weights of more than 64 MiB are not kept packed.
    constexpr int copies = 120;
    for (const ElementType type : types)
        for (const ElementType stored_type : types) {
            CAPTURE(name_of(type), name_of(stored_type));
            const auto x = random_values(type, rows * inputs, 5);
            const auto w = random_values(stored_type, outputs * inputs, 6);
            std::vector<std::byte> stored(w.size() *
                                          static_cast<std::size_t>(bytes_of(stored_type)));
            encode(stored_type, w, stored);
            const auto product = [&](int prepared, int threads, std::int64_t count) {
                const auto backend = cpu_backend(type, threads);
                std::vector<std::unique_ptr<Weight>> weights;
                for (int i = 0; i < prepared; ++i)
                    weights.push_back(backend->prepare(stored, stored_type, outputs, inputs));
                const Buffer in = put(*backend, x);
                const Buffer out = backend->allocate(rows * outputs * sizeof(float));
                for (int call = 0; call < 2; ++call)
                    backend->linear({in.data(), count, inputs},
                                    *weights.front(),
                                    nullptr,
                                    {out.data(), count, outputs});
                return backend->to_host(out.data(), static_cast<std::size_t>(count * outputs));
            };
            const std::vector<float> kept = product(1, 1, rows);
            CHECK(product(copies, 1, rows) == kept);
            CHECK(product(copies, 5, rows) == kept);
            const std::vector<float> first(kept.begin(), kept.begin() + outputs);
            CHECK(product(copies, 2, 1) == first);
            CHECK(product(1, 2, 1) == first);
        }
}

TEST_CASE("on the cpu, rope rotates pairs half a head apart by the angle of their position",
          "[model][backend]") {
    on_cpu(check_rope);
}

TEST_CASE("on the cpu, swiglu and add work element by element", "[model][backend]") {
    on_cpu(check_elementwise);
}

TEST_CASE("on the cpu, attention, its log-sum-exp and its column sums match double arithmetic",
          "[model][backend]") {
    on_cpu(check_shapes);
}

TEST_CASE("on the cpu, attention takes a prompt in chunks of any size", "[model][backend]") {
    on_cpu(check_chunks);
}

TEST_CASE("on the cpu, attention within a sliding window sees only that window",
          "[model][backend]") {
    on_cpu(check_windows);
}

TEST_CASE("on the cpu, attention stays exact when one key takes nearly everything",
          "[model][backend]") {
    on_cpu(check_steep);
}

TEST_CASE("on the cpu, queries at or above the column limit add nothing", "[model][backend]") {
    on_cpu(check_column_limit);
}
