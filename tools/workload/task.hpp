#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace kvtape::workload {

/// What kind of fact a document hides.
enum class TaskKind { passkey, multikey, multivalue, variable, where, object };

/// A workload spec taken apart: `passkey:digits=64`.
struct Task {
    TaskKind kind = TaskKind::passkey;
    int size = 0;      ///< its one parameter (digits, keys, values, hops); 0 where there is none
    std::string spec;  ///< in full, with every parameter: two spellings of a task are one task
};

/// Unknown names and parameters (with the nearest spelling) and values out of range are usage
/// errors.
Task parse_task(std::string_view spec);

/// The spec of every task with its default, for help texts.
std::vector<std::string> task_specs();

}  // namespace kvtape::workload
