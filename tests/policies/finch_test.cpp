#include "tests/support/twin_case.hpp"

using namespace kvtape;
using namespace kvtape::testing;

namespace {

/// Mean over the question's rows and query heads of the probabilities, each row times the keys that
/// it sees besides its own.
reference::Row finch(const HeadView& head, const Shape& shape) {
    const Observation& observed = head.observed;
    const std::size_t held = head.positions.size(), rows = observed.positions.size();
    reference::Row votes(held);
    for (std::size_t i = 0; i < rows * static_cast<std::size_t>(shape.group()); ++i) {
        const std::size_t own = i % rows;
        const float* query = observed.queries.row(static_cast<Eigen::Index>(i)).data();
        std::vector<double> logits;
        for (std::size_t j = 0; j < held + own + 1; ++j) {
            const auto key = static_cast<Eigen::Index>(j < held ? j : j - held);
            logits.push_back(shape.softmax_scale *
                             reference::dot(query,
                                            (j < held ? head.keys : observed.keys).row(key).data(),
                                            shape.head_dim));
        }
        const std::vector<double> row = reference::softmax(logits);
        for (std::size_t j = 0; j < held; ++j)
            votes[j] += row[j] * static_cast<double>(held + own) /
                        static_cast<double>(rows * static_cast<std::size_t>(shape.group()));
    }
    return votes;
}

}  // namespace

TEST_CASE("finch agrees with its double-precision twin", "[policies][finch][twin]") {
    for (int i = 0; i < shapes; ++i) {
        const Case drawn(i);
        compare(
            drawn,
            "finch",
            [&](const HeadView& head) { return finch(head, drawn.layer.shape); },
            [](Position) { return 0; });
    }
}

TEST_CASE("what finch holds of the question stays", "[policies][finch]") {
    const Case drawn(7, 20, 20);
    const PolicyRun run = make_policy("finch");
    ContextViews views(drawn.layer, run.policy->needs(), QuerySource::question);
    // As after the prompt: the last five entries are the question's own.
    const auto session = run.policy->start(
        {.shape = drawn.layer.shape, .context_len = 15, .prompt_len = drawn.layer.length});
    session->observe(views.view());
    const Decision decision = session->decide({}, {9, std::nullopt});
    for (const HeadView& head : views.heads())
        for (Position token = 15; token < 20; ++token)
            CHECK(std::binary_search(decision[head.id].begin(), decision[head.id].end(), token));
}
