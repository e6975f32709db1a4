#include "core/budget.hpp"

#include "core/error.hpp"
#include "core/exp.hpp"

#include <algorithm>
#include <charconv>
#include <limits>
#include <numeric>
#include <set>

namespace kvtape {
namespace {

__extension__ using Wide = __int128;  // products of two 64-bit numbers, exactly

constexpr std::string_view grammar =
    "; a budget is a ratio kept (0.25 or 25%), tokens per head (128t) or bytes (4MiB)";

[[noreturn]] void refuse(std::string_view text, std::string_view why) {
    throw usage_error("reading the budget '" + std::string(text) + "': " + std::string(why) +
                      std::string(grammar));
}

bool all_digits(std::string_view text) {
    return !text.empty() &&
           std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::int64_t whole_number(std::string_view digits, std::string_view text) {
    std::int64_t value = 0;
    if (!all_digits(digits))
        refuse(text, "'" + std::string(digits) + "' is not a whole number");
    const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (status != std::errc() || end != digits.data() + digits.size())
        refuse(text, "the number is too large");
    return value;
}

Ratio reduced(std::int64_t numerator, std::int64_t denominator) {
    const std::int64_t divisor = std::gcd(numerator, denominator);
    return {numerator / divisor, denominator / divisor};
}

/// An exact decimal such as `0.25`, `.5` or `12`, divided by `unit` (1, or 100 for per cent).
Ratio decimal(std::string_view digits, std::int64_t unit, std::string_view text) {
    const std::size_t point = digits.find('.');
    const std::string_view whole = digits.substr(0, point);
    const std::string_view fraction =
        point == std::string_view::npos ? std::string_view() : digits.substr(point + 1);
    if ((!whole.empty() && !all_digits(whole)) || (!fraction.empty() && !all_digits(fraction)) ||
        (whole.empty() && fraction.empty()))
        refuse(text, "'" + std::string(digits) + "' is not a decimal number");
    if (whole.size() + fraction.size() > 15)
        refuse(text, "more than 15 digits");
    const std::string joined = std::string(whole) + std::string(fraction);
    std::int64_t denominator = unit;
    for (std::size_t i = 0; i < fraction.size(); ++i)
        denominator *= 10;
    return reduced(whole_number(joined, text), denominator);
}

struct ByteUnit {
    std::string_view suffix;
    std::int64_t bytes;
};
constexpr ByteUnit byte_units[] = {
    {"KiB", 1LL << 10}, {"MiB", 1LL << 20}, {"GiB", 1LL << 30}, {"B", 1}};

std::int64_t product(std::int64_t a, std::int64_t b, std::string_view text) {
    std::int64_t result = 0;
    if (__builtin_mul_overflow(a, b, &result))
        refuse(text, "the number is too large");
    return result;
}

std::string shortest(double value) {
    char buffer[64];
    const auto result =
        std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed);
    return {buffer, result.ptr};
}

/// `value` rounded to four significant decimal digits, as text without an exponent.
std::string four_digits(double value) {
    char buffer[64];
    const auto rounded =
        std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific, 3);
    double kept = 0.0;
    std::from_chars(buffer, rounded.ptr, kept);
    return shortest(kept);
}

/// The points of `from..to:count`, evenly spaced in the logarithm; those that rounding made equal
/// to the one before are left out.
std::vector<Budget> log_points(std::string_view range) {
    const std::size_t dots = range.find("..");
    const std::size_t colon = range.find(':', dots);
    if (colon == std::string_view::npos)
        refuse(range, "a range needs a number of points: 1%..50%:8");
    const Budget first = Budget::parse(range.substr(0, dots));
    const Budget last = Budget::parse(range.substr(dots + 2, colon - dots - 2));
    const std::int64_t points = whole_number(range.substr(colon + 1), range);
    if (first.unit() != last.unit())
        refuse(range, "both ends of a range must be of one kind");
    if (points < 2 || points > 1000)
        refuse(range, "a range takes 2 to 1000 points");
    if (!(first < last))
        refuse(range, "the first end of a range must be the smaller one");
    const double low = logarithm(first.amount());
    const double step = (logarithm(last.amount()) - low) / static_cast<double>(points - 1);
    std::vector<Budget> budgets = {first};
    for (std::int64_t i = 1; i + 1 < points; ++i) {
        const double value = exponential(low + step * static_cast<double>(i));
        std::string spelled =
            first.unit() == Budget::Unit::ratio
                ? four_digits(value)
                : shortest(static_cast<double>(static_cast<std::int64_t>(value + 0.5)));
        if (first.unit() == Budget::Unit::tokens)
            spelled += 't';
        if (first.unit() == Budget::Unit::bytes)
            spelled += 'B';
        const Budget point = Budget::parse(spelled);
        if (budgets.back() < point && point < last)
            budgets.push_back(point);
    }
    budgets.push_back(last);
    return budgets;
}

}  // namespace

std::int64_t Ratio::floor_of(std::int64_t count) const {
    return static_cast<std::int64_t>(Wide{numerator} * count / denominator);
}

double Ratio::value() const {
    return static_cast<double>(numerator) / static_cast<double>(denominator);
}

Budget Budget::parse(std::string_view text) {
    Budget budget;
    budget.text_ = text;
    if (text.empty())
        refuse(text, "it is empty");
    if (text.front() == '-')
        refuse(text, "it is negative");
    if (text.back() == 't') {
        budget.unit_ = Unit::tokens;
        budget.count_ = whole_number(text.substr(0, text.size() - 1), text);
        if (budget.count_ > std::numeric_limits<Position>::max())
            refuse(text, "more tokens than a sequence can have");
    } else if (const auto unit = std::find_if(
                   std::begin(byte_units),
                   std::end(byte_units),
                   [&](const ByteUnit& known) { return text.ends_with(known.suffix); });
               unit != std::end(byte_units)) {
        budget.unit_ = Unit::bytes;
        const std::string_view digits = text.substr(0, text.size() - unit->suffix.size());
        budget.count_ = product(whole_number(digits, text), unit->bytes, text);
    } else {
        const bool percent = text.back() == '%';
        budget.ratio_ =
            decimal(text.substr(0, text.size() - (percent ? 1 : 0)), percent ? 100 : 1, text);
        if (budget.ratio_.numerator > budget.ratio_.denominator)
            refuse(text, "it is more than everything (100%)");
    }
    if (budget.amount() == 0.0)
        refuse(text, "nothing would be kept");
    return budget;
}

std::optional<Ratio> Budget::ratio() const {
    return unit_ == Unit::ratio ? std::optional(ratio_) : std::nullopt;
}

double Budget::amount() const {
    return unit_ == Unit::ratio ? ratio_.value() : static_cast<double>(count_);
}

Position Budget::tokens_of(Position tokens, const Shape& shape) const {
    std::int64_t kept = count_;
    if (unit_ == Unit::ratio)
        kept = std::max<std::int64_t>(1, ratio_.floor_of(tokens));
    if (unit_ == Unit::bytes) {
        const std::int64_t entry =
            std::int64_t{shape.layers} * shape.kv_heads * shape.entry_bytes();
        kept = count_ / entry;
        if (kept == 0)
            throw usage_error("applying the budget '" + text_ + "': one token per KV head takes " +
                              std::to_string(entry) + " bytes over the whole model; use at least " +
                              std::to_string(entry) + "B");
    }
    return static_cast<Position>(std::min<std::int64_t>(kept, tokens));
}

bool operator<(const Budget& a, const Budget& b) {
    if (a.unit_ != b.unit_)
        return a.unit_ < b.unit_;
    return Wide{a.ratio_.numerator} * b.ratio_.denominator <
               Wide{b.ratio_.numerator} * a.ratio_.denominator ||
           a.count_ < b.count_;
}

std::vector<Budget> parse_budgets(std::string_view list) {
    std::vector<Budget> budgets;
    for (std::size_t begin = 0; begin <= list.size();) {
        const std::size_t comma = std::min(list.find(',', begin), list.size());
        const std::string_view item = list.substr(begin, comma - begin);
        if (item.empty() && !list.empty())
            throw usage_error("reading the budgets '" + std::string(list) +
                              "': there is nothing on one side of a comma; write 5%,10%");
        if (item.find("..") == std::string_view::npos)
            budgets.push_back(Budget::parse(item));
        else
            for (const Budget& point : log_points(item))
                budgets.push_back(point);
        begin = comma + 1;
    }
    std::set<Budget> seen;
    for (const Budget& budget : budgets)
        if (!seen.insert(budget).second)
            throw usage_error("reading the budgets '" + std::string(list) + "': '" + budget.text() +
                              "' appears twice");
    return budgets;
}

}  // namespace kvtape
