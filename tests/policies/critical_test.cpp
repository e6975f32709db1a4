#include "tests/support/twins/critical.hpp"

#include "core/error.hpp"
#include "core/topk.hpp"
#include "policies/parts/projected_values.hpp"
#include "tests/support/twin_case.hpp"
#include "tests/support/twins/expected_attention.hpp"

using namespace kvtape;
using namespace kvtape::testing;

namespace {

constexpr Shape shape{.layers = 1,
                      .query_heads = 4,
                      .kv_heads = 2,
                      .head_dim = 12,
                      .hidden_size = 20,
                      .softmax_scale = 0.3};

std::string refused(const std::string& spec) {
    try {
        static_cast<void>(make_policy(spec));
    } catch (const Error& error) {
        CHECK(error.kind() == ErrorKind::usage);
        return error.what();
    }
    FAIL(spec << " was not refused");
    return "";
}

bool mentions(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

/// The base as criticalkv has it, by itself.
std::string plain(const std::string& base) {
    return base.rfind("expected", 0) == 0 ? base + ",vnorm=0" : base;
}

reference::Row base_twin(const std::string& base,
                         const LayerView& layer,
                         const HeadView& head,
                         const Layer& whole) {
    if (base.front() == 's')
        return reference::snapkv(head, whole.shape, {.window = 6, .kernel = 3});
    if (base.front() == 't')
        return reference::tova(layer, whole.shape);
    if (base.front() == 'e')
        return reference::expected_attention(head,
                                             {.shape = whole.shape, .rotation = whole.rotation},
                                             {.future = 9, .vnorm = false});
    reference::Row score = reference::h2o(head, whole.shape);
    for (std::size_t j = 0; j < score.size(); ++j)
        score[j] /= (whole.context_len - static_cast<double>(j)) * whole.shape.group();
    return score;
}

/// What is sure of its place: by the rule of the base, and the best half of the budget by its
/// scores, which show the rule as infinities; snapkv shows none where the window is all.
std::vector<Position> first_stage(const std::vector<float>& scores,
                                  Position held,
                                  Position tokens,
                                  const std::string& base) {
    std::vector<Position> sure, others;
    for (Position entry = 0; entry < held; ++entry) {
        const bool ruled = scores.empty() ? entry >= held - tokens
                                          : std::isinf(scores[static_cast<std::size_t>(entry)]);
        const bool scored = !scores.empty() && !std::isnan(scores[static_cast<std::size_t>(entry)]);
        if (ruled)
            sure.push_back(entry);
        else if (scored)
            others.push_back(entry);
    }
    CHECK((!scores.empty() || base.front() == 's'));
    std::stable_sort(others.begin(), others.end(), [&](Position a, Position b) {
        return scores[static_cast<std::size_t>(a)] > scores[static_cast<std::size_t>(b)];
    });
    for (const Position entry : others)
        if (std::ssize(sure) < tokens / 2)
            sure.push_back(entry);
    return sure;
}

}  // namespace

TEST_CASE("criticalkv agrees with its double-precision twin", "[policies][twin]") {
    for (int i = 0; i < shapes; ++i) {
        const Case drawn(i);
        const Position held = drawn.layer.context_len;
        const PolicyRun run = make_policy("criticalkv(h2o)"), base = make_policy("h2o");
        const ContextViews views(drawn.layer, run.policy->needs(), QuerySource::agnostic);
        const LayerView layer = views.view();
        const auto session = observed_session(*run.policy, {&drawn.layer, 1});
        const auto base_session = observed_session(*base.policy, {&drawn.layer, 1});
        for (const Position tokens : {1, drawn.draw(9, 1, held), held}) {
            const Limit limit{tokens, std::nullopt};
            const Decision decision = session->decide({}, limit);
            for (const HeadView& head : layer.heads) {
                INFO("shape " << i << ": " << tokens << " of " << held);
                // h2o keeps the last half by rule, so the first stage adds nothing but when odd.
                const reference::Row norms =
                    reference::projected_magnitudes(layer, head, drawn.layer.shape);
                reference::Row twin = reference::h2o(head, drawn.layer.shape);
                for (std::size_t j = 0; j < twin.size(); ++j)
                    twin[j] = (twin[j] + 1e-4) * norms[j];
                check_scores(session->scores(head.id, limit), twin);
                check_kept(decision[head.id], twin, held, tokens, tokens / 2);
            }
        }
    }
}

TEST_CASE("criticalkv keeps the first share by the base, the rest by the product",
          "[policies][criticalkv]") {
    const Layer layer = random_layer(shape, 0, 80, 84, Philox(5));
    const PolicyRun run = make_policy("criticalkv(observed_attention):stage1=0.25");
    const PolicyRun base = make_policy("observed_attention");
    const Decision best = decide(*base.policy, {&layer, 1}, {10, {}});
    const auto session = observed_session(*run.policy, {&layer, 1});
    const Decision kept = session->decide({}, {40, {}});
    const std::vector<float> scores = session->scores({0, 1}, {40, {}});
    const auto& sure = best[{0, 1}];
    for (Position j = 0; j < 80; ++j)
        CHECK(std::isinf(scores[static_cast<std::size_t>(j)]) ==
              std::binary_search(sure.begin(), sure.end(), j));
    std::vector<Position> by_score = select_top(scores, 40);
    CHECK(kept[{0, 1}] == by_score);
}

TEST_CASE("a query head that the output projection ignores adds nothing",
          "[policies][criticalkv]") {
    Layer layer = random_layer(shape, 0, 40, 44, Philox(6));
    const Needs needs{.values = true, .output_projection = true};
    const ContextViews before_views(layer, needs, QuerySource::agnostic);
    const LayerView before = before_views.view();
    const Matrix norms = projected_norms(before, before.heads[1], shape, Norm::l1);
    for (std::size_t row = 0; row < 20; ++row)
        std::fill_n(
            layer.output_projection.begin() + static_cast<std::ptrdiff_t>(row * 48 + 36), 12, 0.0f);
    const ContextViews after_views(layer, needs, QuerySource::agnostic);
    const LayerView after = after_views.view();
    const Matrix ignored = projected_norms(after, after.heads[1], shape, Norm::l1);
    CHECK((ignored.row(0).array() == norms.row(0).array()).all());
    CHECK((ignored.row(1).array() == 0.0f).all());
    CHECK((projected_norms(after, after.heads[0], shape, Norm::l2).array() > 0.0f).all());
}

TEST_CASE("where the base sees nothing, the projected values decide alone",
          "[policies][criticalkv]") {
    Layer layer = random_layer(shape, 0, 60, 62, Philox(9));
    std::fill(layer.data.column_sums.begin(), layer.data.column_sums.end(), 0.0f);
    const PolicyRun run = make_policy("criticalkv(observed_attention):stage1=0");
    const ContextViews views(layer, run.policy->needs(), QuerySource::agnostic);
    const LayerView view = views.view();
    const Decision kept = decide(*run.policy, {&layer, 1}, {17, {}});
    for (const HeadView& head : view.heads) {
        const Matrix norms = projected_norms(view, head, shape, Norm::l1);
        const std::vector<float> sums{norms.colwise().sum().begin(), norms.colwise().sum().end()};
        CHECK(kept[head.id] == select_top(sums, 17));
    }
}

TEST_CASE("criticaladakv gives every head what adakv gives it, which keeps what criticalkv would",
          "[policies][twin]") {
    const std::string bases[] = {
        "observed_attention", "snapkv:window=6,kernel=3", "expected_attention:future=9", "h2o"};
    for (const std::string compat : {"", ":compat=kvpress"}) {
        for (int i = 0; i < shapes; ++i) {
            const std::string& base = bases[i % 4];
            const PolicyRun alone = make_policy("criticalkv(" + base + ")");
            const PolicyRun ada = make_policy("adakv(" + plain(base) + ")" + compat);
            const PolicyRun critical = make_policy("criticaladakv(" + base + ")" + compat);
            const Case drawn(i, 8, 60);
            const Limit limit{drawn.draw(50, 1, drawn.layer.context_len), {}};
            const Decision a = decide(*ada.policy, {&drawn.layer, 1}, limit);
            const Decision b = decide(*critical.policy, {&drawn.layer, 1}, limit);
            const auto session = observed_session(*alone.policy, {&drawn.layer, 1});
            for (std::int32_t head = 0; head < a.kv_heads(); ++head) {
                INFO("shape " << i << ", KV head " << head << compat);
                const auto tokens = static_cast<Position>(b[{0, head}].size());
                CHECK(a[{0, head}].size() == b[{0, head}].size());
                const Decision same = session->decide({}, {tokens, {}});
                CHECK(same[{0, head}] == b[{0, head}]);
            }
        }
    }
}

TEST_CASE("criticalkv agrees with its double-precision twin over other bases", "[policies][twin]") {
    for (const std::string base :
         {"snapkv:window=6,kernel=3", "observed_attention", "expected_attention:future=9", "tova"})
        for (int i = 0; i < shapes; ++i) {
            const Case drawn(i, 1, 40);
            const Position held = drawn.layer.context_len;
            const PolicyRun run = make_policy("criticalkv(" + base + ")");
            const PolicyRun alone = make_policy(plain(base));
            const ContextViews views(drawn.layer, run.policy->needs(), QuerySource::agnostic);
            const LayerView layer = views.view();
            const auto session = observed_session(*run.policy, {&drawn.layer, 1});
            const auto base_session = observed_session(*alone.policy, {&drawn.layer, 1});
            const Limit limit{drawn.draw(9, 1, held), std::nullopt};
            const Decision decision = session->decide({}, limit);
            for (const HeadView& head : layer.heads) {
                INFO("shape " << i << ": " << run.spec << " keeps " << limit.tokens << " of "
                              << held);
                reference::Row twin = base_twin(base, layer, head, drawn.layer);
                const reference::Row norms =
                    reference::projected_magnitudes(layer, head, drawn.layer.shape);
                for (std::size_t j = 0; j < twin.size(); ++j)
                    twin[j] = (twin[j] + 1e-4) * norms[j];
                check_scores(session->scores(head.id, limit), twin);
                twin.resize(static_cast<std::size_t>(held), -INFINITY);
                for (const Position entry :
                     first_stage(base_session->scores(head.id, limit), held, limit.tokens, base))
                    twin[static_cast<std::size_t>(entry)] = 2 * stays;
                check_kept(decision[head.id], twin, held, limit.tokens, 0);
            }
        }
}

TEST_CASE("compositions that make no sense are refused with the reason", "[policies][spec]") {
    for (const std::string name : {"criticalkv", "criticaladakv"}) {
        CHECK(mentions(refused(name + "(streaming_llm)"), "does not score"));
        CHECK(mentions(refused(name + "(full)"), "full does not score tokens"));
        CHECK(mentions(refused(name + "(knorm)"), "below zero"));
        CHECK(mentions(refused(name + "(keydiff)"), "below zero"));
        CHECK(mentions(refused(name + "(snapkv,h2o)"), "takes one base"));
        CHECK(mentions(refused(name + "(snapkv:window=8,tova:compat=kvpress)"), "takes one base"));
        CHECK(mentions(refused(name + "(snapkw)"), "did you mean 'snapkv'"));
        CHECK(mentions(refused(name + "(expected_attention:vnorm=1)"), "count twice"));
        CHECK(mentions(refused(name + "(adakv(snapkv))"), "does not score"));
        const PolicyRun run = make_policy(name + "(expected_attention:future=8)");
        CHECK(run.policy->parameters()["base_parameters"]["vnorm"] == 0);
        CHECK(make_policy(name).policy->parameters()["base"] == "snapkv");
    }
    CHECK(mentions(refused("adakv(snapkv,h2o)"), "takes one base"));
    CHECK(mentions(refused("dropkv(snapkv)"), "takes no base"));
}

TEST_CASE("dropkv agrees with outputs computed with and without each token", "[policies][twin]") {
    for (int i = 0; i < shapes; ++i) {
        const Case drawn(i, 1, 30);
        const auto window = static_cast<std::size_t>(drawn.draw(60, 1, 9));
        compare(
            drawn,
            "dropkv:window=" + std::to_string(window),
            [&](const HeadView& head) {
                return reference::dropkv(head, drawn.layer.shape, window);
            },
            [&](Position tokens) { return std::min(tokens, static_cast<Position>(window)); });
    }
}

TEST_CASE("an entry that has nearly all attention is measured exactly", "[policies][dropkv]") {
    const Shape one{
        .layers = 1, .query_heads = 1, .kv_heads = 1, .head_dim = 2, .softmax_scale = 1};
    Layer layer = random_layer(one, 0, 4, 5, Philox(3));
    layer.data.queries.assign(10, 0.0f);
    layer.data.queries[6] = 1.0f;  // the voter, token 3
    layer.data.keys.assign(10, 0.0f);
    layer.data.keys[2] = 10.0f;  // token 1 has all but 1e-4
    layer.data.values = {1, 2, 5, -3, 0, 4, 2, 2, 0, 0};
    const PolicyRun run = make_policy("dropkv:window=1");
    const std::vector<float> scores =
        observed_session(*run.policy, {&layer, 1})->scores({0, 0}, {2, {}});
    const MatrixView values = view(layer.data.values.data(), 4, 2);
    for (std::size_t j = 0; j < 3; ++j)
        CHECK(static_cast<double>(scores[j]) ==
              Approx(reference::loss_without({0, 10, 0, 0}, values, j)).epsilon(1e-5));
}

TEST_CASE("removing a set moves the output by what it had, towards what is left",
          "[policies][dropkv]") {
    // o - o_S = (1 - m) (o_E - o_S), m the share of what is kept; of a set of one it is the loss.
    const Layer layer = random_layer(shape, 0, 30, 31, Philox(7));
    reference::Row logits;
    for (std::size_t j = 0; j < 30; ++j)
        logits.push_back(shape.softmax_scale * reference::dot(layer.data.queries.data() + 29 * 12,
                                                              layer.data.keys.data() + j * 12,
                                                              12));
    const reference::Row shares = reference::softmax(logits);
    const MatrixView values = view(layer.data.values.data(), 30, 12);
    const auto value = [&](std::size_t j, std::size_t c) {
        return static_cast<double>(
            values(static_cast<Eigen::Index>(j), static_cast<Eigen::Index>(c)));
    };
    for (std::size_t gone = 0; gone < 30; ++gone) {
        double squares = 0.0;
        for (std::size_t c = 0; c < 12; ++c) {
            double rest = 0.0;
            for (std::size_t j = 0; j < 30; ++j)
                rest += j == gone ? 0.0 : shares[j] * value(j, c) / (1.0 - shares[gone]);
            const double moved = shares[gone] * (value(gone, c) - rest);
            squares += moved * moved;
        }
        CHECK(squares == Approx(reference::loss_without(logits, values, gone)).epsilon(1e-9));
    }
}
