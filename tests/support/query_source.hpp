#pragma once

#include "policies/policy.hpp"

#include <stdexcept>
#include <string>

namespace kvtape::testing {

/// The query source that golden files call `name`.
inline QuerySource source_named(const std::string& name) {
    for (const QuerySource source :
         {QuerySource::agnostic, QuerySource::question, QuerySource::oracle})
        if (name_of(source) == name)
            return source;
    throw std::runtime_error("no query source is called " + name);
}

}  // namespace kvtape::testing
