#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
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

/// Reads RFC 4180 text piece by piece.
class CsvParser {
  public:
    /// `visit` gets each record as soon as it ends; it may take it away. `what` names the text in
    /// errors.
    CsvParser(std::string what, std::function<void(std::vector<std::string>&)> visit)
        : what_(std::move(what)),
          visit_(std::move(visit)) {}

    void read(std::string_view piece);
    /// Ends the last record, with or without a line end. A quote that is never closed is a format
    /// error.
    void finish();

  private:
    enum class State { plain, quoted, after_quote };
    void end_field();
    void end_record();

    std::string what_;
    std::function<void(std::vector<std::string>&)> visit_;
    State state_ = State::plain;
    std::vector<std::string> record_;
    std::string field_;
};

/// The records of an RFC 4180 text, each a list of fields; a quote that is never closed is a format
/// error that names `what`.
std::vector<std::vector<std::string>> parse_csv(std::string_view text, std::string_view what);

}  // namespace kvtape
