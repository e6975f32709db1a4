#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace kvtape::model {

/// A compiled regular expression over UTF-8 with Unicode classes. Matching has an upper bound on
/// its work, so that a hostile expression ends in a format error, not in a hang.
class Regex {
  public:
    /// `what` names the expression's origin in errors; one that does not compile is a format error.
    Regex(std::string_view pattern, std::string_view what);
    Regex(Regex&&) noexcept;
    Regex& operator=(Regex&&) noexcept;
    ~Regex();

    struct Match {
        std::size_t begin = 0;
        std::size_t end = 0;
    };
    /// The leftmost non-empty match that begins at or after `from`. `text` must be valid UTF-8.
    std::optional<Match> find(std::string_view text, std::size_t from) const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace kvtape::model
