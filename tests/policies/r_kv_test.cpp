#include "tests/support/twins/r_kv.hpp"

#include "policies/parts/redundancy.hpp"
#include "tests/support/twin_case.hpp"

#include <numeric>

using namespace kvtape;
using namespace kvtape::testing;

namespace {

std::vector<float> fresh_similarity(MatrixView keys, float threshold) {
    std::vector<Position> positions(static_cast<std::size_t>(keys.rows()));
    std::iota(positions.begin(), positions.end(), 0);
    return SimilarKeys().mean_similarity(positions, keys, threshold);
}

}  // namespace

TEST_CASE("r_kv agrees with its double-precision twin", "[policies][r_kv][twin]") {
    for (int i = 0; i < shapes; ++i) {
        const Case drawn(i);
        const reference::RKv options{.window = static_cast<std::size_t>(drawn.draw(20, 1, 12)),
                                     .kernel = 1 + 2 * drawn.draw(21, 0, 3),
                                     .lambda = 0.125 * drawn.draw(22, 2, 8),
                                     .threshold = 2.0};
        // A threshold that no cosine reaches leaves nothing to a hair's breadth between two floats.
        const std::string spec = "r_kv:window=" + std::to_string(options.window) +
                                 ",kernel=" + std::to_string(options.kernel) +
                                 ",lambda=" + std::to_string(options.lambda) + ",threshold=1";
        compare(
            drawn,
            spec,
            [&](const HeadView& head) { return reference::r_kv(head, drawn.layer.shape, options); },
            [&](Position tokens) {
                return std::min(tokens, static_cast<Position>(options.window));
            },
            1e-6);
    }
}

TEST_CASE("the row sums of similarities equal the matrix, what is spared taken off",
          "[policies][r_kv]") {
    for (int i = 0; i < shapes; ++i) {
        const Case drawn(i, 1, 90);
        const Shape& shape = drawn.layer.shape;
        const MatrixView keys =
            view(drawn.layer.data.keys.data(), drawn.layer.context_len, shape.head_dim);
        const std::vector<float> found = fresh_similarity(keys, 0.3f);
        const reference::Row twin = reference::mean_similarity(keys, static_cast<double>(0.3f));
        REQUIRE(found.size() == twin.size());
        for (std::size_t k = 0; k < twin.size(); ++k)
            CHECK(static_cast<double>(found[k]) == Approx(twin[k]).margin(1e-5));
    }
}

TEST_CASE("similarities span tiles of rows and columns", "[policies][r_kv]") {
    const Case drawn(3, 2000, 2000);
    const MatrixView keys = view(drawn.layer.data.keys.data(), 1300, drawn.layer.shape.head_dim);
    const std::vector<float> found = fresh_similarity(keys, 0.25f);
    const reference::Row twin = reference::mean_similarity(keys, 0.25);
    for (std::size_t k = 0; k < twin.size(); ++k)
        CHECK(static_cast<double>(found[k]) == Approx(twin[k]).margin(1e-5));
}

TEST_CASE("similarities remembered while keys come and go are those of a fresh look",
          "[policies][r_kv]") {
    // Few dimensions, so that many keys are alike; some are copies.
    constexpr Eigen::Index dim = 8, all = 400;
    const Philox random(17);
    Matrix keys(all, dim);
    for (Eigen::Index row = 0; row < all; ++row)
        for (Eigen::Index i = 0; i < dim; ++i)
            keys(row, i) = static_cast<float>(
                random.uniform(static_cast<std::uint64_t>(row % 150 * dim + i)) - 0.5);
    for (const float threshold : {-1.0f, 0.0f, 0.5f, 0.9f, 1.0f}) {
        SimilarKeys remembering;
        std::vector<Position> held;
        Position next = 0;
        for (std::uint64_t step = 0; next < all; ++step) {
            const auto draw = [&](std::uint64_t i) {
                return random.uniform(100000 + 64 * step + i);
            };
            const auto added = step == 0 ? 40 : 1 + static_cast<Position>(draw(0) * 5.0);
            for (Position i = 0; i < added && next < all; ++i)
                held.push_back(next++);
            Matrix rows(std::ssize(held), dim);
            for (std::size_t i = 0; i < held.size(); ++i)
                rows.row(static_cast<Eigen::Index>(i)) = keys.row(held[i]);
            CHECK(remembering.mean_similarity(held, view(rows), threshold) ==
                  SimilarKeys().mean_similarity(held, view(rows), threshold));
            for (std::uint64_t gone = 0; gone < 3 && held.size() > 20; ++gone)
                held.erase(held.begin() + static_cast<std::ptrdiff_t>(
                                              draw(1 + gone) * static_cast<double>(held.size())));
        }
    }
}

TEST_CASE("keys that are not those of the call before are compared afresh", "[policies][r_kv]") {
    const Case drawn(3, 200, 200);
    const MatrixView keys = view(drawn.layer.data.keys.data(), 100, drawn.layer.shape.head_dim);
    std::vector<Position> early(100), late(100);
    std::iota(early.begin(), early.end(), 0);
    std::iota(late.begin(), late.end(), 50);
    SimilarKeys remembering;
    remembering.mean_similarity(
        late, view(drawn.layer.data.keys.data() + 7, 100, keys.cols()), 0.2f);
    CHECK(remembering.mean_similarity(early, keys, 0.2f) == fresh_similarity(keys, 0.2f));
}

TEST_CASE("of a key that is repeated the last copy stays longest", "[policies][r_kv]") {
    const Shape shape{.layers = 1,
                      .query_heads = 1,
                      .kv_heads = 1,
                      .head_dim = 64,
                      .hidden_size = 64,
                      .softmax_scale = 0.125};
    Layer layer = random_layer(shape, 0, 40, 41, Philox(2));
    const std::vector<Position> copies{5, 11, 17, 23};
    for (const Position copy : copies)
        std::copy_n(layer.data.keys.begin() + 5 * 64, 64, layer.data.keys.begin() + copy * 64);
    fill_statistics(layer);
    const PolicyRun run = make_policy("r_kv:lambda=0,threshold=0.9");
    const Decision decision = decide(*run.policy, {&layer, 1}, {37, std::nullopt});
    // three are dropped: every copy but the last
    for (const Position copy : copies)
        CHECK(std::binary_search(decision[{0, 0}].begin(), decision[{0, 0}].end(), copy) ==
              (copy == 23));
}

TEST_CASE("zero keys and short contexts leave r_kv with finite scores", "[policies][r_kv]") {
    Case drawn(4, 30, 30);
    std::fill(drawn.layer.data.keys.begin(), drawn.layer.data.keys.end(), 0.0f);
    const PolicyRun run = make_policy("r_kv");
    const auto session = observed_session(*run.policy, {&drawn.layer, 1});
    const std::vector<float> scores = session->scores({0, 0}, {9, std::nullopt});
    CHECK(std::count_if(scores.begin(), scores.end(), [](float x) { return std::isfinite(x); }) ==
          22);
}
