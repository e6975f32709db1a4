#include "analyze/leave_one_out.hpp"
#include "core/philox.hpp"
#include "sim/evaluate.hpp"
#include "sim/head_damage.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/damage_twins.hpp"
#include "tests/support/synthetic_trace.hpp"

#include <cmath>

using namespace kvtape;

namespace {

/// Unnormalised weights of some probes over some values.
struct AttentionCase {
    Matrix weights, values;
};

AttentionCase random_case(std::uint64_t stream, double sharpness) {
    const Philox random(51, stream);
    const auto probes = static_cast<Eigen::Index>(1 + random.below(0, 4));
    const auto tokens = static_cast<Eigen::Index>(2 + random.below(1, 30));
    AttentionCase made{Matrix(probes, tokens), Matrix(tokens, 5)};
    std::uint64_t word = 2;
    for (Eigen::Index i = 0; i < made.weights.size(); ++i)
        made.weights.data()[i] =
            static_cast<float>(std::exp(sharpness * (random.uniform(word++) - 1.0)));
    for (Eigen::Index i = 0; i < made.values.size(); ++i)
        made.values.data()[i] = static_cast<float>(random.uniform(word++) * 2.0 - 1.0);
    return made;
}

HeldState random_state(std::uint64_t stream, std::size_t tokens, double share) {
    const Philox random(52, stream);
    HeldState made{.kept = {}, .merged = {.positions = {}, .keys = {}, .values = {}}};
    for (std::size_t t = 0; t < tokens; ++t)
        made.kept.push_back(random.uniform(t) < share ? 1 : 0);
    return made;
}

}  // namespace

TEST_CASE("evicting one token alone moves the output by p / (1 - p) times o - v",
          "[analyze][damage]") {
    for (std::uint64_t stream = 0; stream < 300; ++stream) {
        const AttentionCase made = random_case(stream, stream % 3 == 0 ? 30.0 : 4.0);
        const MatrixView weights = view(made.weights);
        const auto tokens = static_cast<Position>(made.values.rows()) - (stream % 2 == 0 ? 1 : 0);
        const std::vector<double> found =
            leave_one_out(std::span(&weights, 1), view(made.values), tokens);
        REQUIRE(std::ssize(found) == tokens);
        for (Position t = 0; t < tokens; ++t) {
            const double formula = reference::naive_leave_one_out(made.weights, made.values, t);
            const double moved = reference::naive_move_without(made.weights, made.values, t);
            REQUIRE(formula == Approx(moved).epsilon(1e-6).margin(1e-9));
            REQUIRE(found[static_cast<std::size_t>(t)] == Approx(moved).epsilon(2e-3).margin(2e-4));
        }
    }
}

TEST_CASE("a token that has all the attention takes the whole output along", "[analyze][damage]") {
    Matrix weights = Matrix::Zero(1, 3), values(3, 2);
    values << 1, 0, 3, 4, 0, 1;
    weights(0, 1) = 1.0f;
    const MatrixView rows = view(weights);
    const std::vector<double> found = leave_one_out(std::span(&rows, 1), view(values), 3);
    CHECK(found[0] == 0.0);
    CHECK(found[1] == Approx(5.0));
}

TEST_CASE("removing a set moves the output as far as the set's own output says",
          "[analyze][damage]") {
    // o - o_S = (1 - m) (o_E - o_S)
    for (std::uint64_t stream = 0; stream < 200; ++stream) {
        const AttentionCase made = random_case(1000 + stream, 5.0);
        const HeldState state =
            random_state(stream, static_cast<std::size_t>(made.values.rows()), 0.5);
        std::vector<char> evicted;
        for (const char kept : state.kept)
            evicted.push_back(kept != 0 ? 0 : 1);
        for (Eigen::Index row = 0; row < made.weights.rows(); ++row) {
            const std::vector<char> all(state.kept.size(), 1);
            const auto full = reference::naive_output(made.weights, made.values, row, all);
            const auto kept = reference::naive_output(made.weights, made.values, row, state.kept);
            const auto gone = reference::naive_output(made.weights, made.values, row, evicted);
            const double mass = kept.mass / full.mass;
            if (kept.mass == 0.0 || gone.mass == 0.0)
                continue;
            for (std::size_t i = 0; i < full.output.size(); ++i)
                REQUIRE(full.output[i] - kept.output[i] ==
                        Approx((1.0 - mass) * (gone.output[i] - kept.output[i])).margin(1e-12));
        }
    }
}

TEST_CASE("damage over a kind of probe is that of its rows, before and after the projection",
          "[analyze][damage]") {
    const SyntheticTrace trace({});
    const SequenceInfo& sequence = trace.sequence(0);
    const LayerData& data = trace.layer(0, 1);
    const Shape& shape = trace.info().shape;
    const auto context = static_cast<std::size_t>(sequence.context_len);
    const Eigen::Index group = shape.group(), dim = shape.head_dim;
    Matrix projection(shape.hidden_size, group * dim);
    const Philox random(53);
    for (Eigen::Index i = 0; i < projection.size(); ++i)
        projection.data()[i] =
            static_cast<float>(random.uniform(static_cast<std::uint64_t>(i)) - 0.5);
    for (std::int32_t kv_head = 0; kv_head < shape.kv_heads; ++kv_head) {
        const HeadFacts facts = facts_of(trace.info(), sequence, 1, data, kv_head);
        const DamagedHead head{.trace = trace.info(),
                               .sequence = sequence,
                               .layer = 1,
                               .data = data,
                               .kv_head = kv_head,
                               .facts = facts};
        std::vector<HeldState> held = {random_state(1, context, 0.3),
                                       random_state(2, context, 0.6),
                                       random_state(1, context, 0.5),
                                       random_state(3, context, 1.1)};
        std::vector<const HeldState*> states;
        for (const HeldState& state : held)
            states.push_back(&state);
        const std::int32_t question = sequence.prompt_len - sequence.context_len;
        const std::vector<RowRange> parts = {
            {0, question}, {question, facts.probes.count - question}, {0, facts.probes.count}};
        std::vector<OutputNorm> norms;
        for (Eigen::Index i = 0; i < group; ++i)
            norms.emplace_back(MatrixView(projection.data() + i * dim,
                                          shape.hidden_size,
                                          dim,
                                          Eigen::OuterStride<>(group * dim)));
        const std::vector<Damage> found = measure_states(head, states, parts, norms);
        const MatrixView values =
            view(data.values.data() + kv_head * sequence.length() * dim, sequence.length(), dim);
        for (std::size_t part = 0; part < parts.size(); ++part)
            for (std::size_t state = 0; state < states.size(); ++state) {
                std::vector<char> kept = held[state].kept;
                kept.resize(static_cast<std::size_t>(sequence.length()), 1);
                const RowRange rows{facts.probes.first + parts[part].first, parts[part].count};
                const reference::NaiveDamage expected =
                    reference::naive_damage(facts.rows(rows), values, projection, kept);
                const auto near = [](double value) {
                    return Approx(value).epsilon(1e-4).margin(1e-6);
                };
                CHECK(found[part].mass_kept[state] == near(expected.mass_kept));
                CHECK(found[part].output_error_median[state] == near(expected.median));
                CHECK(found[part].output_error_p95[state] == near(expected.p95));
                CHECK(found[part].projected_error_median[state] == near(expected.projected_median));
                CHECK(found[part].projected_error_p95[state] == near(expected.projected_p95));
                if (state == 3) {
                    CHECK(found[part].mass_kept[state] == 1.0);
                    CHECK(found[part].output_error_p95[state] == 0.0);
                    CHECK(found[part].projected_error_p95[state] == 0.0);
                }
            }
    }
}
