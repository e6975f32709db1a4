#pragma once

#include "tools/report/sources.hpp"
#include "tools/report/strips.hpp"

#include <filesystem>
#include <string>

namespace kvtape::report {

/// One self-contained page that needs no network: tables as HTML, and data for the script that
/// draws them. Its security policy allows exactly its own scripts and styles.
std::string make_page(Sources& sources, const StripLimits& limits = {});

/// Makes the page of `request` and writes it to `out`; returns what is missing in it.
std::vector<std::string> write_page(const Request& request, const std::filesystem::path& out);

}  // namespace kvtape::report
