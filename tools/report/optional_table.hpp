#pragma once

#include "core/error.hpp"
#include "core/json.hpp"
#include "tools/report/sources.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <system_error>

namespace kvtape::report {

inline bool is_there(const std::filesystem::path& path) {
    std::error_code failure;
    return std::filesystem::exists(path, failure);
}

/// Three decimals are what a screen can show, and keep the page small; two more where the third is
/// a 5, so that rounding once more to two gives what rounding once would. Null for what is no
/// number.
inline Json rounded(double value) {
    if (!std::isfinite(value))
        return {};
    const double thousandths = std::round(value * 1000.0);
    const bool is_half = std::fmod(std::abs(thousandths), 10.0) == 5.0;
    return is_half ? std::round(value * 100'000.0) / 100'000.0 : thousandths / 1000.0;
}

/// Three significant digits, for figures that may be small.
inline Json shortened(double value) {
    if (!std::isfinite(value) || value == 0.0)
        return rounded(value);
    const double scale = std::pow(10.0, 2.0 - std::floor(std::log10(std::abs(value))));
    return std::round(value * scale) / scale;
}

/// A table that may be absent: `read` makes its JSON from the path. A failure becomes a note,
/// unless there is one that this table is left out.
template <typename Read>
Json optional_table(Sources& sources, const std::filesystem::path& path, Read read) {
    if (!is_there(path))
        return {};
    try {
        return read(path);
    } catch (const Error& error) {
        const std::string left_out = path.filename().string() + " is left out: ";
        if (std::none_of(sources.notes.begin(), sources.notes.end(), [&](const std::string& note) {
                return note.compare(0, left_out.size(), left_out) == 0;
            }))
            sources.notes.push_back(left_out + error.what());
        return {};
    }
}

}  // namespace kvtape::report
