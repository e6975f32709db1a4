#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kvtape {

/// A table as RFC 4180 text: UTF-8, comma, LF, fields quoted where needed, numbers in their
/// shortest exact form, undefined values empty.
class Csv {
  public:
    /// `header` is the first line, columns separated by commas.
    explicit Csv(std::string_view header) : text_(header) { text_ += '\n'; }

    Csv& field(std::string_view text);
    Csv& field(std::int64_t number);
    Csv& field(std::uint64_t number);
    Csv& field(double number);
    Csv& field(std::optional<double> number);
    void end_row();

    const std::string& text() const { return text_; }

  private:
    void separate();

    std::string text_;
    bool first_ = true;
};

/// The records of an RFC 4180 text, each a list of fields; a quote that is never closed is a format
/// error that names `what`.
std::vector<std::vector<std::string>> parse_csv(std::string_view text, std::string_view what);

}  // namespace kvtape
