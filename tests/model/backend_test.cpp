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
