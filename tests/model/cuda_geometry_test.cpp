#include "model/cuda/geometry.hpp"
#include "tests/support/catch.hpp"

#include <algorithm>
#include <array>

using namespace kvtape::model::cuda;

TEST_CASE("the lanes of a warp cover a result tile exactly once", "[model][cuda]") {
    std::array<std::array<int, 8>, 16> times{};
    for (int lane = 0; lane < warp_size; ++lane)
        for (int element = 0; element < 4; ++element)
            ++times[static_cast<std::size_t>(fragment_row(lane, element))]
                   [static_cast<std::size_t>(fragment_column(lane, element))];
    for (const auto& row : times)
        for (const int count : row)
            CHECK(count == 1);
}

TEST_CASE("a lane's first two elements share a row, and four lanes do", "[model][cuda]") {
    for (int lane = 0; lane < warp_size; ++lane) {
        CHECK(fragment_row(lane, 0) == fragment_row(lane, 1));
        CHECK(fragment_row(lane, 2) == fragment_row(lane, 0) + 8);
        CHECK(fragment_row(lane, 0) == fragment_row(lane - lane % 4, 0));
        CHECK(fragment_column(lane, 1) == fragment_column(lane, 0) + 1);
    }
}

TEST_CASE("the first and the last position that attend are what the mask says", "[model][cuda]") {
    constexpr int end = 40;
    for (const int window : {0, 1, 2, 7, 39, 40, 100}) {
        CAPTURE(window);
        for (int query = 0; query < end; ++query) {
            int first = 0;
            while (!attends(query, first, window))
                ++first;
            CHECK(first_key(query, window) == first);
            CHECK_FALSE(attends(query, query + 1, window));
        }
        for (int key = 0; key < end; ++key) {
            int last = key;
            for (int query = key; query < end; ++query)
                if (attends(query, key, window))
                    last = query;
            CHECK(query_end(key, window, end) == last + 1);
        }
    }
}

TEST_CASE("every head size up to 256 that divides by 8 has a tile that holds it", "[model][cuda]") {
    for (int head_dim = 8; head_dim <= max_head_dim; head_dim += 8) {
        CAPTURE(head_dim);
        CHECK(supports_head_dim(head_dim));
        CHECK(padded_head_dim(head_dim) >= head_dim);
        CHECK(padded_head_dim(head_dim) % 16 == 0);
    }
    CHECK_FALSE(supports_head_dim(0));
    CHECK_FALSE(supports_head_dim(-8));
    CHECK_FALSE(supports_head_dim(20));
    CHECK_FALSE(supports_head_dim(264));
}

TEST_CASE("blocks cover every row, and tiles begin at their multiples", "[model][cuda]") {
    CHECK(ceil_div(0, 64) == 0);
    CHECK(ceil_div(1, 64) == 1);
    CHECK(ceil_div(64, 64) == 1);
    CHECK(ceil_div(65, 64) == 2);
    CHECK(floor_to(63, 64) == 0);
    CHECK(floor_to(64, 64) == 64);
    CHECK(floor_to(130, 64) == 128);
}
