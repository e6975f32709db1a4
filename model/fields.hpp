#pragma once

#include "core/error.hpp"
#include "core/json.hpp"

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kvtape::model {

/// Reads the fields of one JSON object, strictly; every failure names `what` and the field.
class Fields {
  public:
    Fields(const Json& object, std::string_view what) : object_(object), what_(what) {
        if (!object.is_object())
            throw format_error("reading " + what_ + ": found " + std::string(object.type_name()) +
                               ", expected an object");
    }

    /// The field, or null when it is absent or null.
    const Json* find(const char* name) const {
        const auto found = object_.find(name);
        return found == object_.end() || found->is_null() ? nullptr : &*found;
    }

    [[noreturn]] void refuse(std::string_view name, const std::string& why) const {
        throw format_error("reading " + what_ + ": " + std::string(name) + " " + why);
    }

    /// An integer within [least, most]; `absent` when the field is not there and has a default.
    std::int64_t integer(const char* name,
                         std::int64_t least,
                         std::int64_t most,
                         std::optional<std::int64_t> absent = {}) const {
        const Json* field = find(name);
        if (field == nullptr && absent)
            return *absent;
        if (field == nullptr)
            refuse(name, "is missing");
        const bool fits = field->is_number_unsigned()
                              ? field->get<std::uint64_t>() <= static_cast<std::uint64_t>(most)
                              : field->is_number_integer();
        if (!fits || field->get<std::int64_t>() < least || field->get<std::int64_t>() > most)
            refuse(name,
                   "is " + shown(*field) + ", expected an integer from " + std::to_string(least) +
                       " to " + std::to_string(most));
        return field->get<std::int64_t>();
    }

    /// A finite number above zero and at most `most`.
    double positive(const char* name, double most, std::optional<double> absent = {}) const {
        const Json* field = find(name);
        if (field == nullptr && absent)
            return *absent;
        if (field == nullptr)
            refuse(name, "is missing");
        const double value = field->is_number() ? field->get<double>() : 0.0;
        if (!(value > 0.0 && value <= most))
            refuse(name,
                   "is " + shown(*field) + ", expected a number above 0 and at most " +
                       to_text(Json(most)));
        return value;
    }

    bool flag(const char* name, bool absent) const {
        const Json* field = find(name);
        if (field == nullptr)
            return absent;
        if (!field->is_boolean())
            refuse(name, "is " + shown(*field) + ", expected true or false");
        return field->get<bool>();
    }

    std::string text(const char* name, std::optional<std::string> absent = {}) const {
        const Json* field = find(name);
        if (field == nullptr && absent)
            return *absent;
        if (field == nullptr)
            refuse(name, "is missing");
        if (!field->is_string())
            refuse(name, "is " + shown(*field) + ", expected a string");
        return field->get<std::string>();
    }

    /// A value as an error shows it: short, printable ASCII.
    static std::string shown(const Json& value) {
        std::string text = value.dump(-1, ' ', true);
        constexpr std::size_t longest = 60;
        if (text.size() > longest)
            text = text.substr(0, longest) + "...";
        return text;
    }

    const std::string& what() const { return what_; }

  private:
    const Json& object_;
    std::string what_;
};

}  // namespace kvtape::model
