#include "tests/sim/laser_kv.hpp"
#include "tests/support/twins/laser_kv.hpp"

#include <array>

using namespace kvtape;
using namespace kvtape::tests;

TEST_CASE("laser_kv does what its description says, step by step, over 1,000 random traces",
          "[sim][laser_kv][twin]") {
    int judged = 0, several_blocks = 0;
    for (int number = 0; number < 1000; ++number) {
        const Philox random(static_cast<std::uint64_t>(number), 9);
        const auto draw = [&](std::uint64_t index, std::int32_t low, std::int32_t high) {
            return low + static_cast<std::int32_t>(
                             random.below(index, static_cast<std::uint32_t>(high - low + 1)));
        };
        SyntheticSize size{.sequences = 1,
                           .context = draw(0, 1, 40),
                           .question = draw(1, 1, 4),
                           .generated = draw(2, 0, 1),
                           .window = 1,
                           .needle_begin = 0,
                           .needle_end = 1};
        size.shape.layers = draw(3, 1, 2);
        size.shape.kv_heads = draw(4, 1, 2);
        size.shape.query_heads = size.shape.kv_heads * draw(5, 1, 2);
        size.shape.head_dim = draw(6, 2, 8);
        const SyntheticTrace trace(size, static_cast<std::uint64_t>(number));

        const auto selector = static_cast<std::size_t>(draw(7, 0, 2));
        const auto rank = static_cast<std::size_t>(draw(8, 0, 2));
        const auto tie = static_cast<std::size_t>(draw(9, 0, 4));
        const Position block = draw(10, 1, 24);
        const std::int32_t divisor = draw(11, 3, 6), tokens = draw(12, 1, size.context);
        const std::int32_t tenths = draw(13, 0, 10);
        reference::LaserOptions options{.recursive = draw(14, 0, 1) == 1,
                                        .hashes = selector != 1,
                                        .attends = selector != 2,
                                        .block = block,
                                        .alpha_numerator = tenths,
                                        .alpha_denominator = 10,
                                        .lsh = {.bits = draw(15, 1, 4),
                                                .tables = draw(16, 1, 5),
                                                .rank = static_cast<LshRank>(rank),
                                                .tie = static_cast<LshTie>(tie)},
                                        .smoothing = draw(17, 0, 3) > 0,
                                        .drops_tail = draw(18, 0, 1) == 1,
                                        .window_softmax = draw(19, 0, 1) == 1};
        const std::string spec =
            std::string("laser_kv:mode=") + (options.recursive ? "recursive" : "accumulate") +
            ",selector=" + std::array{"hybrid", "exact", "lsh"}[selector] +
            ",block=" + std::to_string(block) + ",divisor=" + std::to_string(divisor) +
            ",alpha=" + (tenths == 10 ? "1" : "0." + std::to_string(tenths)) +
            ",bits=" + std::to_string(options.lsh.bits) +
            ",tables=" + std::to_string(options.lsh.tables) +
            ",lsh=" + std::array{"magicpig_baseline", "frequency_rank", "mean_collision"}[rank] +
            ",tie=" +
            std::array{"l2", "max_sim", "mahalanobis", "partitioned_centroid", "none"}[tie] +
            ",smoothing=" + (options.smoothing ? "1" : "0") +
            ",short_block=" + (options.drops_tail ? "reference" : "fix") +
            ",window_softmax=" + (options.window_softmax ? "1" : "0");
        INFO(number << ": " << spec << " keeps " << tokens << " of " << size.context);

        const LaserBudget budget =
            laser_budget(options.recursive ? LaserMode::recursive : LaserMode::accumulate,
                         {.tokens = tokens, .ratio = {}},
                         size.context,
                         block,
                         divisor);
        ReplayRequest request = first_sequence(trace);
        request.seed = static_cast<std::uint64_t>(number);
        const std::string tokens_text = std::to_string(tokens) + "t";
        if (budget.picks <= 0) {
            CHECK(mentions(refusal(ErrorKind::usage, [&] { replayed(request, spec, tokens_text); }),
                           "leave nothing of that to choose"));
            continue;
        }
        options.anchors = static_cast<std::size_t>(budget.anchors);
        options.window = static_cast<std::size_t>(budget.window);
        options.picks = static_cast<std::size_t>(budget.picks);
        const Matrix projection = gaussian_matrix(
            size.shape.head_dim, options.lsh.bits * options.lsh.tables, Philox(request.seed));
        std::vector<const LayerData*> layers;
        for (std::int32_t layer = 0; layer < size.shape.layers; ++layer)
            layers.push_back(&trace.layer(0, layer));
        const auto twin =
            reference::LaserTwin(size.shape, trace.sequence(0), layers, view(projection), options)
                .run();
        if (twin.margin < 1e-5)
            continue;
        CHECK(common(replayed(request, spec, tokens_text).at(0)) == twin.kept);
        ++judged;
        several_blocks += size.context > block ? 1 : 0;
    }
    CHECK(judged > 700);
    CHECK(several_blocks > 300);
}
