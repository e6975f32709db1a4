#include "policies/parts/parameters.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

namespace kvtape {
namespace {

template <typename Number>
bool parse_number(std::string_view text, Number& value) {
    const char* end = text.data() + text.size();
    const auto [stop, failure] = std::from_chars(text.data(), end, value);
    return failure == std::errc() && stop == end;
}

}  // namespace

std::string joined(std::span<const std::string_view> words, std::string_view separator) {
    std::string list;
    for (const std::string_view word : words) {
        if (!list.empty() && !word.empty())
            list += separator;
        list += word;
    }
    return list;
}

bool Whole::parse(std::string_view text, std::int32_t& value) const {
    std::int32_t number = 0;
    if (!parse_number(text, number) || number < lowest || number > highest ||
        (odd && number % 2 == 0))
        return false;
    value = number;
    return true;
}

std::string Whole::range() const {
    return std::to_string(lowest) + ".." + std::to_string(highest) + (odd ? ", odd" : "");
}

bool Real::parse(std::string_view text, double& value) const {
    double number = 0.0;
    if (!parse_number(text, number) || !std::isfinite(number) || number < lowest ||
        number > highest)
        return false;
    value = number + 0.0;  // minus zero is zero
    return true;
}

std::string Real::text(double value) const {
    char shortest[32];
    const auto written = std::to_chars(shortest, shortest + sizeof shortest, value);
    return {shortest, written.ptr};
}

bool Share::parse(std::string_view text, Ratio& value) const {
    if (text.size() > 16)
        return false;
    std::string digits(text);
    const std::size_t point = digits.find('.');
    std::int64_t denominator = 1;
    if (point != std::string::npos) {
        for (std::size_t place = point + 1; place < digits.size(); ++place)
            denominator *= 10;
        digits.erase(point, 1);
    }
    std::int64_t numerator = 0;
    if (digits.find_first_not_of("0123456789") != std::string::npos ||
        !parse_number(digits, numerator) || numerator > denominator)
        return false;
    const std::int64_t divisor = std::gcd(numerator, denominator);
    value = {numerator / divisor, denominator / divisor};
    return true;
}

bool Switch::parse(std::string_view text, bool& value) const {
    if (text != "0" && text != "1")
        return false;
    value = text == "1";
    return true;
}

bool FilePath::parse(std::string_view text, std::string& value) const {
    value = text;
    return !value.empty();
}

bool LayerList::parse(std::string_view text, std::vector<std::int32_t>& value) const {
    std::vector<std::int32_t> layers;
    while (true) {
        const std::size_t plus = text.find('+');
        std::int32_t layer = 0;
        if (!parse_number(text.substr(0, plus), layer) || layer < 0 ||
            (!layers.empty() && layer <= layers.back()))
            return false;
        layers.push_back(layer);
        if (plus == std::string_view::npos)
            break;
        text.remove_prefix(plus + 1);
    }
    value = std::move(layers);
    return true;
}

std::string LayerList::text(const std::vector<std::int32_t>& value) const {
    std::string list;
    for (const std::int32_t layer : value) {
        if (!list.empty())
            list += '+';
        list += std::to_string(layer);
    }
    return list;
}

void expect_layers(const std::vector<std::int32_t>& skip, const Shape& shape) {
    if (!skip.empty() && skip.back() >= shape.layers)
        throw usage_error("skip names layer " + std::to_string(skip.back()) +
                          ", but the model has the layers 0.." + std::to_string(shape.layers - 1));
}

void check_arguments(const Arguments& arguments, std::span<const Parameter> known) {
    if (!arguments.base.empty())
        throw usage_error("policy " + arguments.name + " takes no base policy, found '" +
                          arguments.base + "': it decides by itself; write " + arguments.name +
                          " without parentheses");
    std::vector<std::string_view> names;
    for (const Parameter& parameter : known)
        names.push_back(parameter.name);
    for (const auto& [name, value] : arguments.values) {
        if (std::find(names.begin(), names.end(), name) != names.end())
            continue;
        const std::string close = nearest(name, names);
        throw usage_error("policy " + arguments.name + " has no parameter '" + name + "'" +
                          (close.empty() ? "" : " (did you mean '" + close + "'?)") +
                          (names.empty() ? "; it has none" : "; it has: " + joined(names, ", ")));
    }
}

}  // namespace kvtape
