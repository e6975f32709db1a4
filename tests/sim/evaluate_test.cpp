#include "sim/evaluate.hpp"

#include "core/philox.hpp"
#include "sim/metrics/needle.hpp"
#include "sim/probes.hpp"
#include "sim/summary.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/reference.hpp"
#include "tests/support/synthetic_trace.hpp"

#include <algorithm>
#include <cmath>
#include <set>

using namespace kvtape;

namespace {

using Fate = std::vector<std::int32_t>;

/// `evicted_at` of one layer: every context token is kept with probability `share`, the smallest
/// shares being subsets of the larger ones.
Fate random_fate(const SyntheticTrace& trace, double share) {
    const SequenceInfo& sequence = trace.sequence(0);
    const auto tokens = static_cast<std::size_t>(sequence.length());
    Fate fate(static_cast<std::size_t>(trace.info().shape.kv_heads) * tokens, -1);
    const Philox random(77);
    for (std::size_t i = 0; i < fate.size(); ++i)
        if (i % tokens < static_cast<std::size_t>(sequence.context_len) &&
            random.uniform(i) >= share)
            fate[i] = 0;
    return fate;
}

std::vector<HeadResult> evaluate(const SyntheticTrace& trace,
                                 const std::vector<Fate>& fates,
                                 std::size_t which) {
    LayerData data;
    const Chain chain{.results = fates.size(),
                      .schedule = {},
                      .fate = [&](std::size_t i, std::int32_t, std::int32_t) {
                          return LayerFate{.evicted_at = fates[i], .merged_into = {}, .scores = {}};
                      }};
    return evaluate_layer(trace, 0, 1, std::span(&chain, 1), data, 2)[0][which];
}

struct Twin {
    double mass_kept = 0.0, error_median = 0.0, error_p95 = 0.0, needle_weight = 0.0;
    double needle_read = 0.0;
};

/// The metrics of one head straight from their definitions, in double.
Twin evaluate_exactly(const SyntheticTrace& trace, const Fate& fate, std::int32_t kv_head) {
    const Shape& shape = trace.info().shape;
    const SequenceInfo& sequence = trace.sequence(0);
    const LayerData& data = trace.layer(0, 1);
    const Position tokens = sequence.length();
    std::vector<double> masses, errors, needle_masses, needle_held;
    const auto needle = needle_positions(sequence);
    for (std::int32_t head = kv_head * shape.group(); head < (kv_head + 1) * shape.group(); ++head)
        for (std::size_t r = 0; r < sequence.query_positions.size(); ++r) {
            const Position position = sequence.query_positions[r];
            const auto row =
                static_cast<std::ptrdiff_t>(r) + head * std::ssize(sequence.query_positions);
            std::vector<double> logits;
            for (Position j = 0; j <= position; ++j)
                logits.push_back(
                    shape.softmax_scale *
                    reference::dot(data.queries.data() + row * shape.head_dim,
                                   data.keys.data() + (kv_head * tokens + j) * shape.head_dim,
                                   shape.head_dim));
            const std::vector<double> p = reference::softmax(logits);
            if (position >= sequence.prompt_len - 1 && position <= tokens - 2) {
                double on_needle = 0.0, held = 0.0;
                for (const Position t : needle) {
                    const bool stays = fate[static_cast<std::size_t>(kv_head * tokens + t)] != 0;
                    on_needle += p[static_cast<std::size_t>(t)];
                    held += stays ? p[static_cast<std::size_t>(t)] : 0.0;
                }
                needle_masses.push_back(on_needle);
                needle_held.push_back(held);
            }
            if (position < sequence.context_len)
                continue;
            double mass = 0.0;
            std::vector<double> full(static_cast<std::size_t>(shape.head_dim)), kept(full.size());
            for (Position j = 0; j <= position; ++j) {
                const bool stays = fate[static_cast<std::size_t>(kv_head * tokens + j)] != 0;
                mass += stays ? p[static_cast<std::size_t>(j)] : 0.0;
                for (std::size_t c = 0; c < full.size(); ++c) {
                    const double part =
                        p[static_cast<std::size_t>(j)] *
                        static_cast<double>(
                            data.values[static_cast<std::size_t>((kv_head * tokens + j) *
                                                                 shape.head_dim) +
                                        c]);
                    full[c] += part;
                    kept[c] += stays ? part : 0.0;
                }
            }
            double distance = 0.0, length = 0.0;
            for (std::size_t c = 0; c < full.size(); ++c) {
                distance += std::pow(full[c] - kept[c] / mass, 2);
                length += full[c] * full[c];
            }
            masses.push_back(mass);
            errors.push_back(std::sqrt(distance / length));
        }
    const auto mean = [](const std::vector<double>& values) {
        double sum = 0.0;
        for (const double value : values)
            sum += value;
        return sum / static_cast<double>(values.size());
    };
    std::sort(errors.begin(), errors.end());
    const auto at = [&](double fraction) {
        const double place = fraction * static_cast<double>(errors.size() - 1);
        const auto below = static_cast<std::size_t>(place);
        const std::size_t above = std::min(below + 1, errors.size() - 1);
        return errors[below] +
               (place - static_cast<double>(below)) * (errors[above] - errors[below]);
    };
    return {mean(masses),
            at(0.5),
            at(0.95),
            mean(needle_masses),
            mean(needle_held) / mean(needle_masses)};
}

}  // namespace

TEST_CASE("mass kept, output error and needle weight follow their definitions", "[sim][metrics]") {
    const SyntheticTrace trace({});
    std::vector<Fate> fates;
    for (const double share : {0.05, 0.3, 0.6, 0.95})
        fates.push_back(random_fate(trace, share));
    Fate unlike = fates[1];  // a set that is nested with none of the others
    std::rotate(unlike.begin(), unlike.begin() + 11, unlike.begin() + 80);
    fates.push_back(unlike);
    for (std::size_t i = 0; i < fates.size(); ++i) {
        const std::vector<HeadResult> heads = evaluate(trace, fates, i);
        for (std::int32_t head = 0; head < 2; ++head) {
            const HeadResult& found = heads[static_cast<std::size_t>(head)];
            const Twin exact = evaluate_exactly(trace, fates[i], head);
            // Float32 products of 8 terms and sums of 102 weights.
            CHECK(found.mass_kept.value() == Approx(exact.mass_kept).epsilon(2e-6));
            CHECK(found.output_error_median.value() == Approx(exact.error_median).epsilon(1e-5));
            CHECK(found.output_error_p95.value() == Approx(exact.error_p95).epsilon(1e-5));
            CHECK(found.needle_weight == Approx(exact.needle_weight).epsilon(2e-6));
            CHECK(found.needle_read.value() == Approx(exact.needle_read).margin(2e-6));
        }
    }
}

TEST_CASE("a full cache keeps all the mass and makes no error, exactly", "[sim][metrics]") {
    const SyntheticTrace trace({});
    const std::vector<Fate> fates = {random_fate(trace, 0.2), random_fate(trace, 1.0)};
    for (const HeadResult& head : evaluate(trace, fates, 1)) {
        CHECK(head.mass_kept == 1.0);
        CHECK(head.needle_read == 1.0);
        CHECK(head.output_error_median == 0.0);
        CHECK(head.output_error_p95 == 0.0);
        CHECK(head.needle_recall() == 1.0);
    }
}

TEST_CASE("metrics of a budget do not depend on which others are measured with it",
          "[sim][metrics]") {
    const SyntheticTrace trace({});
    const std::vector<Fate> fates = {
        random_fate(trace, 0.1), random_fate(trace, 0.4), random_fate(trace, 0.7)};
    for (std::size_t i = 0; i < fates.size(); ++i) {
        const auto alone = evaluate(trace, {fates[i]}, 0), together = evaluate(trace, fates, i);
        for (std::size_t head = 0; head < alone.size(); ++head) {
            CHECK(alone[head].kept == together[head].kept);
            CHECK(alone[head].mass_kept.value() ==
                  Approx(together[head].mass_kept.value()).epsilon(1e-6));
            CHECK(alone[head].output_error_median.value() ==
                  Approx(together[head].output_error_median.value()).epsilon(1e-5));
        }
    }
}

TEST_CASE("evicting one token moves the output by p/(1-p) times its distance to the value",
          "[sim][metrics]") {
    const SyntheticTrace trace({.sequences = 1, .question = 1, .generated = 0});
    Fate fate = random_fate(trace, 1.0);
    const Position evicted = 41;
    fate[static_cast<std::size_t>(evicted)] = 0;
    const HeadResult head = evaluate(trace, {fate}, 0)[0];
    // The removed probability is one minus the mass that stays, over the two probes of the group.
    const Shape& shape = trace.info().shape;
    const SequenceInfo& sequence = trace.sequence(0);
    const LayerData& data = trace.layer(0, 1);
    const Position tokens = sequence.length();
    std::vector<double> errors;
    for (std::int32_t h = 0; h < 2; ++h) {
        const std::ptrdiff_t row = (h + 1) * std::ssize(sequence.query_positions) - 1;
        std::vector<double> logits;
        for (Position j = 0; j < tokens; ++j)
            logits.push_back(shape.softmax_scale *
                             reference::dot(data.queries.data() + row * shape.head_dim,
                                            data.keys.data() + j * shape.head_dim,
                                            shape.head_dim));
        const double p = reference::softmax(logits)[static_cast<std::size_t>(evicted)];
        double distance = 0.0, length = 0.0;
        for (std::ptrdiff_t c = 0; c < shape.head_dim; ++c) {
            const auto output = static_cast<double>(
                data.outputs[static_cast<std::size_t>(row * shape.head_dim + c)]);
            const auto value = static_cast<double>(
                data.values[static_cast<std::size_t>(evicted * shape.head_dim + c)]);
            distance += std::pow(p / (1.0 - p) * (output - value), 2);
            length += output * output;
        }
        errors.push_back(std::sqrt(distance / length));
    }
    CHECK(head.output_error_median.value() == Approx((errors[0] + errors[1]) / 2.0).epsilon(1e-4));
}

TEST_CASE("tokens and bytes are counted as they are stored", "[sim][metrics]") {
    const SyntheticTrace trace({});
    const std::vector<Fate> fates = {random_fate(trace, 0.3)};
    const std::vector<HeadResult> heads = evaluate(trace, fates, 0);
    for (std::size_t head = 0; head < heads.size(); ++head) {
        const auto row = fates[0].begin() + static_cast<std::ptrdiff_t>(head) * 102;
        CHECK(heads[head].tokens == 90);
        CHECK(heads[head].kept == std::count(row, row + 90, -1));
        CHECK(heads[head].kept_bytes == heads[head].kept * 2 * 8 * 4);
        CHECK(heads[head].needle_tokens == 6);
        CHECK(heads[head].needle_kept == std::count(row + 30, row + 36, -1));
    }
}

TEST_CASE("without a needle or a probe the figures are undefined, not zero", "[sim][metrics]") {
    const SyntheticTrace trace(
        {.sequences = 1, .question = 0, .generated = 0, .needle_begin = 5, .needle_end = 5});
    const HeadResult head = evaluate(trace, {random_fate(trace, 0.5)}, 0)[0];
    CHECK_FALSE(head.needle_recall().has_value());
    CHECK_FALSE(head.mass_kept.has_value());
    CHECK_FALSE(head.output_error_median.has_value());
    const SequenceSummary summary = summarise("t", {head}, 64);
    CHECK_FALSE(summary.needle_recall.has_value());
    CHECK_FALSE(summary.needle_recall_weighted.has_value());
}

TEST_CASE("heads that never read the needle do not count in weighted recall", "[sim][summary]") {
    HeadResult reads, ignores;
    reads.needle_tokens = ignores.needle_tokens = 4;
    reads.needle_kept = 3;
    reads.needle_weight = 0.5;
    ignores.needle_kept = 0;
    ignores.needle_weight = 0.0;
    const SequenceSummary summary = summarise("t", {reads, ignores}, 64);
    CHECK(summary.needle_recall.value() == 0.375);
    CHECK(summary.needle_recall_weighted.value() == 0.75);
    CHECK(summary.needle_intact_heads.value() == 0.0);
}

TEST_CASE("reader recall listens to the heads that read, and half of a needle is next to nothing",
          "[sim][summary]") {
    HeadResult reads, glances;
    reads.needle_tokens = glances.needle_tokens = 4;
    reads.needle_weight = 0.5;
    glances.needle_weight = 0.25;
    reads.needle_read = 0.5;
    glances.needle_read = 1.0;
    const SequenceSummary summary = summarise("t", {reads, glances}, 64);
    CHECK(summary.needle_read.value() == Approx((0.5 * 0.5 + 0.25) / 0.75));
    // Weights 16 : 1, and a half to the eighth power.
    CHECK(summary.needle_recall_readers.value() == Approx((16.0 / 256.0 + 1.0) / 17.0));
    reads.needle_read = glances.needle_read = std::nullopt;
    CHECK_FALSE(summarise("t", {reads, glances}, 64).needle_recall_readers.has_value());
}

TEST_CASE("the bootstrap interval holds the mean, repeats, and pairs by position",
          "[sim][summary]") {
    const std::vector<double> values = {0.1, 0.9, 0.4, 0.5, 0.5, 0.2};
    const Interval interval = bootstrap_mean(values);
    CHECK(interval.mean == Approx(2.6 / 6));
    CHECK((interval.low < interval.mean && interval.mean < interval.high));
    CHECK(interval.low == bootstrap_mean(values).low);
    std::vector<double> shifted = values;
    for (double& value : shifted)
        value += 1.0;
    CHECK(bootstrap_mean(shifted).high == Approx(interval.high + 1.0));
}

TEST_CASE("fewer than four sequences give a mean without an interval", "[sim][summary]") {
    for (const std::vector<double>& values :
         {std::vector<double>{0.3}, {0.2, 0.4}, {0.1, 0.3, 0.5}}) {
        const Interval interval = bootstrap_mean(values);
        CHECK(interval.mean == Approx(0.3));
        CHECK(std::isnan(interval.low));
        CHECK(std::isnan(interval.high));
    }
    const std::vector<double> four = {0.1, 0.2, 0.4, 0.5};
    const Interval interval = bootstrap_mean(four);
    CHECK((interval.low > four.front() && interval.high < four.back()));
}
