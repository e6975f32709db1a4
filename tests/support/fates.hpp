#pragma once

#include "analyze/head_diff.hpp"

#include <utility>
#include <vector>

namespace kvtape::tests {

/// The fate of one KV head, made by hand.
struct OwnedFate {
    std::vector<std::int32_t> evicted_at;
    std::vector<Block> blocks;
    std::vector<float> scores;
    std::vector<std::int32_t> merged_into;

    OwnedFate(std::vector<std::int32_t> evicted, std::vector<Block> cut)
        : evicted_at(std::move(evicted)),
          blocks(std::move(cut)),
          merged_into(evicted_at.size(), -1) {}

    HeadFate view() const {
        return {.evicted_at = evicted_at,
                .merged_into = merged_into,
                .scores = scores,
                .blocks = blocks};
    }
};

}  // namespace kvtape::tests
