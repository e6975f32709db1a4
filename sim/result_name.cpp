#include "sim/result_name.hpp"

namespace kvtape {
namespace {

bool stays(char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.';
}

std::string slug(std::string_view text) {
    std::string result;
    for (const char c : text)
        if (stays(c))
            result += c;
        else if (result.empty() || result.back() != '-')
            result += '-';
    return result;
}

}  // namespace

std::string result_file_name(std::string_view policy_spec,
                             std::string_view budget,
                             std::string_view schedule,
                             std::string_view query_source) {
    return slug(policy_spec) + '@' + slug(budget) + '.' + slug(schedule) + '.' +
           slug(query_source) + ".decisions.h5";
}

}  // namespace kvtape
