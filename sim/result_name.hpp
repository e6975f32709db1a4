#pragma once

#include <string>
#include <string_view>

namespace kvtape {

/// `<policy>@<budget>.<schedule>.<query source>.decisions.h5`, each part with every run of
/// characters outside [A-Za-z0-9.] replaced by one dash:
/// `lagkv-lag-64@0.25.prefill-decode.agnostic.decisions.h5`.
std::string result_file_name(std::string_view policy_spec,
                             std::string_view budget,
                             std::string_view schedule,
                             std::string_view query_source);

}  // namespace kvtape
