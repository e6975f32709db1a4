#pragma once

#include <span>
#include <string_view>

namespace kvtape::report {

/// A style sheet or script of the page, and the name by which its security policy allows it.
struct PageAsset {
    std::string_view text;
    std::string_view hash;  ///< `sha256-<base64>`
};

/// The files of tools/report/page and third_party/uplot, in the order in which the page needs them.
/// Written by cmake/EmbedPage.cmake.
std::span<const PageAsset> page_styles();
std::span<const PageAsset> page_scripts();

/// page.html, with `{{name}}` where something goes.
std::string_view page_template();

/// The licence of the chart library, which goes along with it.
std::string_view chart_licence();

}  // namespace kvtape::report
