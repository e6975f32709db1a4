#include "policies/policy.hpp"

namespace kvtape {

std::string_view name_of(QuerySource source) {
    switch (source) {
        case QuerySource::question:
            return "question";
        case QuerySource::oracle:
            return "oracle";
        case QuerySource::agnostic:
            break;
    }
    return "agnostic";
}

}  // namespace kvtape
