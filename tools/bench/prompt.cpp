#include "tools/bench/prompt.hpp"

#include "core/error.hpp"
#include "core/philox.hpp"
#include "model/transformer.hpp"

#include <algorithm>
#include <numeric>

namespace kvtape::bench {
namespace {

constexpr Position recorded_rows = 64;

/// Takes the last rows of the prompt, as a recording does.
class LastRows final : public Tap {
  public:
    explicit LastRows(Position tokens)
        : positions_(static_cast<std::size_t>(std::min(tokens, recorded_rows))) {
        std::iota(positions_.begin(),
                  positions_.end(),
                  tokens - static_cast<Position>(positions_.size()));
    }

    TapRequest wants(std::int32_t, const Block& block) override {
        const auto first = std::lower_bound(positions_.begin(), positions_.end(), block.begin);
        const auto last = std::lower_bound(first, positions_.end(), block.end);
        return {.positions = {first, last}};
    }
    void take(const TapRows& rows) override { taken_ += rows.queries.size() + rows.outputs.size(); }

    Eigen::Index taken() const { return taken_; }

  private:
    std::vector<Position> positions_;
    Eigen::Index taken_ = 0;
};

std::vector<std::int32_t> random_tokens(int count, std::int32_t vocabulary) {
    std::vector<std::int32_t> tokens(static_cast<std::size_t>(count));
    const Philox random(1);
    for (std::size_t i = 0; i < tokens.size(); ++i)
        tokens[i] =
            static_cast<std::int32_t>(random.below(i, static_cast<std::uint32_t>(vocabulary)));
    return tokens;
}

Json prompt_row(const std::string& name, const Setting& setting, const Times& times, int tokens) {
    Json result = row(name, setting, times);
    result["tokens"] = tokens;
    result["tokens_per_second"] = tokens / times.median;
    return result;
}

}  // namespace

std::vector<Json> bench_prompt(const Setting& setting,
                               const std::filesystem::path& directory,
                               int tokens) {
    const auto backend = model::cpu_backend(ElementType::float32, setting.threads);
    model::Transformer transformer = model::Transformer::load(directory, *backend);
    const std::int32_t positions = transformer.config().max_positions;
    if (tokens > positions)
        throw usage_error("benchmarking prompt: --prompt-tokens is " + std::to_string(tokens) +
                          ", but the model has " + std::to_string(positions) +
                          " positions (max_position_embeddings in its config.json)");
    const auto ids = random_tokens(tokens, transformer.config().vocabulary);
    const Times plain = measure(setting, [&] {
        model::KvCache cache(transformer, 0);
        transformer.forward(ids, cache);
    });
    const Times recorded = measure(setting, [&] {
        model::KvCache cache(transformer, tokens);
        LastRows tap(tokens);
        transformer.forward(ids, cache, &tap);
    });
    Json with = prompt_row("prompt with recording", setting, recorded, tokens);
    with["slower_than_without"] = recorded.median / plain.median - 1.0;
    return {prompt_row("prompt", setting, plain, tokens), with};
}

}  // namespace kvtape::bench
