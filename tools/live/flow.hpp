#pragma once

#include "model/transformer.hpp"
#include "tools/live/tape.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace kvtape::live {

/// Tokens on their way through a model, with the cache they leave behind.
struct Flow {
    Flow(model::Transformer& transformer, model::KvCache entries, std::optional<Tape> keeps)
        : model(transformer),
          cache(std::move(entries)),
          tape(std::move(keeps)) {}

    /// The next tokens of the sequence.
    void feed(std::span<const std::int32_t> tokens) {
        const Position begin = cache.length();
        logits = model.forward(tokens, cache, tape ? &*tape : nullptr);
        if (tape)
            tape->collect(cache, begin, cache.length());
        notice_bytes();
    }

    /// The same, listened to by a `tap` that knows the tape; what it evicts in a layer is gone
    /// before the tokens attend there.
    void feed(std::span<const std::int32_t> tokens, Tap& tap) {
        logits = model.forward(tokens, cache, &tap, static_cast<Position>(tokens.size()));
        notice_bytes();
    }

    /// Lets `tokens` attend from position `at` on to what is held, and takes them back: the tape
    /// then knows their queries, and what they were behind `moment`.
    void probe(std::span<const std::int32_t> tokens, Position at, Position moment) {
        const Position next = cache.length();
        cache.seek(at);
        model.forward(tokens, cache, &*tape);
        tape->collect(cache, at, cache.length());
        tape->note_probes(moment, at, cache.length());
        notice_bytes();
        cache.seek(next);
    }

    void apply(const Decision& decision) {
        cache.apply(decision);
        notice_bytes();
    }

    void notice_bytes() { peak_bytes = std::max(peak_bytes, cache.bytes()); }

    model::Transformer& model;
    model::KvCache cache;
    std::optional<Tape> tape;   ///< what is kept of the tokens; none where nobody looks any more
    std::vector<float> logits;  ///< behind the last token that was fed
    std::int64_t peak_bytes = 0;
};

}  // namespace kvtape::live
