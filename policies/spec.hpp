#pragma once

#include "policies/policy.hpp"

#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace kvtape {

/// A policy ready to run, as one word of a command line named it.
struct PolicyRun {
    const PolicyInfo* info = nullptr;  ///< lives as long as the program
    std::unique_ptr<const Policy> policy;
    std::string spec;  ///< as written
};

/// The entry of `table` called `name`; anything else is a usage error that lists the names and says
/// which is nearest.
const PolicyInfo& find_policy(std::string_view name,
                              std::span<const PolicyInfo> table = policies::all());

/// What results of `spec` are never shown without, `NAME: ...` for the policy and those it is
/// composed of; empty where there is nothing to say, and for what is no spec of a known policy.
std::string caveat_of(std::string_view spec, std::span<const PolicyInfo> table = policies::all());

/// Whether the policy decides by a file that its spec must name; defaults alone do not make it run.
bool reads_file(const PolicyInfo& info);

/// Makes the policy that `spec` names. Unknown policies and parameters, values out of range and a
/// base where none is taken are usage errors. `files`, where parameters that name files find them,
/// is used during the call alone.
PolicyRun make_policy(std::string_view spec,
                      std::span<const PolicyInfo> table = policies::all(),
                      const Files* files = nullptr);

}  // namespace kvtape
