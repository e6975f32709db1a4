#pragma once

#include "tools/report/sources.hpp"

#include <string>

namespace kvtape::report {

/// The answer as HTML: which policy keeps most of the needle at which budget, the runner-up and
/// whether it is really behind, what the running model answered with both, and with how little of
/// the cache nine tenths are kept; with intervals.
std::string answer_html(const Sources& sources);

/// Policies as rows and budgets as columns: weighted recall (kept mass where there is no needle)
/// with its interval, marked where more is kept than was asked.
std::string recall_html(const Recall& recall);

/// What each result really holds: tokens and bytes, over all sequences, layers and heads.
std::string bytes_html(const Sources& sources);

/// Commands, versions and fingerprints.
std::string provenance_html(const Sources& sources);

/// The notes of `sources` as a list, or "".
std::string notes_html(const Sources& sources);

}  // namespace kvtape::report
