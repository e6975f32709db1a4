#include "sim/curve.hpp"
#include "sim/replay.hpp"
#include "tests/sim/cases.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/reference.hpp"
#include "tests/support/synthetic_trace.hpp"

#include <algorithm>
#include <cmath>
#include <functional>

using namespace kvtape;
using namespace kvtape::tests;

namespace {

using Keep = std::vector<Position>;

/// A trace with the queries of every token.
SyntheticTrace all_queries(std::uint64_t seed, Position context = 60) {
    SyntheticSize size;
    size.sequences = 1;
    size.context = size.window = context;
    size.needle_begin = 10;
    size.needle_end = 14;
    return SyntheticTrace(size, seed);
}

/// What `spec` leaves of the context, [layer][kv_head].
std::vector<std::vector<Keep>> kept_by(const Trace& trace,
                                       const std::string& spec,
                                       const std::string& budget) {
    const PolicyRun policy = make_policy(spec);
    const ReplayTask task{.policy = &policy, .budgets = parse_budgets(budget)};
    const ReplayRequest request = request_for(trace);
    std::vector<std::vector<Keep>> kept;
    replay(request, {&task, 1}, [&](const Decided& decided) {
        const SequenceInfo& sequence = trace.sequence(0);
        for (std::size_t layer = 0; layer < request.layers.size(); ++layer) {
            kept.emplace_back();
            for (std::int32_t head = 0; head < trace.info().shape.kv_heads; ++head) {
                Keep& keep = kept.back().emplace_back();
                for (Position t = 0; t < sequence.context_len; ++t)
                    if (decided.fate[layer]
                            .evicted_at[static_cast<std::size_t>(head * sequence.length() + t)] ==
                        -1)
                        keep.push_back(t);
            }
        }
    });
    return kept;
}

/// The logit of the query at `row` of query head `query_head` for the key of `token`.
double logit(const SyntheticTrace& trace, int layer, int query_head, Position row, Position token) {
    const Shape& shape = trace.info().shape;
    const SequenceInfo& sequence = trace.sequence(0);
    const LayerData& data = trace.layer(0, layer);
    const auto rows = std::ssize(sequence.query_positions);
    return shape.softmax_scale *
           reference::dot(
               data.queries.data() + (query_head * rows + row) * shape.head_dim,
               data.keys.data() +
                   (query_head / shape.group() * sequence.length() + token) * shape.head_dim,
               shape.head_dim);
}

/// The probabilities of that query over `seen` tokens.
std::vector<double> attention(
    const SyntheticTrace& trace, int layer, int query_head, Position row, const Keep& seen) {
    std::vector<double> logits;
    for (const Position token : seen)
        logits.push_back(logit(trace, layer, query_head, row, token));
    return reference::softmax(logits);
}

Keep first(Position count) {
    return first_numbers(count);
}

/// The best `count` by score, earlier ones first among equals, ascending.
Keep best(Keep tokens, const std::vector<double>& score, std::size_t count) {
    std::stable_sort(tokens.begin(), tokens.end(), [&](Position a, Position b) {
        return score[static_cast<std::size_t>(a)] > score[static_cast<std::size_t>(b)];
    });
    tokens.resize(std::min(count, tokens.size()));
    std::sort(tokens.begin(), tokens.end());
    return tokens;
}

}  // namespace

TEST_CASE("while nothing is evicted, h2o token by token is the sum over the prompt", "[sim][h2o]") {
    const SyntheticTrace trace = all_queries(3);
    CHECK(kept_by(trace, "h2o:variant=online", "60t") == kept_by(trace, "h2o", "60t"));
    // the last token is the first that must go
    CHECK(kept_by(trace, "h2o:variant=online", "59t") == kept_by(trace, "h2o", "59t"));
}

TEST_CASE("h2o token by token needs every query", "[sim][h2o]") {
    SyntheticSize size;
    size.window = 20;
    const SyntheticTrace trace(size);
    const std::string message =
        refusal(ErrorKind::usage, [&] { kept_by(trace, "h2o:variant=online", "17t"); });
    CHECK(mentions(message, "record with --queries all"));
}

TEST_CASE("h2o's global form sees the queries after the context", "[sim][h2o]") {
    const SyntheticTrace trace = all_queries(5);
    const SequenceInfo& sequence = trace.sequence(0);
    const auto kept = kept_by(trace, "h2o:variant=global_oracle", "16t");
    for (int head = 0; head < 2; ++head) {
        std::vector<double> sums(static_cast<std::size_t>(sequence.length()));
        for (int query_head = 2 * head; query_head < 2 * head + 2; ++query_head)
            for (Position row = 0; row < sequence.length(); ++row) {
                const auto p = attention(trace, 0, query_head, row, first(row + 1));
                for (std::size_t i = 0; i < p.size(); ++i)
                    sums[i] += p[i];
            }
        Keep expected = best(first(sequence.context_len - 8), sums, 8);
        for (Position t = sequence.context_len - 8; t < sequence.context_len; ++t)
            expected.push_back(t);
        CHECK(kept[0][static_cast<std::size_t>(head)] == expected);
    }
    const PolicyRun policy = make_policy("h2o:variant=global_oracle");
    CHECK(source_of(policy, QuerySource::agnostic) == QuerySource::oracle);
    // Who asks no queries is agnostic, whatever was asked for.
    CHECK(source_of(make_policy("knorm"), QuerySource::oracle) == QuerySource::agnostic);
    CHECK(source_of(make_policy("snapkv"), QuerySource::question) == QuerySource::question);
}

TEST_CASE("finch keeps what the question attends to, rows weighted by what they see",
          "[sim][finch]") {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        const SyntheticTrace trace = all_queries(seed);
        const SequenceInfo& sequence = trace.sequence(0);
        const auto kept = kept_by(trace, "finch", "12t");
        for (int layer = 0; layer < 2; ++layer)
            for (int head = 0; head < 2; ++head) {
                std::vector<double> votes(static_cast<std::size_t>(sequence.context_len));
                for (int query_head = 2 * head; query_head < 2 * head + 2; ++query_head)
                    for (Position row = sequence.context_len; row < sequence.prompt_len; ++row) {
                        const auto p = attention(trace, layer, query_head, row, first(row + 1));
                        for (std::size_t i = 0; i < votes.size(); ++i)
                            votes[i] += p[i] * row;
                    }
                INFO("seed " << seed << ", layer " << layer << ", KV head " << head);
                CHECK(kept[static_cast<std::size_t>(layer)][static_cast<std::size_t>(head)] ==
                      best(first(sequence.context_len), votes, 12));
            }
    }
    CHECK(source_of(make_policy("finch"), QuerySource::agnostic) == QuerySource::question);
}

TEST_CASE("policies whose kept sets do not grow with the budget have no curve", "[sim][curve]") {
    for (const char* spec : {"h2o:variant=online",
                             "h2o:variant=step",
                             "oracle_top_p",
                             "paged(knorm)",
                             "headkv",
                             "duo_attention"}) {
        INFO(spec);
        CHECK_FALSE(has_curve(make_policy(spec)));
    }
    for (const char* spec : {"h2o", "h2o:variant=value_norm", "r_kv", "finch", "oracle_output"}) {
        INFO(spec);
        CHECK(has_curve(make_policy(spec)));
    }
}
