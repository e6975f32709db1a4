#include "policies/parts/head_values.hpp"

#include "core/error.hpp"
#include "policies/files.hpp"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <numeric>

namespace kvtape {
namespace {

using Lines = std::vector<std::vector<double>>;

[[noreturn]] void refuse(const std::string& what, const std::string& found) {
    throw format_error("reading the head values of " + what + ": " + found +
                       "; write one line of numbers from 0 for each layer, or a JSON array of such "
                       "arrays");
}

double checked(double value, const std::string& what, std::size_t layer) {
    if (!std::isfinite(value) || value < 0.0)
        refuse(what, "layer " + std::to_string(layer) + " has a number below 0 or not finite");
    return value;
}

Lines from_json(std::string_view text, const std::string& what) {
    const Json document = parse_json(text, what);
    Lines lines;
    for (const Json& layer : document) {
        if (!layer.is_array())
            refuse(what, "layer " + std::to_string(lines.size()) + " is not an array");
        std::vector<double> line;
        for (const Json& value : layer) {
            if (!value.is_number())
                refuse(what,
                       "layer " + std::to_string(lines.size()) +
                           " holds something that is not a number");
            line.push_back(checked(value.get<double>(), what, lines.size()));
        }
        lines.push_back(std::move(line));
    }
    return lines;
}

std::vector<double> numbers_of(std::string_view line, const std::string& what, std::size_t layer) {
    std::vector<double> numbers;
    while (true) {
        const std::size_t begin = line.find_first_not_of(", \t\r");
        if (begin == std::string_view::npos)
            return numbers;
        line.remove_prefix(begin);
        const std::string_view word = line.substr(0, line.find_first_of(", \t\r"));
        double value = 0.0;
        const auto read = std::from_chars(word.data(), word.data() + word.size(), value);
        if (read.ec != std::errc() || read.ptr != word.data() + word.size())
            refuse(what,
                   "layer " + std::to_string(layer) + " holds '" + std::string(word.substr(0, 40)) +
                       "', which is not a number");
        numbers.push_back(checked(value, what, layer));
        line.remove_prefix(word.size());
    }
}

Lines from_lines(std::string_view text, const std::string& what) {
    Lines lines;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        std::vector<double> numbers = numbers_of(text.substr(0, end), what, lines.size());
        if (!numbers.empty())
            lines.push_back(std::move(numbers));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return lines;
}

}  // namespace

HeadValues::HeadValues(std::string_view text, std::string what) : what_(std::move(what)) {
    const std::size_t begin = text.find_first_not_of(" \t\r\n");
    const bool json = begin != std::string_view::npos && text[begin] == '[';
    lines_ = json ? from_json(text, what_) : from_lines(text, what_);
    if (lines_.empty())
        refuse(what_, "it holds no numbers");
}

HeadValues HeadValues::of(const Arguments& arguments, const std::string& file) {
    if (file.empty() || arguments.files == nullptr)
        return {};
    try {
        return HeadValues(arguments.files->text(file), file);
    } catch (Error& error) {
        error.add("policy " + arguments.name + ", parameter 'file'");
        throw;
    }
}

void HeadValues::expect_fit(const Shape& shape, std::string_view policy) const {
    if (lines_.empty())
        throw usage_error("policy " + std::string(policy) +
                          " has no head values: the parameter 'file' is not set; write file=PATH");
    const auto fail = [&](const std::string& found) {
        throw format_error("reading the head values of " + what_ + ": " + found +
                           ", but the model has " + std::to_string(shape.layers) + " layers of " +
                           std::to_string(shape.kv_heads) + " KV heads and " +
                           std::to_string(shape.query_heads) +
                           " query heads; the file is for another model");
    };
    if (std::ssize(lines_) != shape.layers)
        fail("it has " + std::to_string(lines_.size()) + " layers");
    for (std::size_t layer = 0; layer < lines_.size(); ++layer)
        if (std::ssize(lines_[layer]) != std::ssize(lines_[0]) ||
            (std::ssize(lines_[layer]) != shape.kv_heads &&
             std::ssize(lines_[layer]) != shape.query_heads))
            fail("layer " + std::to_string(layer) + " has " + std::to_string(lines_[layer].size()) +
                 " numbers");
}

std::vector<double> HeadValues::by_kv_head(const Shape& shape) const {
    const auto heads = static_cast<std::size_t>(shape.kv_heads);
    std::vector<double> values;
    for (const std::vector<double>& line : lines_) {
        const std::size_t group = line.size() / heads;
        for (auto first = line.begin(); first != line.end();
             first += static_cast<std::ptrdiff_t>(group))
            values.push_back(
                std::accumulate(first, first + static_cast<std::ptrdiff_t>(group), 0.0) /
                static_cast<double>(group));
    }
    return values;
}

Json HeadValues::echo() const {
    if (lines_.empty())
        return Json::object();
    std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a over the numbers and the ends of lines
    const auto add = [&](std::uint64_t word) {
        for (int shift = 0; shift < 64; shift += 8)
            hash = (hash ^ (word >> shift & 0xff)) * 0x100000001b3;
    };
    for (const std::vector<double>& line : lines_) {
        for (const double value : line)
            add(std::bit_cast<std::uint64_t>(value));
        add(line.size());
    }
    std::string digits(16, '0');
    for (std::size_t i = 0; i < digits.size(); ++i)
        digits[i] = "0123456789abcdef"[hash >> (60 - 4 * i) & 15];
    return {{"fingerprint", digits}};
}

std::vector<std::int64_t> largest_remainder(const std::vector<double>& shares, std::int64_t total) {
    double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
    const bool equal = !(sum > 0.0);
    if (equal)
        sum = static_cast<double>(shares.size());
    std::vector<std::int64_t> pieces;
    std::vector<double> remainders;
    std::int64_t left = total;
    for (const double share : shares) {
        const double due = (equal ? 1.0 : share) / sum * static_cast<double>(total);
        pieces.push_back(std::min(left, static_cast<std::int64_t>(due)));
        remainders.push_back(due - static_cast<double>(pieces.back()));
        left -= pieces.back();
    }
    std::vector<std::size_t> order(shares.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return remainders[a] > remainders[b];
    });
    for (std::size_t i = 0; left > 0 && !order.empty(); i = (i + 1) % order.size(), --left)
        ++pieces[order[i]];
    return pieces;
}

}  // namespace kvtape
