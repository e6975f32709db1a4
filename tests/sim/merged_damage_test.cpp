#include "sim/metrics/merged_damage.hpp"

#include "sim/evaluate.hpp"
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
