#include "sim/csv.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <charconv>

namespace kvtape {

void Csv::separate() {
    if (!first_)
        text_ += ',';
    first_ = false;
}

Csv& Csv::field(std::string_view text) {
    separate();
    if (text.find_first_of(",\"\r\n") == std::string_view::npos) {
        text_ += text;
        return *this;
    }
    text_ += '"';
    for (const char c : text) {
        if (c == '"')
            text_ += '"';
        text_ += c;
    }
    text_ += '"';
    return *this;
}

Csv& Csv::field(std::int64_t number) {
    separate();
    text_ += std::to_string(number);
    return *this;
}

Csv& Csv::field(std::uint64_t number) {
    separate();
    text_ += std::to_string(number);
    return *this;
}

Csv& Csv::field(double number) {
    separate();
    char buffer[64];
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, number).ptr;
    text_.append(buffer, end);
    return *this;
}

Csv& Csv::field(std::optional<double> number) {
    if (number)
        return field(*number);
    separate();
    return *this;
}

void Csv::end_row() {
    text_ += '\n';
    first_ = true;
}

void CsvParser::end_field() {
    record_.push_back(std::move(field_));
    field_.clear();
}

void CsvParser::end_record() {
    end_field();
    visit_(record_);
    record_.clear();
}

void CsvParser::read(std::string_view piece) {
    for (std::size_t i = 0; i < piece.size(); ++i) {
        const char c = piece[i];
        if (state_ == State::quoted) {
            const std::size_t end = std::min(piece.find('"', i), piece.size());
            field_.append(piece, i, end - i);
            i = end;
            if (end < piece.size())
                state_ = State::after_quote;
        } else if (c == '"') {
            // A second one in a row stands for itself.
            if (state_ == State::after_quote)
                field_ += c;
            state_ = State::quoted;
        } else {
            state_ = State::plain;
            if (c == ',')
                end_field();
            else if (c == '\n')
                end_record();
            else
                field_ += c;
        }
    }
}

void CsvParser::finish() {
    if (state_ == State::quoted)
        throw format_error("reading " + what_ + ": a quoted field is never closed");
    if (!field_.empty() || !record_.empty())
        end_record();
}

std::vector<std::vector<std::string>> parse_csv(std::string_view text, std::string_view what) {
    std::vector<std::vector<std::string>> records;
    CsvParser parser(std::string(what), [&](std::vector<std::string>& record) {
        records.push_back(std::move(record));
    });
    parser.read(text);
    parser.finish();
    return records;
}

}  // namespace kvtape
