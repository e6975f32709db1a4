#include "tools/report/page.hpp"

#include "core/error.hpp"
#include "tools/report/answer.hpp"
#include "tools/report/assets.hpp"
#include "tools/report/data.hpp"
#include "tools/report/words.hpp"
#include "tools/text_file.hpp"
#include "tools/visible_text.hpp"

#include <map>
#include <string_view>

namespace kvtape::report {
namespace {

using Parts = std::map<std::string_view, std::string>;

std::string elements(std::span<const PageAsset> assets, std::string_view name) {
    std::string html;
    for (const PageAsset& asset : assets)
        html += '<' + std::string(name) + '>' + std::string(asset.text) + "</" + std::string(name) +
                ">\n";
    return html;
}

std::string hashes(std::span<const PageAsset> assets) {
    std::string list;
    for (const PageAsset& asset : assets)
        list += " '" + std::string(asset.hash) + '\'';
    return list;
}

/// The template with every `{{name}}` replaced, in one pass: what is put in is not looked at again.
std::string filled(std::string_view page, const Parts& parts) {
    std::string html;
    while (true) {
        const std::size_t begin = page.find("{{");
        html += page.substr(0, begin);
        if (begin == std::string_view::npos)
            return html;
        const std::size_t end = page.find("}}", begin);
        const std::string_view name = page.substr(begin + 2, end - begin - 2);
        const auto part = parts.find(name);
        if (end == std::string_view::npos || part == parts.end())
            throw internal_error("the template of the report names '" + std::string(name) +
                                 "', which nothing fills");
        html += part->second;
        page.remove_prefix(end + 2);
    }
}

}  // namespace

std::string make_page(Sources& sources, const StripLimits& limits) {
    Parts parts;
    parts["data"] = script_safe(page_data(sources, limits));
    parts["policy"] = "default-src 'none'; script-src" + hashes(page_scripts()) + "; style-src" +
                      hashes(page_styles()) + "; base-uri 'none'; form-action 'none'";
    parts["styles"] = elements(page_styles(), "style");
    parts["scripts"] = elements(page_scripts(), "script");
    parts["title"] = shown(sources.directory.lexically_normal().string());
    parts["answer"] = answer_html(sources);
    parts["recall"] = recall_html(sources.recall);
    parts["bytes"] = bytes_html(sources);
    parts["made"] = provenance_html(sources);
    parts["notes"] = notes_html(sources);
    parts["licence"] = html_escaped(chart_licence());
    parts["version"] = KVTAPE_VERSION;
    return filled(page_template(), parts);
}

std::vector<std::string> write_page(const Request& request, const std::filesystem::path& out) {
    Sources sources = open_sources(request);
    write_text_file(out, make_page(sources));
    return sources.notes;
}

}  // namespace kvtape::report
