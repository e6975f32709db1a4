#include "model/regex.hpp"

#include "core/error.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <cstdint>

namespace kvtape::model {
namespace {

/// A fraction of a second of backtracking; an ordinary piece needs a few dozen steps.
constexpr std::uint32_t most_steps = 2'000'000;
constexpr std::uint32_t most_heap_kibibytes = 64 * 1024;
constexpr std::size_t longest_pattern = 16 * 1024;

template <auto Free>
struct Release {
    template <typename Object>
    void operator()(Object* object) const {
        Free(object);
    }
};
using Code = std::unique_ptr<pcre2_code, Release<pcre2_code_free>>;
using Context = std::unique_ptr<pcre2_match_context, Release<pcre2_match_context_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Release<pcre2_match_data_free>>;

PCRE2_SPTR units(std::string_view text) {
    return reinterpret_cast<PCRE2_SPTR>(text.data());
}

std::string message_of(int error) {
    std::array<PCRE2_UCHAR, 256> text{};
    pcre2_get_error_message(error, text.data(), text.size());
    return reinterpret_cast<const char*>(text.data());
}

}  // namespace

struct Regex::State {
    std::string what;
    Code code;
    Context context;

    /// PCRE2's answer; the just-in-time code is left for the interpreter when its stack is too
    /// small.
    int match(std::string_view text, std::size_t from, pcre2_match_data* data) const {
        const auto run = [&](std::uint32_t options) {
            return pcre2_match(
                code.get(), units(text), text.size(), from, options, data, context.get());
        };
        const int count = run(PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY);
        return count == PCRE2_ERROR_JIT_STACKLIMIT
                   ? run(PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY | PCRE2_NO_JIT)
                   : count;
    }
};

Regex::Regex(std::string_view pattern, std::string_view what) : state_(std::make_unique<State>()) {
    state_->what = what;
    if (pattern.size() > longest_pattern)
        throw format_error("compiling the expression of " + state_->what + ": it has " +
                           std::to_string(pattern.size()) + " bytes, expected at most " +
                           std::to_string(longest_pattern));
    int error = 0;
    std::size_t offset = 0;
    state_->code.reset(pcre2_compile(units(pattern),
                                     pattern.size(),
                                     PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C,
                                     &error,
                                     &offset,
                                     nullptr));
    if (!state_->code)
        throw format_error("compiling the expression of " + state_->what + ": at byte " +
                           std::to_string(offset) + ": " + message_of(error));
    // Where there is no just-in-time compiler the interpreter gives the same matches.
    pcre2_jit_compile(state_->code.get(), PCRE2_JIT_COMPLETE);
    state_->context.reset(pcre2_match_context_create(nullptr));
    if (!state_->context)
        throw internal_error("compiling the expression of " + state_->what + ": out of memory");
    pcre2_set_match_limit(state_->context.get(), most_steps);
    pcre2_set_depth_limit(state_->context.get(), most_steps);
    pcre2_set_heap_limit(state_->context.get(), most_heap_kibibytes);
}

Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

std::optional<Regex::Match> Regex::find(std::string_view text, std::size_t from) const {
    const MatchData data(pcre2_match_data_create_from_pattern(state_->code.get(), nullptr));
    if (!data)
        throw internal_error("matching the expression of " + state_->what + ": out of memory");
    const int count = state_->match(text, from, data.get());
    if (count == PCRE2_ERROR_NOMATCH)
        return {};
    if (count < 0)
        throw format_error("matching the expression of " + state_->what + " at byte " +
                           std::to_string(from) + ": " + message_of(count));
    const std::size_t* offsets = pcre2_get_ovector_pointer(data.get());
    // \K inside a look-around can put the end before the start.
    if (offsets[1] <= offsets[0] || offsets[0] < from)
        throw format_error("matching the expression of " + state_->what + " at byte " +
                           std::to_string(from) + ": it matched backwards");
    return Match{offsets[0], offsets[1]};
}

}  // namespace kvtape::model
