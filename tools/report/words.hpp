#pragma once

#include "sim/bootstrap.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace kvtape::report {

/// Text of a file inside HTML: visible, escaped.
std::string shown(std::string_view text);

/// `0.52`.
std::string decimal(double number);
/// `26 %`, `2.5 %` below ten.
std::string percent(double ratio);
/// ` [0.45, 0.59]`, or "" where there is no interval.
std::string bounds(const Interval& mean);
/// `12.4 MiB`.
std::string bytes(std::int64_t count);

}  // namespace kvtape::report
