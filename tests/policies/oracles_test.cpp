#include "tests/support/policy_twins.hpp"
#include "tests/support/twin_case.hpp"
#include "tests/support/twins/critical.hpp"

using namespace kvtape;
using namespace kvtape::testing;

namespace {

/// The sum over rows of the squared change of the output without each entry.
reference::Row leave_one_out(const HeadView& head, const Shape& shape) {
    const reference::Table table = reference::probabilities(head, shape);
    reference::Row total(head.positions.size());
    for (std::size_t row = 0; row < table.size(); ++row)
        for (std::size_t j = 0; j < total.size(); ++j) {
            const double p = table[row][j];
            const double odds = p / std::max(1.0 - p, 1e-6);
            for (Eigen::Index c = 0; c < shape.head_dim; ++c) {
                const double step =
                    odds *
                    (static_cast<double>(head.observed.outputs(static_cast<Eigen::Index>(row), c)) -
                     static_cast<double>(head.values(static_cast<Eigen::Index>(j), c)));
                total[j] += step * step;
            }
        }
    return total;
}

/// The same from keys, queries and values alone: both outputs of every query are computed.
reference::Row moved_outputs(const Layer& layer, std::int32_t kv_head) {
    const Shape& shape = layer.shape;
    const MatrixView values = kvtape::view(
        layer.data.values.data() + std::int64_t{kv_head} * layer.length * shape.head_dim,
        layer.length,
        shape.head_dim);
    reference::Row total(static_cast<std::size_t>(layer.context_len));
    for (std::int32_t g = kv_head * shape.group(); g < (kv_head + 1) * shape.group(); ++g)
        for (Position query = layer.context_len; query < layer.length; ++query) {
            reference::Row logits;
            for (Position key = 0; key <= query; ++key)
                logits.push_back(
                    shape.softmax_scale *
                    reference::dot(
                        layer.data.queries.data() + (g * layer.length + query) * shape.head_dim,
                        layer.data.keys.data() + (kv_head * layer.length + key) * shape.head_dim,
                        shape.head_dim));
            for (std::size_t j = 0; j < total.size(); ++j)
                total[j] += reference::loss_without(logits, values, j);
        }
    return total;
}

}  // namespace

TEST_CASE("oracle_output agrees with outputs computed with and without each token",
          "[policies][oracle][twin]") {
    for (int i = 0; i < shapes; ++i) {
        const Case drawn(i, 1, 30);
        compare(
            drawn,
            "oracle_output",
            [&](const HeadView& head) { return moved_outputs(drawn.layer, head.id.head); },
            [](Position) { return 0; },
            1e-9);
    }
}

TEST_CASE("oracle_output agrees with its double-precision twin", "[policies][oracle][twin]") {
    for (int i = 0; i < shapes; ++i) {
        const Case drawn(i);
        compare(
            drawn,
            "oracle_output",
            [&](const HeadView& head) { return leave_one_out(head, drawn.layer.shape); },
            [](Position) { return 0; },
            1e-9);
    }
}

TEST_CASE("leaving a token out moves an output as oracle_output says", "[policies][oracle]") {
    const Shape shape{.layers = 1,
                      .query_heads = 1,
                      .kv_heads = 1,
                      .head_dim = 8,
                      .hidden_size = 8,
                      .softmax_scale = 0.3};
    const Layer layer = random_layer(shape, 0, 20, 21, Philox(3));
    const PolicyRun run = make_policy("oracle_output");
    const auto session =
        observed_session(*run.policy, {&layer, 1}, {.source = QuerySource::oracle});
    const std::vector<float> scores = session->scores({0, 0}, {20, std::nullopt});
    const auto output = [&](Position without) {
        std::vector<double> weights;
        double total = 0.0;
        for (Position t = 0; t < 21; ++t) {
            weights.push_back(std::exp(0.3 * reference::dot(layer.data.queries.data() + 20 * 8,
                                                            layer.data.keys.data() + t * 8,
                                                            8)));
            total += t == without ? 0.0 : weights.back();
        }
        std::vector<double> mean(8);
        for (std::size_t t = 0; t < 21; ++t)
            for (std::size_t c = 0; c < 8; ++c)
                if (static_cast<Position>(t) != without)
                    mean[c] +=
                        weights[t] / total * static_cast<double>(layer.data.values[t * 8 + c]);
        return mean;
    };
    const std::vector<double> whole = output(-1);
    for (Position t = 0; t < 20; ++t) {
        const std::vector<double> rest = output(t);
        double moved = 0.0;
        for (std::size_t c = 0; c < 8; ++c)
            moved += (rest[c] - whole[c]) * (rest[c] - whole[c]);
        CHECK(static_cast<double>(scores[static_cast<std::size_t>(t)]) ==
              Approx(moved).epsilon(1e-4));
    }
}

TEST_CASE("oracle_top_p gives every future query its share with the fewest tokens",
          "[policies][oracle][twin]") {
    for (int i = 0; i < shapes; ++i) {
        const Case drawn(i);
        const double p = 0.1 * drawn.draw(50, 1, 9) + 0.0503;
        const PolicyRun run = make_policy("oracle_top_p:p=" + std::to_string(p));
        const Decision decision = decide(
            *run.policy, {&drawn.layer, 1}, {1, std::nullopt}, {.source = QuerySource::oracle});
        ContextViews views(drawn.layer, run.policy->needs(), QuerySource::oracle);
        for (const HeadView& head : views.heads()) {
            std::vector<bool> needed(head.positions.size());
            for (const reference::Row& row : reference::probabilities(head, drawn.layer.shape)) {
                std::vector<std::size_t> order(row.size());
                for (std::size_t j = 0; j < order.size(); ++j)
                    order[j] = j;
                std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
                    return row[a] > row[b];
                });
                double all = 0.0, held = 0.0;
                for (const double share : row)
                    all += share;
                for (std::size_t k = 0;
                     k < order.size() && held < std::stod(std::to_string(p)) * all;
                     ++k) {
                    needed[order[k]] = true;
                    held += row[order[k]];
                }
            }
            INFO("shape " << i << ", KV head " << head.id.head);
            std::vector<Position> expected;
            for (std::size_t j = 0; j < needed.size(); ++j)
                if (needed[j])
                    expected.push_back(static_cast<Position>(j));
            CHECK(decision[head.id] == expected);
        }
    }
}
