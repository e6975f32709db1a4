#include "core/error.hpp"
#include "tests/support/twin_case.hpp"

#include <map>
#include <numeric>
#include <set>

using namespace kvtape;
using namespace kvtape::testing;

namespace {

std::string refusal(std::string_view spec) {
    try {
        make_policy(spec);
    } catch (const Error& error) {
        CHECK(error.kind() == ErrorKind::usage);
        return error.what();
    }
    FAIL("the spec '" << spec << "' was accepted");
    return {};
}

bool says(const std::string& message, std::string_view part) {
    return message.find(part) != std::string::npos;
}

/// The pages that a head keeps, counted from their definition: those of the rule, then the best.
std::set<Position> pages_kept(const std::vector<float>& scores,
                              Position held,
                              Position window,
                              Position block,
                              bool best_token,
                              Position tokens) {
    std::map<Position, double> worth;
    for (Position page = 0; page <= (held - 1) / block; ++page) {
        double largest = -INFINITY, sum = 0.0, count = 0.0;
        for (Position t = page * block; t < std::min<Position>((page + 1) * block, held); ++t)
            if (t < std::ssize(scores)) {
                largest =
                    std::max(largest, static_cast<double>(scores[static_cast<std::size_t>(t)]));
                sum += static_cast<double>(scores[static_cast<std::size_t>(t)]);
                count += 1.0;
            }
        worth[page] = best_token || count == 0.0
                          ? largest
                          : static_cast<double>(static_cast<float>(sum / count));
    }
    std::set<Position> kept;
    auto room = static_cast<std::size_t>(std::max(1, tokens / block));
    for (Position t = held - 1; t >= std::max(0, held - std::min(window, tokens)); --t)
        if (kept.size() < room)
            kept.insert(t / block);
    while (kept.size() < std::min(room, worth.size())) {
        Position best = -1;
        for (const auto& [page, value] : worth)
            if (kept.count(page) == 0 && (best < 0 || value > worth[best]))
                best = page;
        kept.insert(best);
    }
    return kept;
}

}  // namespace

TEST_CASE("a wrapper refuses a base that it cannot judge by, with the reason",
          "[policies][wrapper]") {
    CHECK(says(refusal("paged(streaming_llm)"), "streaming_llm does not score tokens"));
    CHECK(says(refusal("paged(full)"), "full does not score tokens"));
    CHECK(says(refusal("paged(lagkv)"), "lagkv cuts by a rule of its own"));
    CHECK(says(refusal("paged(adakv(knorm))"), "adakv wraps a policy itself"));
    CHECK(says(refusal("adakv(paged(knorm))"), "paged wraps a policy itself"));
    CHECK(says(refusal("paged(paged(knorm))"), "paged wraps a policy itself"));
    CHECK(says(refusal("paged(knorm,keydiff)"), "it takes one base, found 'knorm,keydiff'"));
    CHECK(says(refusal("paged(h2o:variant=online)"), "decides after every token"));
    CHECK(says(refusal("paged(knrm)"), "did you mean 'knorm'?"));
    CHECK(says(refusal("paged(snapkv:windw=3)"), "did you mean 'window'?"));
    CHECK(says(refusal("paged(knorm):block=0"), "it must be 1.."));
    CHECK(says(refusal("paged(knorm):reduce=sum"), "it must be max|mean"));
    CHECK(says(refusal("paged()"), "the parentheses are empty"));
    CHECK(says(refusal("tova(knorm)"), "takes no base policy"));
    CHECK(to_text(make_policy("paged(knorm)").policy->parameters()) ==
          R"({"base":"knorm","base_parameters":{},"block":16,"reduce":"max"})");
}

TEST_CASE("a wrapper that shares out budgets refuses a base that does so too",
          "[policies][wrapper]") {
    for (const std::string wrapper : {"adakv", "criticalkv", "criticaladakv"}) {
        CHECK(says(refusal(wrapper + "(pyramidkv)"), "budgets of its own, which " + wrapper));
        CHECK(says(refusal(wrapper + "(snapkv:compat=kvpress)"), "the base's compat=kvpress"));
    }
    // Pages are cut from what the base's own arithmetic allows.
    CHECK_NOTHROW(make_policy("paged(pyramidkv)"));
    CHECK_NOTHROW(make_policy("paged(snapkv:compat=kvpress)"));
}

TEST_CASE("paged keeps whole pages, the best of them, within the budget",
          "[policies][wrapper][twin]") {
    for (int i = 0; i < shapes; ++i) {
        const Case drawn(i);
        const Position held = drawn.layer.context_len, window = drawn.draw(40, 1, 12);
        const Position block = drawn.draw(41, 1, 9), tokens = drawn.draw(42, 1, held);
        const bool best_token = drawn.draw(43, 0, 1) == 0;
        const std::string base = "snapkv:window=" + std::to_string(window);
        const PolicyRun run = make_policy("paged(" + base + "):block=" + std::to_string(block) +
                                          ",reduce=" + (best_token ? "max" : "mean"));
        const PolicyRun alone = make_policy(base);
        const auto scored = observed_session(*alone.policy, {&drawn.layer, 1});
        const Decision decision = decide(*run.policy, {&drawn.layer, 1}, {tokens, std::nullopt});
        for (std::int32_t head = 0; head < drawn.layer.shape.kv_heads; ++head) {
            INFO("shape " << i << ", KV head " << head);
            std::vector<float> scores =
                scored->scores({0, head}, {std::min(window, held), std::nullopt});
            scores.resize(static_cast<std::size_t>(std::max(0, held - window)));
            std::vector<Position> expected;
            const std::set<Position> pages =
                pages_kept(scores, held, window, block, best_token, tokens);
            for (Position t = 0; t < held; ++t)
                if (tokens == held || pages.count(t / block) > 0)
                    expected.push_back(t);
            CHECK(decision[{0, head}] == expected);
            CHECK(std::ssize(decision[{0, head}]) <= std::max(tokens, block));
        }
    }
}

TEST_CASE("pages of one token are the base's own decision", "[policies][wrapper]") {
    for (int i = 0; i < 100; ++i) {
        const Case drawn(i);
        for (const std::string base : {"knorm", "snapkv:window=8", "h2o", "tova"}) {
            INFO(base << ", shape " << i);
            const Limit limit{drawn.draw(9, 1, drawn.layer.context_len), std::nullopt};
            CHECK(decide(*make_policy("paged(" + base + "):block=1").policy,
                         {&drawn.layer, 1},
                         limit) == decide(*make_policy(base).policy, {&drawn.layer, 1}, limit));
        }
    }
}
