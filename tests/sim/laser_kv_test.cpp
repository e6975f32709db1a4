#include "tests/support/twins/laser_kv.hpp"

#include "core/json.hpp"
#include "policies/parts/laser_budget.hpp"
#include "sim/results.hpp"
#include "tests/sim/cases.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/synthetic_trace.hpp"
#include "tests/trace/samples.hpp"
#include "trace/reader.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <vector>

using namespace kvtape;
using namespace kvtape::tests;
using kvtape::testing::GoldenCase;

namespace {

/// kept[layer][kv_head] of one sequence.
using Kept = std::vector<std::vector<std::vector<Position>>>;

Kept kept_of(const ReplayRequest& request, const Decided& decided) {
    const SequenceInfo& sequence = request.trace->sequence(decided.sequence);
    Kept kept;
    for (std::size_t layer = 0; layer < request.layers.size(); ++layer) {
        kept.emplace_back();
        for (std::int32_t head = 0; head < request.trace->info().shape.kv_heads; ++head) {
            kept.back().emplace_back();
            for (Position token = 0; token < sequence.context_len; ++token)
                if (decided.fate[layer]
                        .evicted_at[static_cast<std::size_t>(head * sequence.length() + token)] ==
                    -1)
                    kept.back().back().push_back(token);
        }
    }
    return kept;
}

/// What `spec` keeps at each of `budgets`, of the one sequence of the request.
std::vector<Kept> replayed(const ReplayRequest& request,
                           const std::string& spec,
                           const std::string& budgets) {
    const PolicyRun policy = make_policy(spec);
    const ReplayTask task{.policy = &policy, .budgets = parse_budgets(budgets)};
    std::vector<Kept> kept;
    replay(request, std::span(&task, 1), [&](const Decided& decided) {
        kept.push_back(kept_of(request, decided));
    });
    return kept;
}

ReplayRequest first_sequence(const Trace& trace) {
    ReplayRequest request = request_for(trace);
    request.sequences = {0};
    return request;
}

SyntheticSize one_sequence() {
    return {.sequences = 1};
}

/// The set that all heads of all layers share.
std::vector<Position> common(const Kept& kept) {
    for (const auto& layer : kept)
        for (const auto& head : layer)
            CHECK(head == kept[0][0]);
    return kept[0][0];
}

struct GoldenBudget {
    std::int64_t budget = 0, anchors = 0, window = 0, picks = 0, kept = 0;
};

/// The `laser` entries of a golden file by spec, budget and sequence.
std::map<std::string, GoldenBudget> golden_budgets(const std::string& path) {
    std::ifstream file(path);
    const Json document = parse_json(std::string{std::istreambuf_iterator<char>(file), {}}, path);
    std::map<std::string, GoldenBudget> budgets;
    for (const Json& entry : document.at("cases"))
        for (const auto& [name, sequence] : entry.at("sequences").items())
            if (sequence.contains("laser")) {
                const Json& laser = sequence["laser"];
                budgets[entry["policy"].get<std::string>() + "@" +
                        entry["budget"].get<std::string>() + " " + name] = {laser.at("budget"),
                                                                            laser.at("anchors"),
                                                                            laser.at("window"),
                                                                            laser.at("picks"),
                                                                            laser.at("kept")};
            }
    return budgets;
}

LaserBudget budget_of(const GoldenCase& golden, const SequenceInfo& sequence, const Shape& shape) {
    const Json parameters = make_policy(golden.policy).policy->parameters();
    const Budget budget = Budget::parse(golden.budget);
    return laser_budget(
        parameters.at("mode") == "recursive" ? LaserMode::recursive : LaserMode::accumulate,
        {budget.tokens_of(sequence.context_len, shape), budget.ratio()},
        sequence.context_len,
        parameters.at("block"),
        parameters.at("divisor"));
}

}  // namespace

TEST_CASE("laser_kv decides as the published program did, on every golden trace",
          "[sim][laser_kv][golden]") {
    const std::map<std::string, int> expected = {{"degenerate-float32", 4},
                                                 {"grouped-bfloat16", 18},
                                                 {"long-float16", 18},
                                                 {"small-float32", 18},
                                                 {"two-sequences-float32", 18}};
    for (const auto& [name, count] : expected) {
        const auto trace = open_trace(golden(name + ".kvtape.h5"));
        const std::string path = golden(name + ".json").string();
        const auto budgets = golden_budgets(path);
        int judged = 0;
        for (const GoldenCase& entry : testing::golden_cases(path)) {
            if (parse_spec(entry.policy).name != "laser_kv")
                continue;
            REQUIRE(entry.schedule == "prefill");
            REQUIRE(entry.query_source == "question");
            REQUIRE(entry.sequences.size() == 1);
            INFO(name << ": " << entry.policy << " at " << entry.budget);
            ReplayRequest request = first_sequence(*trace);
            request.seed = entry.seed;
            REQUIRE(entry.sequences.count(trace->sequence(0).name) == 1);
            const Kept kept = replayed(request, entry.policy, entry.budget).at(0);
            const auto& heads = entry.sequences.begin()->second;
            for (std::size_t layer = 0; layer < heads.size(); ++layer)
                for (std::size_t head = 0; head < heads[layer].size(); ++head)
                    CHECK(testing::disagreement(heads[layer][head], kept[layer][head]) == "");
            const GoldenBudget& laser = budgets.at(entry.policy + "@" + entry.budget + " " +
                                                   entry.sequences.begin()->first);
            const LaserBudget ours = budget_of(entry, trace->sequence(0), trace->info().shape);
            CHECK(ours.block_budget == laser.budget);
            CHECK(ours.anchors == laser.anchors);
            CHECK(ours.window == laser.window);
            CHECK(ours.picks == laser.picks);
            CHECK(std::ssize(common(kept)) == laser.kept);
            ++judged;
        }
        CHECK(judged == count);
    }
}

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

TEST_CASE("what laser_kv keeps is bounded: first tokens and window always, picks per block",
          "[sim][laser_kv]") {
    SyntheticSize size = one_sequence();
    size.context = 300;
    const SyntheticTrace trace(size);
    for (const Position block : {20, 64, 299, 300, 301})
        for (const char* mode : {"accumulate", "recursive"})
            for (const char* selector : {"exact", "lsh", "hybrid"})
                for (const Position tokens : {12, 60, 150, 300}) {
                    const std::string spec = std::string("laser_kv:mode=") + mode +
                                             ",selector=" + selector +
                                             ",block=" + std::to_string(block);
                    INFO(spec << " keeps " << tokens);
                    const bool recursive = mode == std::string("recursive");
                    const LaserBudget budget =
                        laser_budget(recursive ? LaserMode::recursive : LaserMode::accumulate,
                                     {.tokens = tokens, .ratio = {}},
                                     300,
                                     block,
                                     4);
                    const std::vector<Position> kept = common(
                        replayed(first_sequence(trace), spec, std::to_string(tokens) + "t").at(0));
                    CHECK(std::is_sorted(kept.begin(), kept.end()));
                    CHECK(std::adjacent_find(kept.begin(), kept.end()) == kept.end());
                    const std::int64_t blocks = (300 + block - 1) / block;
                    const std::int64_t last = 300 - (blocks - 1) * block;
                    const auto has = [&](std::int64_t position) {
                        return std::binary_search(
                            kept.begin(), kept.end(), static_cast<Position>(position));
                    };
                    for (std::int64_t i = 0; i < std::min<std::int64_t>(budget.anchors, 300); ++i)
                        CHECK(has(i));
                    for (std::int64_t i = 300 - std::min(budget.window, last); i < 300; ++i)
                        CHECK(has(i));
                    const std::int64_t most =
                        recursive ? budget.block_budget
                                  : budget.anchors + blocks * budget.picks + budget.window;
                    CHECK(std::ssize(kept) <= most);
                    if (!recursive && block == 20 && tokens == 60)
                        CHECK(std::ssize(kept) == most);
                }
}

TEST_CASE("alpha at its ends is one selector alone, and a seed moves hashes alone",
          "[sim][laser_kv]") {
    SyntheticSize size = one_sequence();
    size.context = 200;
    const SyntheticTrace trace(size);
    ReplayRequest request = first_sequence(trace);
    const auto kept = [&](const std::string& parameters) {
        return replayed(request, "laser_kv:block=50," + parameters, "30%");
    };
    CHECK(kept("alpha=1") == kept("selector=exact"));
    CHECK(kept("alpha=0") == kept("selector=lsh"));
    const auto exact = kept("selector=exact"), hashed = kept("selector=lsh");
    CHECK(exact != hashed);
    request.seed = 1;
    CHECK(kept("selector=exact") == exact);
    CHECK(kept("selector=lsh") != hashed);
    request.seed = 0;
    CHECK(kept("selector=lsh") == hashed);
}

TEST_CASE("one block that holds the context, with room for every candidate, keeps everything",
          "[sim][laser_kv]") {
    const SyntheticTrace trace(one_sequence());
    for (const char* selector : {"exact", "lsh", "hybrid"}) {
        const Kept kept = replayed(first_sequence(trace),
                                   std::string("laser_kv:mode=recursive,selector=") + selector,
                                   "100%")
                              .at(0);
        CHECK(common(kept) == first_numbers(90));
    }
}

TEST_CASE("laser_kv does not depend on threads, or on the budgets beside it", "[sim][laser_kv]") {
    const SyntheticTrace trace(one_sequence());
    for (const char* spec : {"laser_kv", "laser_kv:block=16", "laser_kv:block=16,mode=recursive"}) {
        ReplayRequest request = first_sequence(trace);
        const std::vector<Kept> together = replayed(request, spec, "20%,50%,90%");
        CHECK(replayed(request, spec, "50%").at(0) == together.at(1));
        for (const int threads : {2, 7}) {
            request.threads = threads;
            CHECK(replayed(request, spec, "20%,50%,90%") == together);
        }
    }
}

TEST_CASE("blocks cost one reading of each layer, for all budgets together",
          "[sim][laser_kv][memory]") {
    const SyntheticTrace trace(one_sequence());
    replayed(first_sequence(trace), "laser_kv:block=45", "20%,50%,90%");
    CHECK(trace.loads() == 2 * 2);
}

TEST_CASE("a file of laser_kv says that the question was asked", "[sim][laser_kv]") {
    const Folder folder;
    const SyntheticTrace trace(one_sequence());
    ResultDirectory directory(folder / "out", trace);
    const PolicyRun policy = make_policy("laser_kv:block=32");
    const ReplayTask task{.policy = &policy, .budgets = parse_budgets("30%")};
    replay_into(directory,
                request_for(trace),
                std::span(&task, 1),
                "kvtape test",
                [](std::int64_t, std::int64_t) {});
    const Result& result = directory.results().at(0);
    CHECK(result.query_source == "question");
    CHECK(result.decisions->info().query_source == "question");
    CHECK(mentions(result.file, ".question."));
}

TEST_CASE("laser_kv is refused without a question, in other schedules and without a choice left",
          "[sim][laser_kv][errors]") {
    const SyntheticTrace trace(one_sequence());
    ReplayRequest request = first_sequence(trace);
    const auto refused = [&](const std::string& spec, const std::string& budget) {
        const std::string text =
            refusal(ErrorKind::usage, [&] { replayed(request, spec, budget); });
        CHECK(mentions(text, spec));
        CHECK(text.find('\n') == std::string::npos);
        return text;
    };
    const std::string least = refused("laser_kv:divisor=2", "90t");
    CHECK(mentions(least, "a budget of 90 of 90 tokens"));
    CHECK(mentions(least, "divisor=2"));
    CHECK(mentions(refused("laser_kv:block=1", "1t"), "use a larger budget, or longer blocks"));
    CHECK(trace.loads() == 0);
    for (const char* schedule : {"prompt", "block:16", "prefill+decode"}) {
        request.schedule = Schedule::parse(schedule);
        CHECK(mentions(refused("laser_kv", "50%"), "the context in blocks of its own"));
    }
    SyntheticSize unasked = one_sequence();
    unasked.question = 0;
    const SyntheticTrace without(unasked);
    request = first_sequence(without);
    CHECK(mentions(refused("laser_kv", "50%"), "decides with the question, and there is none"));

    const auto golden_trace = open_trace(golden("two-sequences-float32.kvtape.h5"));
    request = request_for(*golden_trace);
    CHECK(mentions(refused("laser_kv", "25%"), "sequence 0001"));
}
