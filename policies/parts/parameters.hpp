#pragma once

#include "core/budget.hpp"
#include "core/error.hpp"
#include "core/json.hpp"
#include "policies/arguments.hpp"

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvtape {

/// Parameters are declared once, in a member of the policy's settings:
///
///     void fields(auto& field) {
///         field("window", window, Whole{1, 4096}, "last context tokens, always kept");
///     }
///
/// and from there parsed, listed and echoed. The second argument holds the default. The third says
/// what is allowed; each kind has `parse`, `text`, `json` and `range`. A value that is not set
/// (an empty list, `compat` not asked for) has an empty text and is not echoed.

/// The words that are not empty, with `separator` between them.
std::string joined(std::span<const std::string_view> words, std::string_view separator);

/// Whole numbers `lowest..highest`.
struct Whole {
    std::int32_t lowest = 0;
    std::int32_t highest = 0;
    bool odd = false;

    bool parse(std::string_view text, std::int32_t& value) const;
    std::string text(std::int32_t value) const { return std::to_string(value); }
    Json json(std::int32_t value) const { return value; }
    std::string range() const;
};

/// Decimal numbers `lowest..highest`.
struct Real {
    double lowest = 0.0;
    double highest = 0.0;

    bool parse(std::string_view text, double& value) const;
    std::string text(double value) const;
    Json json(double value) const { return value; }
    std::string range() const { return text(lowest) + ".." + text(highest); }
};

/// Exact decimal fractions 0..1, as written.
struct Share {
    bool parse(std::string_view text, Ratio& value) const;
    std::string text(const Ratio& value) const { return Real{}.text(value.value()); }
    Json json(const Ratio& value) const { return value.value(); }
    std::string range() const { return "0..1, at most 15 digits"; }
};

/// Off or on, written 0 or 1.
struct Switch {
    bool parse(std::string_view text, bool& value) const;
    std::string text(bool value) const { return value ? "1" : "0"; }
    Json json(bool value) const { return value ? 1 : 0; }
    std::string range() const { return "0|1"; }
};

/// One of the enumerators, named in their order. A name may be empty: the value is then not set.
template <std::size_t Count>
struct Choice {
    std::string_view names[Count];

    template <typename Enum>
    bool parse(std::string_view word, Enum& value) const {
        for (std::size_t i = 0; i < Count; ++i) {
            if (word.empty() || names[i] != word)
                continue;
            value = static_cast<Enum>(i);
            return true;
        }
        return false;
    }
    template <typename Enum>
    std::string text(Enum value) const {
        return std::string(names[static_cast<std::size_t>(value)]);
    }
    template <typename Enum>
    Json json(Enum value) const {
        return text(value);
    }
    std::string range() const { return joined(names, "|"); }
};
template <typename... Names>
Choice(Names...) -> Choice<sizeof...(Names)>;

/// A value of another kind, or none: it is then not set.
template <typename Kind>
struct Optional {
    Kind kind;

    template <typename Value>
    bool parse(std::string_view text, std::optional<Value>& value) const {
        Value found{};
        if (!kind.parse(text, found))
            return false;
        value = found;
        return true;
    }
    template <typename Value>
    std::string text(const std::optional<Value>& value) const {
        return value ? kind.text(*value) : "";
    }
    template <typename Value>
    Json json(const std::optional<Value>& value) const {
        return value ? kind.json(*value) : Json();
    }
    std::string range() const { return kind.range(); }
};

/// The path of a file.
struct FilePath {
    bool parse(std::string_view text, std::string& value) const;
    std::string text(const std::string& value) const { return value; }
    Json json(const std::string& value) const { return value; }
    std::string range() const { return "a path without any of ( ) , : ="; }
};

/// Layers, ascending, written `0+1+7`.
struct LayerList {
    bool parse(std::string_view text, std::vector<std::int32_t>& value) const;
    std::string text(const std::vector<std::int32_t>& value) const;
    Json json(const std::vector<std::int32_t>& value) const { return value; }
    std::string range() const { return "layers joined by +, ascending, each once"; }
};

/// Throws a usage error when `skip`, ascending, names a layer that a model of this shape does not
/// have.
void expect_layers(const std::vector<std::int32_t>& skip, const Shape& shape);

/// Visits the fields to describe them.
struct ParameterLister {
    std::vector<Parameter> found;

    template <typename Value, typename Kind>
    void operator()(std::string_view name,
                    const Value& value,
                    const Kind& kind,
                    std::string_view summary) {
        found.push_back({std::string(name), kind.text(value), kind.range(), std::string(summary)});
    }
};

/// Visits the fields to write down the values used.
struct ParameterEcho {
    Json values = Json::object();

    template <typename Value, typename Kind>
    void operator()(std::string_view name, const Value& value, const Kind& kind, std::string_view) {
        if (!kind.text(value).empty())
            values[std::string(name)] = kind.json(value);
    }
};

/// Visits the fields to set those that the arguments name.
struct ParameterReader {
    const Arguments& arguments;

    template <typename Value, typename Kind>
    void operator()(std::string_view name, Value& value, const Kind& kind, std::string_view) const {
        for (const auto& [given, text] : arguments.values)
            if (given == name && !kind.parse(text, value))
                throw usage_error("policy " + arguments.name + ": the parameter '" + given +
                                  "' is '" + text + "'; it must be " + kind.range());
    }
};

/// Refuses a base and every parameter that is not in `known`.
void check_arguments(const Arguments& arguments, std::span<const Parameter> known);

/// The parameters of `Settings` with their defaults.
template <typename Settings>
std::vector<Parameter> parameters_of() {
    Settings settings;
    ParameterLister lister;
    settings.fields(lister);
    return lister.found;
}

/// `settings` with the values of `arguments`. Errors name the parameter, what was found and what is
/// allowed.
template <typename Settings>
Settings read_parameters(const Arguments& arguments, Settings settings = {}) {
    check_arguments(arguments, parameters_of<Settings>());
    const ParameterReader reader{arguments};
    settings.fields(reader);
    return settings;
}

/// Every parameter that has a value, with the value used.
template <typename Settings>
Json echo_parameters(Settings settings) {
    ParameterEcho echo;
    settings.fields(echo);
    return echo.values;
}

}  // namespace kvtape
