#pragma once

#include "core/types.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kvtape {

/// Says on standard error how far a long job has come and how long it will still take: a bar that
/// is redrawn on a terminal (coloured unless NO_COLOR is set), one line every ten seconds
/// otherwise. Not for several threads at once.
class Progress {
  public:
    /// `what` is being done to `total` equal pieces. Quiet ones print nothing.
    Progress(std::string_view what, std::int64_t total, bool quiet);
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;
    /// Takes the bar off the terminal.
    ~Progress();

    /// `done` pieces are finished, and of the next one a `share` from 0 to 1; `detail` is what is
    /// being worked on now. Pieces that were done at the first call took no time.
    void update(std::int64_t done, std::string_view detail = {}, double share = 0.0);

  private:
    using Clock = std::chrono::steady_clock;

    void show(Clock::time_point now, std::string_view detail, double share);

    std::string what_;
    std::int64_t total_;
    std::optional<double> begun_with_;
    std::int64_t done_ = 0;
    bool quiet_;
    bool terminal_;
    bool colour_;
    bool drawn_ = false;
    Clock::time_point start_;
    Clock::time_point next_;
};

/// `3 s`, `4 min 05 s`, `2 h 07 min`; negative durations are 0.
std::string duration_text(double seconds);

/// How far a model has come in one sequence of `task`: `where, token 512 of 1040 of the prompt`,
/// and behind the prompt `where, token 3 of the answer`.
std::string model_progress(std::string_view task, std::int64_t ran, std::int64_t prompt_len);

/// How many positions are behind a model that is about to run layer `layer` of `layers` over
/// `block`; of the block as many as its share of layers has run.
Position positions_behind(std::int32_t layer, const Block& block, std::int32_t layers);

/// How much of one sequence is behind a model that has run over `ran` positions of a prompt and of
/// an answer of at most `max_new_tokens`: from 0 to 1.
double model_share(std::int64_t ran, std::int64_t prompt_len, std::int64_t max_new_tokens);

/// The seconds left when `elapsed` went by between `begun_with` and `done` of `total` pieces, or
/// nothing where that says nothing yet.
std::optional<double> seconds_left(double elapsed, double begun_with, double done, double total);

/// One state of a bar of `width` characters: `[=====>    ]`. `total` of 0 is a full bar.
std::string bar_text(double done, double total, int width);

}  // namespace kvtape
