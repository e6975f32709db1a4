#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace kvtape::workload {

/// The system message that a ChatML template (Jinja) prints where a chat has none of its own; empty
/// where it prints none. Nothing where its words do not tell, or where it prints more behind the
/// header of the answer than a line feed (`<think>`).
std::optional<std::string> chatml_system_message(std::string_view jinja);

}  // namespace kvtape::workload
