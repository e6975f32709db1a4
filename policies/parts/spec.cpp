#include "policies/spec.hpp"

#include "core/error.hpp"
#include "policies/parts/parameters.hpp"

#include <algorithm>
#include <utility>

namespace kvtape {
namespace {

constexpr std::size_t longest_spec = 4096;

[[noreturn]] void refuse(std::string_view spec, std::string_view found) {
    throw usage_error("reading the policy spec '" + std::string(spec.substr(0, 80)) +
                      "': " + std::string(found) +
                      "; write name, name:param=value,param=value or name(base):param=value");
}

bool is_word(std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '_';
    });
}

/// Where the parenthesis opened at `open` closes.
std::size_t closing(std::string_view spec, std::size_t open) {
    int depth = 0;
    for (std::size_t i = open; i < spec.size(); ++i) {
        if (spec[i] == '(')
            ++depth;
        if (spec[i] == ')' && --depth == 0)
            return i;
    }
    refuse(spec, "a parenthesis is not closed");
}

std::pair<std::string, std::string> parse_value(std::string_view spec, std::string_view item) {
    const std::size_t equals = item.find('=');
    if (equals == std::string_view::npos)
        refuse(spec, "'" + std::string(item) + "' is not param=value");
    const std::string_view name = item.substr(0, equals);
    const std::string_view value = item.substr(equals + 1);
    if (!is_word(name))
        refuse(spec, "'" + std::string(name) + "' is not a parameter name");
    if (value.empty())
        refuse(spec, "the parameter '" + std::string(name) + "' has no value");
    if (value.find_first_of("()=:") != std::string_view::npos)
        refuse(spec, "'" + std::string(value) + "' is not a value");
    return {std::string(name), std::string(value)};
}

void add_value(std::string_view spec, std::string_view item, Arguments& arguments) {
    auto value = parse_value(spec, item);
    for (const auto& [name, earlier] : arguments.values)
        if (name == value.first)
            refuse(spec, "the parameter '" + name + "' is given twice");
    arguments.values.push_back(std::move(value));
}

}  // namespace

Arguments parse_spec(std::string_view spec) {
    if (spec.size() > longest_spec)
        refuse(spec,
               "it has " + std::to_string(spec.size()) + " characters, more than " +
                   std::to_string(longest_spec));
    Arguments arguments;
    std::size_t end = std::min(spec.find_first_of("(:"), spec.size());
    arguments.name = spec.substr(0, end);
    if (!is_word(arguments.name))
        refuse(spec, "'" + arguments.name + "' is not a policy name");
    if (end < spec.size() && spec[end] == '(') {
        const std::size_t close = closing(spec, end);
        arguments.base = spec.substr(end + 1, close - end - 1);
        if (arguments.base.empty())
            refuse(spec, "the parentheses are empty");
        end = close + 1;
    }
    if (end == spec.size())
        return arguments;
    if (spec[end] != ':')
        refuse(spec, "a ':' must come before the parameters");
    std::string_view rest = spec.substr(end + 1);
    while (true) {
        const std::size_t comma = rest.find(',');
        add_value(spec, rest.substr(0, comma), arguments);
        if (comma == std::string_view::npos)
            return arguments;
        rest.remove_prefix(comma + 1);
    }
}

const PolicyInfo& find_policy(std::string_view name, std::span<const PolicyInfo> table) {
    std::vector<std::string_view> names;
    for (const PolicyInfo& info : table) {
        if (info.name == name)
            return info;
        names.push_back(info.name);
    }
    const std::string close = nearest(name, names);
    throw usage_error("there is no policy '" + std::string(name) + "'" +
                      (close.empty() ? "" : " (did you mean '" + close + "'?)") +
                      "; the policies are: " + joined(names, ", "));
}

bool reads_file(const PolicyInfo& info) {
    const std::vector<Parameter> parameters = info.parameters();
    return std::any_of(parameters.begin(), parameters.end(), [](const Parameter& parameter) {
        return parameter.name == "file";
    });
}

std::string caveat_of(std::string_view spec, std::span<const PolicyInfo> table) {
    std::string found;
    // Names of policies, and of nothing else, stand at the start and behind parentheses.
    for (std::size_t begin = 0; begin < spec.size();) {
        const std::string_view name = spec.substr(begin, spec.substr(begin).find_first_of(":()"));
        for (const PolicyInfo& info : table)
            if (info.name == name && !info.caveat.empty())
                found.append(found.empty() ? "" : "; ")
                    .append(name)
                    .append(": ")
                    .append(info.caveat);
        const std::size_t opening = spec.find('(', begin);
        begin = opening == spec.npos ? spec.size() : opening + 1;
    }
    return found;
}

PolicyRun make_policy(std::string_view spec,
                      std::span<const PolicyInfo> table,
                      const Files* files) {
    Arguments arguments = parse_spec(spec);
    arguments.files = files;
    const PolicyInfo& info = find_policy(arguments.name, table);
    return {&info, info.make(arguments), std::string(spec)};
}

}  // namespace kvtape
