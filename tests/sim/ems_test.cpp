#include "tests/support/twins/ems.hpp"

#include "tests/sim/cases.hpp"
#include "tests/support/reference.hpp"
#include "tests/support/synthetic_trace.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

using namespace kvtape;
using namespace kvtape::tests;

namespace {

std::size_t size(std::int64_t count) {
    return static_cast<std::size_t>(count);
}

/// One KV head of a synthetic trace that lives through its sequence under EMS, in double.
class NaiveHead {
    const Shape& shape_;
    const SequenceInfo& sequence_;
    const LayerData& data_;
    std::int32_t head_;

  public:
    NaiveHead(const SyntheticTrace& trace, std::int32_t layer, std::int32_t head)
        : shape_(trace.info().shape),
          sequence_(trace.sequence(0)),
          data_(trace.layer(0, layer)),
          head_(head),
          evicted_at(size(sequence_.length()), -1),
          merged_into(evicted_at) {}

    void live(const Schedule& schedule,
              std::size_t budget,
              std::size_t interval,
              const reference::EmsOptions& options) {
        const std::vector<Block> blocks = schedule.blocks(sequence_);
        for (std::size_t b = 0; b < blocks.size(); ++b) {
            enter(blocks[b]);
            const std::size_t most = b == 0 ? budget : budget + interval - 1;
            if (held.size() > most)
                compress(static_cast<std::int32_t>(b), blocks[b].end, budget, options);
            largest_after = std::max(largest_after, b == 0 ? std::size_t{0} : held.size());
        }
    }

    std::vector<reference::EmsEntry> held;
    std::vector<std::int32_t> evicted_at, merged_into;
    std::map<Position, std::vector<double>> merged_keys;
    double margin = INFINITY;
    std::size_t largest_after = 0;
    int compressed = 0;

  private:
    const float* row(const std::vector<float>& tensor, Position token) const {
        return tensor.data() + (std::int64_t{head_} * sequence_.length() + token) * shape_.head_dim;
    }

    /// Mean over the group of the probability that the query at `position` gives each held entry.
    std::vector<double> attention(Position position) const {
        const auto recorded =
            std::lower_bound(
                sequence_.query_positions.begin(), sequence_.query_positions.end(), position) -
            sequence_.query_positions.begin();
        const std::int64_t rows = std::ssize(sequence_.query_positions);
        std::vector<double> mean(held.size());
        for (std::int64_t g = 0; g < shape_.group(); ++g) {
            const float* query = data_.queries.data() +
                                 ((head_ * shape_.group() + g) * rows + recorded) * shape_.head_dim;
            std::vector<double> logits;
            for (const reference::EmsEntry& entry : held) {
                double dot = 0.0;
                for (std::size_t c = 0; c < entry.key.size(); ++c)
                    dot += static_cast<double>(query[c]) * entry.key[c];
                logits.push_back(entry.position > position ? -INFINITY
                                                           : shape_.softmax_scale * dot);
            }
            const std::vector<double> p = reference::softmax(logits);
            for (std::size_t i = 0; i < p.size(); ++i)
                mean[i] += p[i] / static_cast<double>(shape_.group());
        }
        return mean;
    }

    void enter(const Block& block) {
        const auto dim = size(shape_.head_dim);
        for (Position token = block.begin; token < block.end; ++token) {
            const float* key = row(data_.keys, token);
            const float* value = row(data_.values, token);
            held.push_back({.position = token,
                            .key = {key, key + dim},
                            .value = {value, value + dim},
                            .global = 0.0,
                            .local = 0.0});
        }
        if (block.begin == 0) {
            for (reference::EmsEntry& entry : held)
                for (std::int64_t g = 0; g < shape_.group(); ++g)
                    entry.global +=
                        static_cast<double>(data_.column_sums[size(
                            (head_ * shape_.group() + g) * sequence_.length() + entry.position)]) /
                        static_cast<double>(shape_.group());
            return;
        }
        for (Position query = block.begin; query < block.end; ++query) {
            const std::vector<double> p = attention(query);
            for (std::size_t i = 0; i < p.size(); ++i)
                held[i].global += p[i];
        }
    }

    void compress(std::int32_t block,
                  Position end,
                  std::size_t budget,
                  const reference::EmsOptions& options) {
        for (reference::EmsEntry& entry : held)
            entry.local = 0.0;
        const auto window = static_cast<Position>(options.recent);
        for (Position query = end - window; query < end; ++query) {
            const std::vector<double> p = attention(query);
            for (std::size_t i = 0; i < p.size(); ++i)
                held[i].local += p[i];
        }
        const reference::EmsStep step = reference::ems_compress(
            held, static_cast<double>(end), static_cast<double>(window), budget, options);
        margin = std::min(margin, step.margin);
        for (const reference::EmsEntry& entry : held)
            evicted_at[size(entry.position)] = block;
        for (const reference::EmsEntry& entry : step.kept)
            evicted_at[size(entry.position)] = -1;
        for (const auto& [from, into] : step.into)
            merged_into[size(from)] = into;
        held = step.kept;
        for (const auto& [from, into] : step.into)
            for (const reference::EmsEntry& entry : held)
                if (entry.position == into)
                    merged_keys[into] = entry.key;
        ++compressed;
        CHECK(held.size() == budget);
    }
};

}  // namespace

TEST_CASE("while decoding, ems compresses in steps and follows its double-precision twin",
          "[sim][ems]") {
    int judged = 0, merged = 0;
    for (const std::uint64_t seed : {1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u})
        for (const int interval : {1, 4, 8}) {
            const bool inherit = seed % 4 != 0;
            const SyntheticTrace trace({.sequences = 1, .question = 7, .generated = 30}, seed);
            const std::string spec =
                "ems:window=6,sinks=1,rho=0.9,tau=0.3,interval=" + std::to_string(interval) +
                (inherit ? "" : ",inherit=0");
            const auto found = fates(trace, spec, "40t", "prefill+decode")[0];
            for (std::int32_t layer = 0; layer < 2; ++layer)
                for (std::int32_t head = 0; head < 2; ++head) {
                    INFO(spec << ", seed " << seed << ", layer " << layer << ", head " << head);
                    NaiveHead twin(trace, layer, head);
                    twin.live(
                        Schedule::parse("prefill+decode"),
                        40,
                        size(interval),
                        {.recent = 6, .sinks = 1, .rho = 0.9, .tau = 0.3, .inherit = inherit});
                    CHECK(twin.compressed > 2);
                    CHECK(twin.largest_after < 40 + size(interval));
                    if (twin.margin < 1e-4)
                        continue;
                    ++judged;
                    const LayerFate& fate = found[size(layer)];
                    const auto first = std::ptrdiff_t{head} * trace.sequence(0).length();
                    const auto last = first + trace.sequence(0).length();
                    const auto part = [&](const std::vector<std::int32_t>& rows) {
                        return std::vector<std::int32_t>(rows.begin() + first, rows.begin() + last);
                    };
                    CHECK(part(fate.evicted_at) == twin.evicted_at);
                    CHECK(part(fate.merged_into) == twin.merged_into);
                    std::map<Position, std::size_t> rows;  // the last ones
                    for (std::size_t i = 0; i < fate.merged.entries.size(); ++i)
                        if (fate.merged.entries[i].kv_head == head)
                            rows[fate.merged.entries[i].position] = i;
                    CHECK(rows.size() == twin.merged_keys.size());
                    for (const auto& [position, key] : twin.merged_keys) {
                        REQUIRE(rows.contains(position));
                        for (std::size_t c = 0; c < key.size(); ++c)
                            CHECK(fate.merged.keys[rows[position] * key.size() + c] ==
                                  Approx(key[c]).epsilon(1e-4).margin(1e-5));
                        ++merged;
                    }
                }
        }
    CHECK(judged > 40);
    CHECK(merged > 100);
}

TEST_CASE("while decoding, heads that share their budget hold as much together as others do",
          "[sim][ems]") {
    const SyntheticTrace trace({.sequences = 1, .question = 7, .generated = 30}, 5);
    const auto found =
        fates(trace, "ems:window=6,rho=0.9,interval=4,ragged=1", "40t", "prefill+decode")[0];
    const auto blocks = Schedule::parse("prefill+decode").blocks(trace.sequence(0));
    bool uneven = false;
    for (const LayerFate& fate : found)
        for (std::size_t block = 0; block < blocks.size(); ++block) {
            std::vector<int> held(2);
            for (std::size_t head = 0; head < 2; ++head)
                for (Position token = 0; token < blocks[block].end; ++token) {
                    const std::int32_t gone =
                        fate.evicted_at[head * size(trace.sequence(0).length()) + size(token)];
                    held[head] += gone < 0 || std::cmp_greater(gone, block) ? 1 : 0;
                }
            uneven |= held[0] != held[1];
            CHECK(held[0] + held[1] >= 2 * 40);
            CHECK(held[0] + held[1] < 2 * (40 + 4));
            CHECK(std::min(held[0], held[1]) >= 6 + 40 / 5);
        }
    CHECK(uneven);
}

TEST_CASE("keys of a trace without frequencies cannot be compared before RoPE", "[sim][ems]") {
    const SyntheticTrace trace({});
    CHECK(mentions(refusal(ErrorKind::usage,
                           [&] { fates(trace, "ems:window=8,pre_rope=1", "20t", "prefill"); }),
                   "the attribute rope of the trace has no inv_freq"));
}

TEST_CASE("at a schedule without decoding steps, ems is not defined in blocks", "[sim][ems]") {
    const SyntheticTrace trace({});
    CHECK(mentions(
        refusal(ErrorKind::usage, [&] { fates(trace, "ems:window=8", "20t", "block:16"); }),
        "prefill, prompt, each also with +decode"));
}
