#include "core/json.hpp"
#include "policies/spec.hpp"
#include "sim/replay.hpp"
#include "tools/verb.hpp"

#include <algorithm>
#include <iostream>
#include <string>
#include <vector>

namespace kvtape::verbs {
namespace {

namespace options = boost::program_options;

std::string_view name_of(BudgetRule rule) {
    switch (rule) {
        case BudgetRule::exact:
            return "exact";
        case BudgetRule::at_most:
            return "at_most";
        case BudgetRule::own:
            break;
    }
    return "own";
}

std::string_view explain(BudgetRule rule) {
    switch (rule) {
        case BudgetRule::exact:
            return "met exactly in every KV head";
        case BudgetRule::at_most:
            return "never exceeded";
        case BudgetRule::own:
            break;
    }
    return "the method has its own arithmetic; tables show what it really kept";
}

std::vector<std::string> describe(const Needs& needs) {
    std::vector<std::string> list;
    if (needs.keys)
        list.push_back("keys");
    if (needs.values)
        list.push_back("values");
    if (needs.window > 0)
        list.push_back("queries of the last " + std::to_string(needs.window) +
                       " context positions");
    if (needs.column_sums)
        list.push_back("attention column sums");
    if (needs.future)
        list.push_back("queries after the context");
    if (needs.probes)
        list.push_back("queries and keys of the question");
    if (needs.outputs)
        list.push_back("attention outputs of these queries");
    if (needs.statistics)
        list.push_back("query statistics");
    if (needs.output_projection)
        list.push_back("output projections");
    if (needs.block > 0)
        list.push_back("the context in blocks of " + std::to_string(needs.block));
    if (needs.repetition)
        list.push_back("queries of a second pass over the context");
    return list;
}

Json to_json(const PolicyInfo& info) {
    const PolicyRun run = make_policy(info.name);
    const Needs needs = run.policy->needs();
    Json parameters = Json::array();
    for (const Parameter& parameter : info.parameters())
        parameters.push_back({{"name", parameter.name},
                              {"default", parameter.value},
                              {"range", parameter.range},
                              {"summary", parameter.summary}});
    return {{"name", info.name},
            {"summary", info.summary},
            {"source", info.source},
            {"caveat", info.caveat},
            {"variants", info.variants},
            {"budget_rule", name_of(info.budget_rule)},
            {"nested", info.nested},
            {"wraps", info.wraps},
            {"schedules", supported_schedules(*run.policy)},
            {"parameters", parameters},
            {"needs",
             {{"keys", needs.keys},
              {"values", needs.values},
              {"window", needs.window},
              {"column_sums", needs.column_sums},
              {"future", needs.future},
              {"probes", needs.probes},
              {"block", needs.block},
              {"merges", needs.merges},
              {"rotation", needs.rotation},
              {"outputs", needs.outputs},
              {"statistics", needs.statistics},
              {"output_projection", needs.output_projection},
              {"repetition", needs.repetition}}}};
}

/// Cells in columns as wide as their widest entry, two spaces apart, each line indented by two.
void print_columns(std::ostream& out, const std::vector<std::vector<std::string>>& rows) {
    std::vector<std::size_t> widths;
    for (const auto& row : rows) {
        widths.resize(std::max(widths.size(), row.size()));
        for (std::size_t i = 0; i < row.size(); ++i)
            widths[i] = std::max(widths[i], row[i].size());
    }
    for (const auto& row : rows) {
        std::string line;
        for (std::size_t i = 0; i < row.size(); ++i) {
            line += "  " + row[i];
            if (i + 1 < row.size())
                line.append(widths[i] - row[i].size(), ' ');
        }
        out << line << '\n';
    }
}

std::string described(const PolicyInfo& info) {
    return std::string(info.summary) + (info.caveat.empty() ? "" : "; " + std::string(info.caveat));
}

void print_list(std::ostream& out) {
    std::vector<std::vector<std::string>> rows;
    for (const PolicyInfo& info : policies::all())
        rows.push_back({std::string(info.name), described(info), std::string(info.source)});
    print_columns(out, rows);
    out << "\nkvtape policies NAME shows parameters, needs and variants.\n";
}

/// A spec that shows the grammar, as one word of a shell: the base of a wrapper, and the first
/// parameters at their defaults.
std::string example_spec(const PolicyInfo& info, const Policy& policy) {
    std::string spec(info.name);
    if (info.wraps)
        spec += '(' + policy.parameters()["base"].get<std::string>() + ')';
    char separator = ':';
    for (const Parameter& parameter : info.parameters()) {
        const std::string value = parameter.name == "file" ? "FILE" : parameter.value;
        if (value.empty() || separator == ' ')
            continue;
        spec += separator + parameter.name + '=' + value;
        separator = separator == ':' ? ',' : ' ';
    }
    return info.wraps ? "'" + spec + "'" : spec;
}

void print_page(std::ostream& out, const PolicyInfo& info) {
    const PolicyRun run = make_policy(info.name);
    out << info.name << ": " << described(info) << "\n\n";
    std::string needs;
    for (const std::string& need : describe(run.policy->needs()))
        needs += (needs.empty() ? "" : ", ") + need;
    std::vector<std::vector<std::string>> facts = {
        {"source", std::string(info.source)},
        {"budget", std::string(explain(info.budget_rule))},
        {"schedules", supported_schedules(*run.policy)},
        {"needs", needs.empty() ? "nothing but positions" : needs}};
    if (!info.variants.empty())
        facts.push_back({"variants", std::string(info.variants)});
    print_columns(out, facts);
    const std::vector<Parameter> parameters = info.parameters();
    out << (parameters.empty() ? "\nno parameters\n" : "\nparameters\n");
    std::vector<std::vector<std::string>> rows;
    for (const Parameter& parameter : parameters)
        rows.push_back(
            {parameter.name + '=' + (parameter.value.empty() ? "(not set)" : parameter.value),
             parameter.range,
             parameter.summary});
    print_columns(out, rows);
    out << "\nexample\n  kvtape replay run.kvtape.h5 --policy " << example_spec(info, *run.policy)
        << " --budget 5%,25% --out results\n";
}

void declare(options::options_description& own, options::positional_options_description& order) {
    own.add_options()(
        "name", options::value<std::string>()->value_name("NAME"), "the policy to explain");
    order.add("name", 1);
}

int run(const Invocation& invocation) {
    const bool one = invocation.values.count("name") != 0;
    if (one) {
        const PolicyInfo& info = find_policy(invocation.values["name"].as<std::string>());
        if (invocation.common.json)
            std::cout << to_text(to_json(info)) << '\n';
        else
            print_page(std::cout, info);
        return exit_done;
    }
    if (!invocation.common.json) {
        print_list(std::cout);
        return exit_done;
    }
    Json list = Json::array();
    for (const PolicyInfo& info : policies::all())
        list.push_back(to_json(info));
    std::cout << to_text(list) << '\n';
    return exit_done;
}

}  // namespace

Verb policies() {
    return {.name = "policies",
            .synopsis = "policies [NAME]",
            .summary = "lists the policies, or explains one: parameters, needs, variants",
            .examples =
                "  kvtape policies\n"
                "  kvtape policies snapkv\n"
                "  kvtape policies --json\n",
            .declare = declare,
            .run = run};
}

}  // namespace kvtape::verbs
