#include "sim/csv.hpp"

#include "core/error.hpp"

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

std::vector<std::vector<std::string>> parse_csv(std::string_view text, std::string_view what) {
    std::vector<std::vector<std::string>> records;
    std::vector<std::string> record;
    std::string field;
    bool quoted = false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (quoted) {
            const bool doubled = c == '"' && i + 1 < text.size() && text[i + 1] == '"';
            if (c != '"' || doubled)
                field += c;
            else
                quoted = false;
            i += doubled ? 1 : 0;
        } else if (c == '"') {
            quoted = true;
        } else if (c == ',') {
            record.push_back(std::move(field));
            field.clear();
        } else if (c == '\n') {
            record.push_back(std::move(field));
            field.clear();
            records.push_back(std::move(record));
            record.clear();
        } else {
            field += c;
        }
    }
    if (quoted)
        throw format_error("reading " + std::string(what) + ": a quoted field is never closed");
    if (!field.empty() || !record.empty()) {
        record.push_back(std::move(field));
        records.push_back(std::move(record));
    }
    return records;
}

}  // namespace kvtape
