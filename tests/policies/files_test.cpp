#include "policies/files.hpp"

#include "core/error.hpp"
#include "core/topk.hpp"
#include "policies/parts/head_values.hpp"
#include "policies/spec.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/layer.hpp"

#include <algorithm>
#include <numeric>

using namespace kvtape;
using namespace kvtape::testing;

namespace {

constexpr Shape shape{.layers = 2,
                      .query_heads = 4,
                      .kv_heads = 2,
                      .head_dim = 8,
                      .hidden_size = 32,
                      .softmax_scale = 0.3};
constexpr Position tokens = 52;

/// Scores that say where they belong.
float score_of(std::int32_t layer, std::int32_t head, Position token) {
    return static_cast<float>((token * 37 + layer * 11 + head * 5) % 101);
}

class Table final : public ScoreTable {
  public:
    std::vector<float> layer(std::string_view sequence, std::int32_t layer) const override {
        CHECK(sequence == "0007");
        std::vector<float> scores;
        for (std::int32_t head = 0; head < shape.kv_heads; ++head)
            for (Position token = 0; token < tokens; ++token)
                scores.push_back(score_of(layer, head, token));
        return scores;
    }
    const std::string& fingerprint() const override { return digits_; }

  private:
    std::string digits_ = "00112233445566778899aabbccddeeff";
};

/// One table and one text, whatever the path.
class Memory final : public Files {
  public:
    explicit Memory(std::string text = "") : text_(std::move(text)) {}
    std::shared_ptr<const ScoreTable> scores(const std::string&) const override {
        return std::make_shared<Table>();
    }
    std::string text(const std::string&) const override { return text_; }

  private:
    std::string text_;
};

PolicyRun make(std::string_view spec, const Memory& files) {
    return make_policy(spec, policies::all(), &files);
}

std::vector<Layer> layers() {
    return {random_layer(shape, 0, 50, tokens, Philox(1)),
            random_layer(shape, 1, 50, tokens, Philox(1))};
}

Decision decide_over(const PolicyRun& run, const Limit& limit) {
    const std::vector<Layer> made = layers();
    const auto session = run.policy->start(
        {.shape = shape, .context_len = 50, .prompt_len = tokens, .sequence = "0007"});
    for (const Layer& layer : made)
        session->observe(ContextViews(layer, run.policy->needs(), QuerySource::agnostic).view());
    return session->decide({0, 50, false}, limit);
}

/// Tokens kept by each head, layers one after the other.
std::vector<std::size_t> counts(const Decision& decision) {
    std::vector<std::size_t> sizes;
    for (std::int32_t layer = 0; layer < 2; ++layer)
        for (std::int32_t head = 0; head < 2; ++head)
            sizes.push_back(decision[{layer, head}].size());
    return sizes;
}

std::string refusal(ErrorKind kind, const std::function<void()>& action) {
    try {
        action();
    } catch (const Error& error) {
        CHECK(error.kind() == kind);
        return error.what();
    }
    FAIL("nothing was refused");
    return {};
}

bool says(const std::string& message, std::string_view part) {
    return message.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("scores keeps what the file ranks best, and what it protects", "[policies][scores]") {
    const Memory files;
    const Decision plain = decide_over(make("scores:file=F.h5", files), {13, std::nullopt});
    const Decision guarded =
        decide_over(make("scores:file=F.h5,sinks=3,recent=4", files), {13, std::nullopt});
    for (std::int32_t layer = 0; layer < 2; ++layer)
        for (std::int32_t head = 0; head < 2; ++head) {
            std::vector<float> scores;
            for (Position token = 0; token < 50; ++token)
                scores.push_back(score_of(layer, head, token));
            CHECK(plain[{layer, head}] == select_top(scores, 13));
            for (const Position token : {0, 1, 2, 46, 47, 48, 49})
                scores[static_cast<std::size_t>(token)] = 1000.0f;
            CHECK(guarded[{layer, head}] == select_top(scores, 13));
        }
}

TEST_CASE("scores echoes what the file holds and takes wrappers", "[policies][scores]") {
    const Memory files;
    CHECK(
        to_text(make("scores:file=F.h5", files).policy->parameters()) ==
        R"({"file":"F.h5","fingerprint":"00112233445566778899aabbccddeeff","recent":0,"sinks":0})");
    const Decision paged =
        decide_over(make("paged(scores:file=F.h5):block=1", files), {13, std::nullopt});
    CHECK(paged == decide_over(make("scores:file=F.h5", files), {13, std::nullopt}));
}

TEST_CASE("a policy that decides by a file says when none is given", "[policies][scores]") {
    for (const char* name : {"scores", "headkv", "duo_attention"}) {
        INFO(name);
        const PolicyRun run = make_policy(name);
        CHECK(says(refusal(ErrorKind::usage, [&] { run.policy->expect_fit(shape); }),
                   "the parameter 'file' is not set"));
    }
}

TEST_CASE("head values are read from lines or JSON, for KV heads or query heads",
          "[policies][heads]") {
    const std::vector<double> expected{0.5, 0.25, 1.0, 0.0};
    for (const char* text : {"0.5,0.25\n1,0\n",
                             "0.5\t0.25\r\n1e0 0.0",
                             "\n 0.5 , 0.25\n\n1,0",
                             "[[0.5,0.25],[1,0]]",
                             "0.75,0.25,0.5,0\n2,0,0,0"}) {
        INFO(text);
        const HeadValues values(text, "F");
        values.expect_fit(shape, "headkv");
        CHECK(values.by_kv_head(shape) == expected);
    }
    CHECK(HeadValues("1,2", "F").echo() == HeadValues("[[1,2]]", "G").echo());
    CHECK(HeadValues("1,2", "F").echo() != HeadValues("1\n2", "F").echo());
}

TEST_CASE("head values of another model or in another form are refused in one line",
          "[policies][heads]") {
    for (const char* text : {"1,2\n3,4\n5,6", "1,2", "1,2,3\n4,5,6", "1,2\n3", "[[1,2],[3]]"}) {
        INFO(text);
        const std::string message =
            refusal(ErrorKind::format, [&] { HeadValues(text, "F").expect_fit(shape, "headkv"); });
        CHECK(says(message, "the file is for another model"));
        CHECK(says(message, "2 layers of 2 KV heads and 4 query heads"));
    }
    for (const char* text : {"",
                             "\n\n",
                             "a,b\nc,d",
                             "1,2\n3,-4",
                             "1,nan\n1,1",
                             "inf,1\n1,1",
                             "[]",
                             "[1,2]",
                             "[[1,\"a\"]]",
                             "[[1,2]",
                             "[[1,2],[3,-1]]",
                             "1;2\n3;4"}) {
        INFO(text);
        refusal(ErrorKind::format, [&] { HeadValues(text, "F"); });
    }
}

TEST_CASE("the largest remainders share out every piece", "[policies][heads]") {
    using Pieces = std::vector<std::int64_t>;
    CHECK(largest_remainder({1.0, 1.0, 1.0}, 7) == Pieces{3, 2, 2});
    CHECK(largest_remainder({1.0, 3.0}, 8) == Pieces{2, 6});
    CHECK(largest_remainder({0.0, 0.0}, 5) == Pieces{3, 2});
    CHECK(largest_remainder({0.0, 2.0}, 5) == Pieces{0, 5});
    CHECK(largest_remainder({}, 5).empty());
    for (std::uint64_t i = 0; i < 1000; ++i) {
        const Philox random(i, 3);
        std::vector<double> shares;
        for (std::uint64_t k = 0; k <= random.below(0, 40); ++k)
            shares.push_back(random.uniform(10 + k));
        const std::int64_t total = random.below(1, 5000);
        const Pieces pieces = largest_remainder(shares, total);
        CHECK(std::accumulate(pieces.begin(), pieces.end(), std::int64_t{0}) == total);
        const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
        for (std::size_t k = 0; k < shares.size(); ++k)
            CHECK(std::abs(static_cast<double>(pieces[k]) -
                           shares[k] / sum * static_cast<double>(total)) < 1.0);
    }
}

TEST_CASE("headkv shares its pool out by importance and keeps the total", "[policies][heads]") {
    // 20 tokens, 8 of them the window: 12 free, half of them pooled, 24 over four heads
    const std::string spec = "headkv(snapkv:window=8):file=F,beta=2";
    CHECK(counts(decide_over(make(spec, Memory("0,1\n1,2")), {20, std::nullopt})) ==
          std::vector<std::size_t>{14, 20, 20, 26});
    CHECK(counts(decide_over(make(spec, Memory("1,1\n1,1")), {20, std::nullopt})) ==
          std::vector<std::size_t>(4, 20));
    CHECK(counts(decide_over(make(spec, Memory("0,0\n0,9")), {50, std::nullopt})) ==
          std::vector<std::size_t>(4, 50));
    const Memory equal("1,1\n1,1");
    CHECK(decide_over(make(spec, equal), {20, std::nullopt}) ==
          decide_over(make("snapkv:window=8", equal), {20, std::nullopt}));
}

TEST_CASE("duo_attention streams the heads with the lowest values, as many as the budget takes",
          "[policies][heads]") {
    const Memory files("0.9,0.1\n0.2,0.8");
    const std::string spec = "duo_attention:file=F,sinks=2,recent=8";
    const auto at = [&](Position budget) {
        return counts(decide_over(make(spec, files), {budget, std::nullopt}));
    };
    CHECK(at(50) == std::vector<std::size_t>{50, 50, 50, 50});
    CHECK(at(49) == std::vector<std::size_t>{50, 10, 50, 50});
    CHECK(at(40) == std::vector<std::size_t>{50, 10, 50, 50});
    CHECK(at(39) == std::vector<std::size_t>{50, 10, 10, 50});
    CHECK(at(20) == std::vector<std::size_t>{50, 10, 10, 10});
    CHECK(at(19) == std::vector<std::size_t>{10, 10, 10, 10});
    CHECK(at(5) == std::vector<std::size_t>{5, 5, 5, 5});
    const Decision decision = decide_over(make(spec, files), {40, std::nullopt});
    CHECK(decision[{0, 1}] == std::vector<Position>{0, 1, 42, 43, 44, 45, 46, 47, 48, 49});
    CHECK(counts(decide_over(make(spec + ",by=share", files), {25, Ratio{1, 2}})) ==
          std::vector<std::size_t>{50, 10, 10, 50});
}
