#include "tools/bench/allocation.hpp"

#include "core/error.hpp"
#include "core/philox.hpp"
#include "policies/files.hpp"
#include "policies/spec.hpp"

#include <numeric>

namespace kvtape::bench {
namespace {

/// Random scores of one layer.
class RandomScores final : public ScoreTable {
  public:
    RandomScores(const Shape& shape, Position tokens) {
        const Philox random(1);
        const auto count =
            static_cast<std::uint64_t>(shape.kv_heads) * static_cast<std::uint64_t>(tokens);
        for (std::uint64_t i = 0; i < count; ++i)
            scores_.push_back(static_cast<float>(random.uniform(i)));
    }
    std::vector<float> layer(std::string_view, std::int32_t) const override { return scores_; }
    const std::string& fingerprint() const override { return fingerprint_; }

  private:
    std::vector<float> scores_;
    std::string fingerprint_;
};

/// Has them in place of a file.
class RandomFile final : public Files {
  public:
    explicit RandomFile(std::shared_ptr<const ScoreTable> table) : table_(std::move(table)) {}
    std::shared_ptr<const ScoreTable> scores(const std::string&) const override { return table_; }
    std::string text(const std::string& path) const override {
        throw internal_error("benchmarking: no text stands for " + path);
    }

  private:
    std::shared_ptr<const ScoreTable> table_;
};

}  // namespace

Json bench_allocation(const Setting& setting, const Shape& shape, Position tokens) {
    const RandomFile file(std::make_shared<RandomScores>(shape, tokens));
    const PolicyRun run = make_policy("adakv(scores:file=random)", policies::all(), &file);
    std::vector<Position> positions(static_cast<std::size_t>(tokens));
    std::iota(positions.begin(), positions.end(), 0);
    std::vector<HeadView> heads;
    for (std::int32_t head = 0; head < shape.kv_heads; ++head)
        heads.push_back({.id = {0, head}, .positions = positions});
    const LayerView layer{.layer = 0, .block = {0, tokens, false}, .heads = heads};
    const auto decide = [&](Position budgets) {
        return measure(setting, [&] {
            const auto session = run.policy->start({.shape = shape,
                                                    .context_len = tokens,
                                                    .prompt_len = tokens,
                                                    .threads = setting.threads});
            session->observe(layer);
            for (Position i = 1; i <= budgets; ++i)
                static_cast<void>(session->decide(
                    layer.block, {.tokens = tokens / (budgets + 1) * i, .ratio = std::nullopt}));
        });
    };
    Json result = row("decide adakv", setting, decide(1));
    result["tokens"] = tokens;
    result["kv_heads"] = shape.kv_heads;
    result["seconds_with_32_budgets"] = decide(32).median;
    return result;
}

}  // namespace kvtape::bench
