#include "core/error.hpp"
#include "model/transformer.hpp"

#include <algorithm>
#include <chrono>
#include <numeric>

namespace kvtape::model {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

TopLogits top_logits(std::span<const float> logits, std::int32_t count) {
    std::vector<std::int32_t> ids(logits.size());
    std::iota(ids.begin(), ids.end(), 0);
    const auto best = std::min(ids.size(), static_cast<std::size_t>(std::max(count, 0)));
    const auto logit = [&](std::int32_t id) { return logits[static_cast<std::size_t>(id)]; };
    std::partial_sort(ids.begin(),
                      ids.begin() + static_cast<std::ptrdiff_t>(best),
                      ids.end(),
                      [&](std::int32_t a, std::int32_t b) {
                          return logit(a) != logit(b) ? logit(a) > logit(b) : a < b;
                      });
    ids.resize(best);
    TopLogits top{.logits = {}, .ids = ids};
    for (const std::int32_t id : ids)
        top.logits.push_back(logit(id));
    return top;
}

Generation generate(Transformer& model,
                    std::span<const std::int32_t> prompt,
                    const GenerateOptions& options,
                    KvCache& cache,
                    Tap* tap) {
    Generation generation;
    const auto start = Clock::now();
    const auto pause = static_cast<std::size_t>(std::max(options.pause, 0));
    if (pause > 0 && pause < prompt.size())
        model.forward(prompt.first(pause), cache, tap, options.chunk);
    const auto rest = prompt.subspan(pause < prompt.size() ? pause : 0);
    std::vector<float> logits = model.forward(rest, cache, tap, options.chunk);
    generation.prompt_seconds = seconds_since(start);
    const auto decoding = Clock::now();
    while (std::ssize(generation.tokens) < options.max_new_tokens) {
        const TopLogits top = top_logits(logits, std::max(options.top_logits, 1));
        const std::int32_t best = top.ids.front();
        generation.stopped =
            std::find(options.stop.begin(), options.stop.end(), best) != options.stop.end();
        if (generation.stopped)
            break;
        generation.tokens.push_back(best);
        const std::ptrdiff_t kept =
            std::min<std::ptrdiff_t>(std::ssize(top.ids), options.top_logits);
        generation.logits_top.insert(
            generation.logits_top.end(), top.logits.begin(), top.logits.begin() + kept);
        generation.logits_top_ids.insert(
            generation.logits_top_ids.end(), top.ids.begin(), top.ids.begin() + kept);
        logits = model.forward(std::span(&best, 1), cache, tap, options.chunk);
    }
    generation.decode_seconds = seconds_since(decoding);
    return generation;
}

}  // namespace kvtape::model
