#include "tools/report/words.hpp"

#include "tools/visible_text.hpp"

#include <cmath>
#include <cstdio>

namespace kvtape::report {
namespace {

std::string fixed(double number, int digits) {
    char text[64];
    std::snprintf(text, sizeof text, "%.*f", digits, number);
    return text;
}

}  // namespace

std::string shown(std::string_view text) {
    return html_escaped(visible_text(text));
}

std::string decimal(double number) {
    return fixed(number, 2);
}

std::string percent(double ratio) {
    // As the page's scripts round: halves go up.
    const double scale = ratio < 0.0995 ? 10.0 : 1.0;
    return fixed(std::floor(100.0 * ratio * scale + 0.5) / scale, ratio < 0.0995 ? 1 : 0) + " %";
}

std::string bounds(const Interval& mean) {
    if (std::isnan(mean.low) || std::isnan(mean.high))
        return "";
    return " <span class=bounds>[" + decimal(mean.low) + ", " + decimal(mean.high) + "]</span>";
}

std::string bytes(std::int64_t count) {
    const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    auto number = static_cast<double>(count);
    std::size_t unit = 0;
    for (; number >= 1024.0 && unit + 1 < std::size(units); ++unit)
        number /= 1024.0;
    return fixed(number, unit == 0 || number >= 99.5 ? 0 : 1) + " " + units[unit];
}

}  // namespace kvtape::report
