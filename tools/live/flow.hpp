#pragma once

#include "model/transformer.hpp"
#include "tools/live/tape.hpp"
#include "tools/progress.hpp"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace kvtape::live {

/// Hands everything on to `next`, if there is one, and says how many positions are behind the
/// model.
class Told final : public Tap {
  public:
    Told(Tap* next, std::int32_t layers, const std::function<void(Position)>& ran)
        : next_(next),
          layers_(layers),
          ran_(ran) {}

    TapRequest wants(std::int32_t layer, const Block& block) override {
        if (ran_)
            ran_(positions_behind(layer, block, layers_));
        return next_ == nullptr ? TapRequest() : next_->wants(layer, block);
    }
    void appended(std::int32_t layer, const Block& block) override {
        if (next_ != nullptr)
            next_->appended(layer, block);
    }
    void take(const TapRows& rows) override {
        if (next_ != nullptr)
            next_->take(rows);
    }

  private:
    Tap* next_;
    std::int32_t layers_;
    const std::function<void(Position)>& ran_;
};

/// Tokens on their way through a model, with the cache they leave behind.
struct Flow {
    Flow(model::Transformer& transformer,
         model::KvCache entries,
         std::optional<Tape> keeps,
         std::function<void(Position)> told)
        : model(transformer),
          cache(std::move(entries)),
          tape(std::move(keeps)),
          ran(std::move(told)) {}

    /// The next tokens of the sequence.
    void feed(std::span<const std::int32_t> tokens) {
        const Position begin = cache.length();
        Told tap = listening(tape ? &*tape : nullptr);
        logits = model.forward(tokens, cache, &tap);
        if (tape)
            tape->collect(cache, begin, cache.length());
        notice_bytes();
    }

    /// The same, listened to by a `tap` that knows the tape; what it evicts in a layer is gone
    /// before the tokens attend there.
    void feed(std::span<const std::int32_t> tokens, Tap& tap) {
        Told both = listening(&tap);
        logits = model.forward(tokens, cache, &both, static_cast<Position>(tokens.size()));
        notice_bytes();
    }

    /// Lets `tokens` attend from position `at` on to what is held, and takes them back: the tape
    /// then knows their queries, and what they were behind `moment`.
    void probe(std::span<const std::int32_t> tokens, Position at, Position moment) {
        const Position next = cache.length();
        cache.seek(at);
        Told tap = listening(&*tape);
        model.forward(tokens, cache, &tap);
        tape->collect(cache, at, cache.length());
        tape->note_probes(moment, at, cache.length());
        notice_bytes();
        cache.seek(next);
    }

    void apply(const Decision& decision) {
        cache.apply(decision);
        notice_bytes();
    }

    Told listening(Tap* tap) const { return {tap, model.shape().layers, ran}; }
    void notice_bytes() { peak_bytes = std::max(peak_bytes, cache.bytes()); }

    model::Transformer& model;
    model::KvCache cache;
    std::optional<Tape> tape;   ///< what is kept of the tokens; none where nobody looks any more
    std::vector<float> logits;  ///< behind the last token that was fed
    std::int64_t peak_bytes = 0;
    std::function<void(Position)> ran;  ///< told how many positions are behind the model
};

}  // namespace kvtape::live
