#include "tools/progress.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <unistd.h>

namespace kvtape {
namespace {

constexpr int bar_width = 24;
constexpr std::chrono::milliseconds redraw_interval{100};
constexpr std::chrono::seconds line_interval{10};

std::string two_digits(std::int64_t number) {
    std::string text = std::to_string(number);
    if (text.size() < 2)
        text.insert(text.begin(), '0');
    return text;
}

bool wants_colour() {
    const char* no_colour = std::getenv("NO_COLOR");
    return no_colour == nullptr || *no_colour == '\0';
}

}  // namespace

std::string duration_text(double seconds) {
    const auto whole = static_cast<std::int64_t>(std::ceil(std::clamp(seconds, 0.0, 1e9)));
    if (whole < 60)
        return std::to_string(whole) + " s";
    if (whole < 3600)
        return std::to_string(whole / 60) + " min " + two_digits(whole % 60) + " s";
    return std::to_string(whole / 3600) + " h " + two_digits(whole / 60 % 60) + " min";
}

std::string model_progress(std::string_view task, std::int64_t ran, std::int64_t prompt_len) {
    const bool answers = ran >= prompt_len;
    return std::string(task) + ", token " +
           (answers ? std::to_string(ran - prompt_len + 1) + " of the answer"
                    : std::to_string(ran) + " of " + std::to_string(prompt_len) + " of the prompt");
}

Position positions_behind(std::int32_t layer, const Block& block, std::int32_t layers) {
    const std::int64_t all = block.end - block.begin;
    return block.begin + static_cast<Position>(all * layer / std::max(layers, 1));
}

double model_share(std::int64_t ran, std::int64_t prompt_len, std::int64_t max_new_tokens) {
    const std::int64_t all = prompt_len + max_new_tokens;
    return all > 0 ? std::clamp(static_cast<double>(ran) / static_cast<double>(all), 0.0, 1.0)
                   : 0.0;
}

std::optional<double> seconds_left(double elapsed, double begun_with, double done, double total) {
    const double own = done - begun_with;
    if (!(own > 0.0))
        return {};
    return elapsed * std::max(total - done, 0.0) / own;
}

std::string bar_text(double done, double total, int width) {
    const double share = total > 0.0 ? done / total : 1.0;
    const int filled = static_cast<int>(std::clamp(share, 0.0, 1.0) * width);
    std::string bar(static_cast<std::size_t>(filled), '=');
    if (filled < width)
        bar += '>';
    bar.resize(static_cast<std::size_t>(width), ' ');
    return '[' + bar + ']';
}

Progress::Progress(std::string_view what, std::int64_t total, bool quiet)
    : what_(what),
      total_(total),
      quiet_(quiet),
      terminal_(isatty(STDERR_FILENO) != 0),
      colour_(wants_colour()),
      start_(Clock::now()),
      next_(terminal_ ? start_ : start_ + line_interval) {}

Progress::~Progress() {
    if (drawn_)
        std::cerr << "\r\x1b[K" << std::flush;
}

void Progress::update(std::int64_t done, std::string_view detail, double share) {
    done_ = done;
    if (!begun_with_)
        begun_with_ = static_cast<double>(done) + share;
    const Clock::time_point now = Clock::now();
    if (quiet_ || now < next_)
        return;
    next_ = now + (terminal_ ? Clock::duration(redraw_interval) : Clock::duration(line_interval));
    show(now, detail, share);
}

void Progress::show(Clock::time_point now, std::string_view detail, double share) {
    const double elapsed = std::chrono::duration<double>(now - start_).count();
    const double done = static_cast<double>(done_) + share;
    const auto total = static_cast<double>(total_);
    std::string text = what_ + ' ' + std::to_string(done_) + '/' + std::to_string(total_);
    if (!detail.empty())
        text += " (" + std::string(detail) + ')';
    if (const auto left = seconds_left(elapsed, *begun_with_, done, total))
        text += ", " + duration_text(*left) + " left";
    if (!terminal_) {
        std::cerr << text << '\n' << std::flush;
        return;
    }
    const std::string bar = bar_text(done, total, bar_width);
    std::cerr << '\r' << (colour_ ? "\x1b[36m" + bar + "\x1b[0m" : bar) << ' ' << text << "\x1b[K"
              << std::flush;
    drawn_ = true;
}

}  // namespace kvtape
