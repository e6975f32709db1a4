#include "analyze/sweep.hpp"

#include "analyze/result_table.hpp"
#include "core/error.hpp"
#include "core/json.hpp"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

namespace kvtape {
namespace {

constexpr std::string_view header =
    "policy,value,others,budget,schedule,query_source,task,sequences,kept_ratio,"
    "needle_recall,needle_recall_low,needle_recall_high,needle_recall_weighted,"
    "needle_recall_weighted_low,needle_recall_weighted_high,mass_kept,mass_kept_low,"
    "mass_kept_high,output_error_median,output_error_median_low,output_error_median_high,"
    "difference,difference_low,difference_high";

/// One result that has the parameter.
struct Member {
    const MeasuredResult* result = nullptr;
    std::string policy;  ///< without its parameters; a wrapper with its base
    Json value;
    std::string others;

    /// What all members of a group share.
    bool same_group(const Member& other) const {
        return policy == other.policy && others == other.others &&
               result->budget.text() == other.result->budget.text() &&
               result->schedule == other.result->schedule &&
               result->query_source == other.result->query_source;
    }
};

/// `paged(snapkv:window=8):block=16` is `paged(snapkv)`: parameters go, up to the end or the
/// closing parenthesis.
std::string without_parameters(std::string_view spec) {
    std::string name;
    bool in_parameters = false;
    for (const char c : spec) {
        in_parameters = (in_parameters || c == ':') && c != ')';
        if (!in_parameters)
            name += c;
    }
    return name;
}

/// Numbers by size, before everything else by its text.
bool ascending(const Json& a, const Json& b) {
    if (a.is_number() && b.is_number())
        return a.get<double>() < b.get<double>();
    return a.is_number() != b.is_number() ? a.is_number() : to_text(a) < to_text(b);
}

/// A wrapper echoes its base like this, among its own parameters.
constexpr const char* base_spec = "base";
constexpr const char* base_parameters = "base_parameters";

/// The parameters of the outermost of a policy, its base, the base of that, ... that has one of
/// this name; null where none has it.
Json* owner_of(Json& parameters, const std::string& parameter) {
    for (Json* own = &parameters; own->is_object(); own = &own->at(base_parameters)) {
        if (own->contains(parameter))
            return own;
        if (!own->contains(base_parameters))
            break;
    }
    return nullptr;
}

/// What the user wrote of a base also says what its parameters say one by one: its name is enough.
void shorten_bases(Json& parameters) {
    for (Json* own = &parameters; own->is_object() && own->contains(base_parameters);
         own = &own->at(base_parameters))
        if (const auto base = own->find(base_spec); base != own->end() && base->is_string())
            *base = without_parameters(base->get<std::string>());
}

void note_names(const Json& parameters, std::set<std::string>& names) {
    for (const auto& [name, value] : parameters.items())
        if (name == base_parameters && value.is_object())
            note_names(value, names);
        else
            names.insert(name);
}

/// Nothing where neither the policy nor its base has the parameter. Results that differ in their
/// base alone are one policy by `base`.
std::optional<Member> member_of(const MeasuredResult& result,
                                Json parameters,
                                const std::string& parameter) {
    Json* owner = owner_of(parameters, parameter);
    if (owner == nullptr)
        return std::nullopt;
    const bool by_base = parameter == base_spec && owner->contains(base_parameters);
    Member member{.result = &result,
                  .policy = by_base ? result.policy.substr(0, result.policy.find_first_of("(:"))
                                    : without_parameters(result.policy),
                  .value = owner->at(parameter),
                  .others = {}};
    owner->erase(parameter);
    if (by_base)
        owner->erase(base_parameters);
    shorten_bases(parameters);
    member.others = to_text(parameters);
    return member;
}

std::vector<Member> members_of(std::span<const MeasuredResult> results,
                               const std::string& parameter) {
    std::vector<Member> members;
    std::set<std::string> known;
    for (const MeasuredResult& result : results) {
        Json parameters = parse_json(result.parameters, "the parameters in recall.csv");
        if (!parameters.is_object())
            throw format_error("reading recall.csv: the parameters '" + result.parameters +
                               "' are not an object");
        note_names(parameters, known);
        if (auto member = member_of(result, std::move(parameters), parameter))
            members.push_back(std::move(*member));
    }
    if (!members.empty())
        return members;
    std::string list;
    for (const std::string& name : known)
        list += (list.empty() ? "" : ", ") + name;
    throw usage_error("analyzing by '" + parameter +
                      "': no policy of the directory has that parameter; " +
                      (list.empty() ? "none has any" : "there are " + list));
}

void add_row(Csv& csv,
             const Member& member,
             const Member& first,
             const TaskChoice& task,
             const Bootstrap& bootstrap) {
    const MeasuredResult& result = *member.result;
    const KeptTotals kept = kept_totals(result, task);
    if (kept.sequences == 0)
        return;
    csv.field(member.policy)
        .field(member.value.is_string() ? member.value.get<std::string>() : to_text(member.value))
        .field(member.others)
        .field(result.budget.text())
        .field(result.schedule)
        .field(result.query_source)
        .field(task.name)
        .field(kept.sequences)
        .field(kept.ratio());
    const std::array<const MeasuredResult*, 1> alone = {&result};
    const auto metrics = compared_metrics();
    for (const std::size_t metric : {1u, 0u, 2u, 3u})
        add_interval(csv, bootstrap, paired_figures(alone, task, metrics[metric])[0]);
    const std::array both = {&result, first.result};
    const auto paired = paired_figures(both, task, metrics[0]);
    std::vector<double> differences;
    for (std::size_t i = 0; i < paired[0].size(); ++i)
        differences.push_back(paired[0][i] - paired[1][i]);
    add_interval(csv, bootstrap, differences).end_row();
}

}  // namespace

std::string sweep_table(std::span<const MeasuredResult> results,
                        std::string_view parameter,
                        const Bootstrap& bootstrap) {
    std::vector<std::vector<Member>> groups;
    for (Member& member : members_of(results, std::string(parameter))) {
        const auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& known) {
            return known.front().same_group(member);
        });
        if (group == groups.end())
            groups.push_back({std::move(member)});
        else
            group->push_back(std::move(member));
    }
    Csv csv(header);
    const std::vector<TaskChoice> tasks = task_choices(results);
    for (std::vector<Member>& group : groups) {
        std::stable_sort(group.begin(), group.end(), [](const Member& a, const Member& b) {
            return ascending(a.value, b.value);
        });
        for (const TaskChoice& task : tasks)
            for (const Member& member : group)
                add_row(csv, member, group.front(), task, bootstrap);
    }
    return csv.text();
}

}  // namespace kvtape
