#include "analyze/kendall.hpp"

#include "core/philox.hpp"
#include "tests/support/catch.hpp"

#include <cmath>
#include <limits>
#include <vector>

using namespace kvtape;

namespace {

int sign_of(float difference) {
    return difference > 0.0f ? 1 : difference < 0.0f ? -1 : 0;
}

/// Looks at every pair.
std::optional<double> naive_tau(const std::vector<float>& a, const std::vector<float>& b) {
    std::int64_t balance = 0, untied_a = 0, untied_b = 0;
    for (std::size_t i = 0; i < a.size(); ++i)
        for (std::size_t j = 0; j < i; ++j) {
            if (!std::isfinite(a[i]) || !std::isfinite(b[i]) || !std::isfinite(a[j]) ||
                !std::isfinite(b[j]))
                continue;
            const int in_a = sign_of(a[i] - a[j]), in_b = sign_of(b[i] - b[j]);
            balance += in_a * in_b;
            untied_a += in_a != 0 ? 1 : 0;
            untied_b += in_b != 0 ? 1 : 0;
        }
    if (untied_a == 0 || untied_b == 0)
        return std::nullopt;
    return static_cast<double>(balance) /
           std::sqrt(static_cast<double>(untied_a) * static_cast<double>(untied_b));
}

}  // namespace

TEST_CASE("tau-b is what counting every pair gives", "[analyze][kendall]") {
    const Philox random(7, 1);
    std::uint64_t draw = 0;
    const auto next = [&](std::uint32_t bound) { return random.below(draw++, bound); };
    for (int round = 0; round < 500; ++round) {
        const std::uint32_t values = 1 + next(30);
        std::vector<float> a(next(60)), b(a.size());
        for (std::size_t i = 0; i < a.size(); ++i) {
            a[i] = static_cast<float>(next(values)) / 4.0f;
            b[i] = static_cast<float>(next(values)) / 4.0f;
            if (next(12) == 0)
                a[i] = std::numeric_limits<float>::infinity();
            if (next(12) == 0)
                b[i] = std::numeric_limits<float>::quiet_NaN();
        }
        INFO(round);
        // Both count whole pairs, so that the quotients are the same bits.
        CHECK(kendall_tau_b(a, b) == naive_tau(a, b));
    }
}

TEST_CASE("tau-b knows order, reversal and constants", "[analyze][kendall]") {
    const std::vector<float> up = {1, 2, 3, 4}, down = {4, 3, 2, 1}, flat = {1, 1, 1, 1};
    CHECK(kendall_tau_b(up, up) == 1.0);
    CHECK(kendall_tau_b(up, down) == -1.0);
    CHECK_FALSE(kendall_tau_b(up, flat));
    CHECK_FALSE(kendall_tau_b({}, {}));
    CHECK_FALSE(kendall_tau_b(std::vector<float>{1}, std::vector<float>{2}));
}
