#pragma once

#include "core/json.hpp"
#include "tools/report/sources.hpp"
#include "tools/report/strips.hpp"

namespace kvtape::report {

/// Everything the page's script draws: cells with means and intervals over all sequences and by
/// task, figures by layer and KV head, strips, and the tables of `analyze`, `live` and `verify`
/// that are there. Notes on what is not are added to `sources`.
Json page_data(Sources& sources, const StripLimits& limits = {});

/// `data` as it may stand inside a script element: no `<`, `>`, `&` nor line separator of
/// JavaScript is in it, only their \u escapes.
std::string script_safe(const Json& data);

}  // namespace kvtape::report
