#include "tests/support/twins/ems.hpp"

#include "core/philox.hpp"
#include "sim/evaluate.hpp"
#include "sim/metrics/merged_damage.hpp"
#include "sim/results.hpp"
#include "sim/tables.hpp"
#include "tests/sim/cases.hpp"
#include "tests/support/reference.hpp"
#include "tests/support/synthetic_trace.hpp"
#include "tests/trace/samples.hpp"

#include <algorithm>
#include <cmath>

using namespace kvtape;
using namespace kvtape::tests;

namespace {

std::size_t size(std::int64_t count) {
    return static_cast<std::size_t>(count);
}

/// Fates of every sequence, in order, under one policy and budget.
std::vector<std::vector<LayerFate>> fates(const Trace& trace,
                                          const std::string& spec,
                                          const std::string& budget,
                                          const std::string& schedule) {
    const std::vector<PolicyRun> policies = make_policies({spec});
    const ReplayTask task{.policy = &policies[0], .budgets = parse_budgets(budget)};
    ReplayRequest request = request_for(trace);
    request.schedule = Schedule::parse(schedule);
    std::vector<std::vector<LayerFate>> found;
    replay(request, std::span(&task, 1), [&](const Decided& decided) {
        found.emplace_back();
        for (std::size_t layer = 0; layer < request.layers.size(); ++layer)
            found.back().push_back(decided.fate[layer]);
    });
    return found;
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
        const auto window = static_cast<Position>(options.window);
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

/// The output error of one KV head straight from its definition, in double: median over probes.
double exact_error(const SyntheticTrace& trace, const LayerFate& fate, std::int32_t kv_head) {
    const Shape& shape = trace.info().shape;
    const SequenceInfo& sequence = trace.sequence(0);
    const LayerData& data = trace.layer(0, 1);
    const Position tokens = sequence.length();
    std::vector<double> errors;
    const auto merged_row = [&](Position position) {
        std::ptrdiff_t found = -1;
        for (std::size_t i = 0; i < fate.merged.entries.size(); ++i)
            if (fate.merged.entries[i].kv_head == kv_head &&
                fate.merged.entries[i].position == position && fate.merged.entries[i].block == 0)
                found = static_cast<std::ptrdiff_t>(i);
        return found;
    };
    for (std::int32_t head = kv_head * shape.group(); head < (kv_head + 1) * shape.group(); ++head)
        for (std::size_t r = 0; r < sequence.query_positions.size(); ++r) {
            const Position position = sequence.query_positions[r];
            if (position < sequence.context_len)
                continue;
            const float* query =
                data.queries.data() +
                (head * std::ssize(sequence.query_positions) + static_cast<std::ptrdiff_t>(r)) *
                    shape.head_dim;
            std::vector<double> full(size(shape.head_dim)), kept(full.size());
            double full_mass = 0.0, kept_mass = 0.0;
            for (Position j = 0; j <= position; ++j) {
                const std::int64_t at = (std::int64_t{kv_head} * tokens + j) * shape.head_dim;
                const auto add = [&](const float* key,
                                     const float* value,
                                     double& mass,
                                     std::vector<double>& sum) {
                    const double weight =
                        std::exp(shape.softmax_scale * reference::dot(query, key, shape.head_dim));
                    mass += weight;
                    for (std::size_t c = 0; c < sum.size(); ++c)
                        sum[c] += weight * static_cast<double>(value[c]);
                };
                add(data.keys.data() + at, data.values.data() + at, full_mass, full);
                if (fate.evicted_at[size(std::int64_t{kv_head} * tokens + j)] == 0)
                    continue;
                const std::ptrdiff_t row = merged_row(j);
                if (row < 0)
                    add(data.keys.data() + at, data.values.data() + at, kept_mass, kept);
                else
                    add(fate.merged.keys.data() + row * shape.head_dim,
                        fate.merged.values.data() + row * shape.head_dim,
                        kept_mass,
                        kept);
            }
            double distance = 0.0, length = 0.0;
            for (std::size_t c = 0; c < full.size(); ++c) {
                distance += std::pow(full[c] / full_mass - kept[c] / kept_mass, 2);
                length += std::pow(full[c] / full_mass, 2);
            }
            errors.push_back(std::sqrt(distance / length));
        }
    std::sort(errors.begin(), errors.end());
    const std::size_t half = errors.size() / 2;
    return errors.size() % 2 == 1 ? errors[half] : (errors[half - 1] + errors[half]) / 2.0;
}

std::vector<HeadResult> evaluate(const SyntheticTrace& trace,
                                 const LayerFate& fate,
                                 const Schedule& schedule = {}) {
    LayerData data;
    const Chain chain{.results = 1,
                      .schedule = schedule,
                      .fate = [&](std::size_t, std::int32_t, std::int32_t) { return fate; }};
    return evaluate_layer(trace, 0, 1, std::span(&chain, 1), data, 2)[0][0];
}

}  // namespace

TEST_CASE("the output error is that of merged keys and values", "[sim][metrics][ems]") {
    const SyntheticTrace trace({});
    for (const std::string budget : {"20t", "50t"}) {
        const LayerFate fate = fates(trace, "ems:window=8,tau=0.1", budget, "prefill")[0][1];
        REQUIRE_FALSE(fate.merged.entries.empty());
        LayerFate evicted = fate;
        evicted.merged = {};
        const std::vector<HeadResult> merged = evaluate(trace, fate);
        const std::vector<HeadResult> plain = evaluate(trace, evicted);
        for (std::int32_t head = 0; head < 2; ++head) {
            const HeadResult& found = merged[size(head)];
            CHECK(found.output_error_median.value() ==
                  Approx(exact_error(trace, fate, head)).epsilon(1e-5));
            CHECK(plain[size(head)].output_error_median.value() ==
                  Approx(exact_error(trace, evicted, head)).epsilon(1e-5));
            CHECK(found.output_error_median != plain[size(head)].output_error_median);
            CHECK(found.mass_kept == plain[size(head)].mass_kept);
        }
    }
}

TEST_CASE("merging that leaves keys and values as they are changes no figure",
          "[sim][metrics][ems]") {
    const SyntheticTrace trace({});
    LayerFate fate = fates(trace, "ems:window=8,tau=0.1", "30t", "prefill")[0][1];
    LayerFate evicted = fate;
    evicted.merged = {};
    const auto dim = static_cast<std::ptrdiff_t>(trace.info().shape.head_dim);
    for (std::size_t i = 0; i < fate.merged.entries.size(); ++i) {
        const auto [block, head, position] = fate.merged.entries[i];
        const std::ptrdiff_t from = (head * trace.sequence(0).length() + position) * dim;
        const std::ptrdiff_t to = static_cast<std::ptrdiff_t>(i) * dim;
        std::copy_n(trace.layer(0, 1).keys.begin() + from, dim, fate.merged.keys.begin() + to);
        std::copy_n(trace.layer(0, 1).values.begin() + from, dim, fate.merged.values.begin() + to);
    }
    const std::vector<HeadResult> merged = evaluate(trace, fate), plain = evaluate(trace, evicted);
    for (std::size_t head = 0; head < 2; ++head) {
        CHECK(merged[head].output_error_median.value() ==
              Approx(plain[head].output_error_median.value()).epsilon(1e-5));
        CHECK(merged[head].output_error_p95.value() ==
              Approx(plain[head].output_error_p95.value()).epsilon(1e-5));
        CHECK(merged[head].mass_kept == plain[head].mass_kept);
    }
}

TEST_CASE("a merged key with an enormous logit takes the whole output, without overflow",
          "[sim][metrics][ems]") {
    const Matrix weights = Matrix::Ones(1, 3);
    const std::vector<float> largest = {1.0f};
    Matrix values(3, 2), key(1, 2), value(1, 2), query(1, 2);
    values << 1.0f, 0.0f, 1.0f, 0.0f, 1.0f, 0.0f;
    key << 1000.0f, 0.0f;
    value << 0.0f, 1.0f;
    query << 5.0f, 0.0f;
    const std::vector<HeadProbes> probes = {
        {.weights = view(weights), .largest = largest, .queries = query}};
    const std::vector<Position> positions = {2};
    const std::vector<char> kept = {1, 0, 1};
    const MergedRows merged{.positions = {0}, .keys = key, .values = value};
    const auto error = [&](std::optional<Position> window) {
        return measure_merged(probes, positions, window, view(values), kept, merged)
            .output_error_median;
    };
    CHECK(error(std::nullopt) == Approx(std::sqrt(2.0)));
    // A query that does not see the entry does not see the merged one either.
    CHECK(error(2) == 0.0);
}

TEST_CASE("while decoding, ems compresses in steps and follows its double-precision twin",
          "[sim][ems]") {
    int judged = 0, merged = 0;
    for (const std::uint64_t seed : {1u, 2u, 3u, 4u, 5u, 6u})
        for (const int interval : {1, 4, 8}) {
            const SyntheticTrace trace({.sequences = 1, .question = 7, .generated = 30}, seed);
            const std::string spec =
                "ems:window=6,sinks=1,rho=0.9,tau=0.3,interval=" + std::to_string(interval);
            const auto found = fates(trace, spec, "40t", "prefill+decode")[0];
            for (std::int32_t layer = 0; layer < 2; ++layer)
                for (std::int32_t head = 0; head < 2; ++head) {
                    INFO(spec << ", seed " << seed << ", layer " << layer << ", head " << head);
                    NaiveHead twin(trace, layer, head);
                    twin.live(Schedule::parse("prefill+decode"),
                              40,
                              size(interval),
                              {.window = 6, .sinks = 1, .rho = 0.9, .tau = 0.3});
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

TEST_CASE("at a schedule without decoding steps, ems is not defined in blocks", "[sim][ems]") {
    const SyntheticTrace trace({});
    CHECK(mentions(
        refusal(ErrorKind::usage, [&] { fates(trace, "ems:window=8", "20t", "block:16"); }),
        "prefill, prompt, each also with +decode"));
}

TEST_CASE("tables of merged results are made from the decision files alone", "[sim][ems]") {
    const Folder folder;
    const SyntheticTrace trace({});
    ResultDirectory directory(folder / "out", trace);
    const std::vector<PolicyRun> policies = make_policies({"ems:window=8,tau=0.1"});
    const ReplayTask task{.policy = &policies[0], .budgets = parse_budgets("20t,50t")};
    const auto silent = [](std::int64_t, std::int64_t) {};
    replay_into(directory, request_for(trace), std::span(&task, 1), "kvtape test", silent);
    const Tables tables = make_tables(trace, directory.results(), 2, silent);
    REQUIRE(tables.cells.size() == 2);
    double error = 0.0;
    for (const auto& layers : fates(trace, "ems:window=8,tau=0.1", "20t", "prefill"))
        CHECK_FALSE(layers[1].merged.entries.empty());
    const LayerFate fate = directory.results()[0].decisions->load(0, 1);
    CHECK(fate.merged == fates(trace, "ems:window=8,tau=0.1", "20t", "prefill")[0][1].merged);
    for (const HeadResult& head : evaluate(trace, fate))
        error += head.output_error_median.value();
    CHECK(error > 0.0);
}
