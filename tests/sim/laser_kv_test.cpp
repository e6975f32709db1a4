#include "tests/sim/laser_kv.hpp"

#include "sim/results.hpp"
#include "tests/trace/samples.hpp"
#include "trace/reader.hpp"

#include <algorithm>
#include <memory>

using namespace kvtape;
using namespace kvtape::tests;

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
        const Decision kept = replayed(first_sequence(trace),
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
        const std::vector<Decision> together = replayed(request, spec, "20%,50%,90%");
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
