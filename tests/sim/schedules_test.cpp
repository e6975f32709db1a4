#include "sim/replay.hpp"
#include "tests/sim/cases.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/synthetic_trace.hpp"
#include "trace/reader.hpp"

#include <map>
#include <string>
#include <vector>

using namespace kvtape;
using namespace kvtape::tests;

namespace {

/// By sequence, then [layer]: `evicted_at` of all heads.
using Fates = std::map<std::string, std::vector<std::vector<std::int32_t>>>;

Fates replayed(const ReplayRequest& request, const std::string& spec, const std::string& budget) {
    const PolicyRun policy = make_policy(spec);
    const ReplayTask task{.policy = &policy, .budgets = parse_budgets(budget)};
    Fates fates;
    replay(request, std::span(&task, 1), [&](const Decided& decided) {
        auto& layers = fates[request.trace->sequence(decided.sequence).name];
        for (std::size_t layer = 0; layer < request.layers.size(); ++layer)
            layers.push_back(decided.fate[layer].evicted_at);
    });
    return fates;
}

ReplayRequest request_for(const Trace& trace, const std::string& schedule) {
    ReplayRequest request = kvtape::tests::request_for(trace);
    request.schedule = Schedule::parse(schedule);
    return request;
}

std::vector<std::int32_t> row(const std::vector<std::int32_t>& heads,
                              std::size_t head,
                              std::size_t tokens) {
    const auto first = heads.begin() + static_cast<std::ptrdiff_t>(head * tokens);
    return {first, first + static_cast<std::ptrdiff_t>(tokens)};
}

/// How many entries are held after block `block`.
int held_after(const std::vector<std::int32_t>& evicted_at, std::int32_t block, Position end) {
    int held = 0;
    for (Position token = 0; token < end; ++token) {
        const std::int32_t at = evicted_at[static_cast<std::size_t>(token)];
        held += at == -1 || at > block ? 1 : 0;
    }
    return held;
}

}  // namespace

TEST_CASE("decoding evicts what published programs evict on the golden traces, token by token",
          "[sim][schedule][golden]") {
    for (const testing::GoldenTrace& golden_trace : testing::golden_traces) {
        const std::string path =
            KVTAPE_SOURCE_DIR "/tests/golden/" + std::string(golden_trace.name);
        const auto trace = open_trace(path + ".kvtape.h5");
        int judged = 0;
        for (const auto& golden : testing::golden_fates(path + ".json")) {
            INFO(golden_trace.name << ": " << golden.policy << " at " << golden.budget << " ("
                                   << golden.authority << ")");
            CHECK(!golden.authority.empty());
            ReplayRequest request = request_for(*trace, golden.schedule);
            request.seed = golden.seed;
            const Fates found = replayed(request, golden.policy, golden.budget);
            REQUIRE(found.size() == golden.sequences.size());
            for (const auto& [sequence, layers] : golden.sequences)
                for (std::size_t layer = 0; layer < layers.size(); ++layer)
                    for (std::size_t head = 0; head < layers[layer].size(); ++head) {
                        const std::vector<std::int32_t>& expected = layers[layer][head];
                        if (expected.empty())
                            continue;
                        INFO("layer " << layer << ", KV head " << head);
                        CHECK(row(found.at(sequence)[layer], head, expected.size()) == expected);
                        ++judged;
                    }
        }
        INFO(golden_trace.name);
        CHECK(judged == golden_trace.decoding);
    }
}

TEST_CASE("a schedule cuts a sequence into its blocks", "[sim][schedule]") {
    const SyntheticTrace trace({.context = 90, .question = 10, .generated = 2});
    const SequenceInfo& sequence = trace.sequence(0);
    const auto blocks = [&](const std::string& text) {
        return Schedule::parse(text).blocks(sequence);
    };
    const Block first{100, 101, true}, second{101, 102, true};
    CHECK(blocks("prefill") == std::vector<Block>{{0, 90, false}, {90, 100, false}, first, second});
    CHECK(blocks("prompt+decode") == std::vector<Block>{{0, 100, false}, first, second});
    CHECK(blocks("block:48") ==
          std::vector<Block>{{0, 48, false}, {48, 96, false}, {96, 100, false}, first, second});
    CHECK(blocks("block:1000") == std::vector<Block>{{0, 100, false}, first, second});
    const auto last = [&](const std::string& text) {
        const Schedule schedule = Schedule::parse(text);
        return std::pair(schedule.last_prompt_decision(sequence), schedule.last_decision(sequence));
    };
    CHECK(last("prefill") == std::pair(0, 0));
    CHECK(last("prefill+decode") == std::pair(1, 3));
    CHECK(last("prompt") == std::pair(0, 0));
    CHECK(last("prompt+decode") == std::pair(0, 2));
    CHECK(last("block:48") == std::pair(2, 2));
    CHECK(last("block:48+decode") == std::pair(2, 4));
}

TEST_CASE("a ratio is one of the tokens so far, and of the context while decoding",
          "[sim][schedule]") {
    const SyntheticTrace trace({.context = 90, .question = 10, .generated = 2});
    const auto limit = [&](const std::string& schedule, const std::string& budget, Position end) {
        return Schedule::parse(schedule)
            .limit(Budget::parse(budget), trace.info().shape, trace.sequence(0), {0, end, false})
            .tokens;
    };
    CHECK(limit("prefill", "0.5", 90) == 45);
    CHECK(limit("prompt", "0.5", 100) == 50);
    CHECK(limit("block:48", "0.5", 48) == 24);
    CHECK(limit("block:48+decode", "0.5", 48) == 45);
    CHECK(limit("prefill+decode", "0.5", 102) == 45);
    CHECK(limit("prefill", "95t", 90) == 90);
    CHECK(limit("prefill+decode", "95t", 90) == 95);
}

TEST_CASE("block by block, every decision obeys its limit and nothing comes back",
          "[sim][schedule]") {
    const SyntheticTrace trace({.context = 90, .question = 10, .generated = 6});
    const SequenceInfo& sequence = trace.sequence(0);
    for (const std::string spec : {"random", "knorm", "streaming_llm", "keydiff"})
        for (const std::string text : {"block:16", "block:16+decode", "prefill+decode", "prompt"}) {
            INFO(spec << " with " << text);
            const ReplayRequest request = request_for(trace, text);
            const std::vector<Block> blocks = request.schedule.blocks(sequence);
            const Fates fates = replayed(request, spec, "30t");
            for (const auto& layer : fates.at(sequence.name))
                for (std::size_t head = 0;
                     head < static_cast<std::size_t>(trace.info().shape.kv_heads);
                     ++head) {
                    const auto fate = row(layer, head, sequence.tokens.size());
                    for (std::size_t b = 0; b < blocks.size(); ++b)
                        if (request.schedule.decides(b, sequence))
                            CHECK(held_after(fate, static_cast<std::int32_t>(b), blocks[b].end) ==
                                  std::min(30, blocks[b].end));
                        else
                            CHECK(std::count(fate.begin(), fate.end(), b) == 0);
                }
        }
}

TEST_CASE("while nothing has been evicted, h2o decides as if it saw the prompt at once",
          "[sim][schedule]") {
    const SyntheticTrace trace({.sequences = 1, .context = 90, .question = 10, .window = 90});
    const Fates at_once = replayed(request_for(trace, "prompt"), "h2o", "40%");
    // One block and a rest that is no block: the same sums, taken from recorded rows.
    const Fates in_blocks = replayed(request_for(trace, "block:100"), "h2o", "40%");
    CHECK(at_once == in_blocks);
}

TEST_CASE("what was not recorded, or is not defined, is refused before any tensor is read",
          "[sim][schedule]") {
    const SyntheticTrace trace({.context = 90, .question = 10, .window = 16});
    const auto refused = [&](const std::string& spec, const std::string& schedule) {
        return refusal(ErrorKind::usage,
                       [&] { replayed(request_for(trace, schedule), spec, "30%"); });
    };
    CHECK(mentions(refused("snapkv:window=16", "prefill+decode"), "prefill, prompt"));
    CHECK(mentions(refused("oracle", "block:16"), "prefill, prompt"));
    CHECK(mentions(refused("h2o", "block:16"), "--queries all"));
    CHECK(mentions(refused("tova", "block:16"), "--queries all"));
    ReplayRequest request = request_for(trace, "prefill+decode");
    request.source = QuerySource::question;
    CHECK(mentions(refusal(ErrorKind::usage, [&] { replayed(request, "tova", "30%"); }),
                   "--query-source agnostic"));
    CHECK(trace.loads() == 0);
}
