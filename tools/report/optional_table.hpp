#pragma once

#include "core/error.hpp"
#include "core/json.hpp"
#include "tools/report/sources.hpp"

#include <cmath>
#include <filesystem>
#include <system_error>

namespace kvtape::report {

inline bool is_there(const std::filesystem::path& path) {
    std::error_code failure;
    return std::filesystem::exists(path, failure);
}

/// Three decimals are what a screen can show, and keep the page small. Null for what is no number.
inline Json rounded(double value) {
    return std::isfinite(value) ? Json(std::round(value * 1000.0) / 1000.0) : Json();
}

/// Three significant digits, for figures that may be small.
inline Json shortened(double value) {
    if (!std::isfinite(value) || value == 0.0)
        return rounded(value);
    const double scale = std::pow(10.0, 2.0 - std::floor(std::log10(std::abs(value))));
    return std::round(value * scale) / scale;
}

/// A table that may be absent: `read` makes its JSON from the path, failures become notes.
template <typename Read>
Json optional_table(Sources& sources, const std::filesystem::path& path, Read read) {
    if (!is_there(path))
        return {};
    try {
        return read(path);
    } catch (const Error& error) {
        sources.notes.push_back(path.filename().string() + " is left out: " + error.what());
        return {};
    }
}

}  // namespace kvtape::report
