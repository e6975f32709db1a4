#include "tools/workload/task.hpp"

#include "core/error.hpp"

#include <array>
#include <charconv>
#include <span>

namespace kvtape::workload {
namespace {

struct Form {
    std::string_view name;
    TaskKind kind;
    std::string_view parameter;  ///< empty: takes none
    int standard;
    int lowest;
    int highest;
};

constexpr std::array<Form, 6> forms = {{
    {"passkey", TaskKind::passkey, "digits", 16, 1, 1024},
    {"multikey", TaskKind::multikey, "keys", 4, 1, 1024},
    {"multivalue", TaskKind::multivalue, "values", 3, 1, 64},
    {"variable", TaskKind::variable, "hops", 1, 0, 30},
    {"where", TaskKind::where, "", 0, 0, 0},
    {"object", TaskKind::object, "", 0, 0, 0},
}};

std::string quoted(std::string_view text) {
    return std::string("'").append(text).append("'");
}

std::string hint(std::string_view word, std::span<const std::string_view> known) {
    const std::string close = nearest(word, known);
    return close.empty() ? "" : " (did you mean " + quoted(close) + "?)";
}

[[noreturn]] void refuse(std::string_view spec, const std::string& found) {
    throw usage_error("reading the workload '" + std::string(spec.substr(0, 80)) + "': " + found);
}

const Form& find_form(std::string_view spec, std::string_view name) {
    std::array<std::string_view, forms.size()> names;
    std::string list;
    for (std::size_t i = 0; i < forms.size(); ++i) {
        if (forms[i].name == name)
            return forms[i];
        names[i] = forms[i].name;
        list += i == 0 ? "" : ", ";
        list += forms[i].name;
    }
    refuse(spec,
           "there is no task " + quoted(name) + hint(name, names) + "; the tasks are: " + list);
}

int read_value(std::string_view spec, const Form& form, std::string_view text) {
    int value = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failure != std::errc() || end != text.data() + text.size() || value < form.lowest ||
        value > form.highest)
        refuse(spec,
               "the parameter " + quoted(form.parameter) + " is '" + std::string(text) +
                   "'; it must be " + std::to_string(form.lowest) + ".." +
                   std::to_string(form.highest));
    return value;
}

std::string full_spec(const Form& form, int size) {
    std::string spec(form.name);
    if (!form.parameter.empty())
        spec += ':' + std::string(form.parameter) + '=' + std::to_string(size);
    return spec;
}

int read_parameter(std::string_view spec, const Form& form, std::string_view text) {
    if (text.find(',') != std::string_view::npos)
        refuse(spec, quoted(form.name) + " takes no second parameter");
    const std::size_t equals = text.find('=');
    if (equals == std::string_view::npos)
        refuse(spec, quoted(text) + " is not param=value");
    const std::string_view name = text.substr(0, equals);
    if (form.parameter.empty())
        refuse(spec, quoted(form.name) + " takes no parameters");
    if (name != form.parameter) {
        const std::array<std::string_view, 1> known = {form.parameter};
        refuse(spec,
               quoted(form.name) + " has no parameter " + quoted(name) + hint(name, known) +
                   "; it takes: " + std::string(form.parameter));
    }
    return read_value(spec, form, text.substr(equals + 1));
}

}  // namespace

Task parse_task(std::string_view spec) {
    const std::size_t colon = spec.find(':');
    const Form& form = find_form(spec, spec.substr(0, colon));
    const int size = colon == std::string_view::npos
                         ? form.standard
                         : read_parameter(spec, form, spec.substr(colon + 1));
    return {.kind = form.kind, .size = size, .spec = full_spec(form, size)};
}

std::vector<std::string> task_specs() {
    std::vector<std::string> specs;
    for (const Form& form : forms)
        specs.push_back(full_spec(form, form.standard));
    return specs;
}

}  // namespace kvtape::workload
