#include "policies/parts/unturned.hpp"

#include "core/philox.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/layer.hpp"

#include <cmath>
#include <numeric>

using namespace kvtape;
using namespace kvtape::testing;

TEST_CASE("keys turned back and again are what they were, and have their length all the way",
          "[policies][rope]") {
    constexpr Shape shape{.layers = 1, .query_heads = 1, .kv_heads = 1, .head_dim = 9};
    const Layer layer = random_layer(shape, 0, 300, 301, Philox(5));
    ContextViews views(layer, {.keys = true}, QuerySource::agnostic);
    const HeadView& head = views.heads()[0];
    for (const bool interleaved : {false, true}) {
        const Rotation rotation{
            .rotary_dim = 6, .interleaved = interleaved, .inv_freq = {1.0, 0.1, 0.001}};
        const Matrix before = unturned_keys(head, rotation);
        Merges merges;
        merges.changed.assign(head.positions.begin(), head.positions.end());
        merges.keys.assign(before.data(), before.data() + before.size());
        turn_keys(merges, rotation);
        for (Eigen::Index i = 0; i < before.rows(); ++i) {
            CHECK(before.row(i).norm() == Approx(head.keys.row(i).norm()).epsilon(1e-6));
            for (Eigen::Index c = 0; c < before.cols(); ++c)
                CHECK(merges.keys[static_cast<std::size_t>(i * 9 + c)] ==
                      Approx(head.keys(i, c)).margin(1e-6));
        }
        CHECK(before.row(0) == head.keys.row(0));
        CHECK(before.rightCols(3) == head.keys.rightCols(3));
        const Eigen::Index second = interleaved ? 1 : 3;
        const double x = static_cast<double>(head.keys(200, 0));
        const double y = static_cast<double>(head.keys(200, second));
        CHECK(before(200, 0) ==
              Approx(x * std::cos(200.0) + y * std::sin(200.0)).epsilon(1e-5).margin(1e-6));
        CHECK(before(200, second) ==
              Approx(y * std::cos(200.0) - x * std::sin(200.0)).epsilon(1e-5).margin(1e-6));
    }
}
