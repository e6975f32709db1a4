#include "tools/replay_options.hpp"

#include "core/error.hpp"
#include "tools/policy_files.hpp"

#include <algorithm>
#include <charconv>
#include <numeric>
#include <set>

namespace kvtape {
namespace {

std::vector<std::string> split(const std::string& list) {
    std::vector<std::string> items;
    for (std::size_t begin = 0; begin <= list.size();) {
        const std::size_t comma = std::min(list.find(',', begin), list.size());
        items.push_back(list.substr(begin, comma - begin));
        begin = comma + 1;
    }
    return items;
}

/// Whole numbers below `count`, each once, in ascending order.
std::vector<std::int32_t> read_indices(const std::string& option,
                                       const std::string& list,
                                       std::int32_t count) {
    std::set<std::int32_t> indices;
    for (const std::string& item : split(list)) {
        std::int32_t index = -1;
        const char* end = item.data() + item.size();
        const auto read = std::from_chars(item.data(), end, index);
        if (read.ec != std::errc() || read.ptr != end || index < 0 || index >= count)
            throw usage_error("reading " + option + ": '" + item + "' is not one of 0.." +
                              std::to_string(count - 1) + "; write a list such as 0,3,7");
        if (!indices.insert(index).second)
            throw usage_error("reading " + option + ": '" + item + "' appears twice in '" + list +
                              "'; name it once");
    }
    return {indices.begin(), indices.end()};
}

std::vector<std::int32_t> all_of(std::int32_t count) {
    std::vector<std::int32_t> indices(static_cast<std::size_t>(count));
    std::iota(indices.begin(), indices.end(), 0);
    return indices;
}

/// The recorded tasks that one word of `--tasks` means: a whole spec that one, `passkey` every
/// `passkey:digits=N`.
std::set<std::string> tasks_meant(const std::string& word, const std::set<std::string>& recorded) {
    std::set<std::string> meant;
    for (const std::string& task : recorded)
        if (task == word || task.substr(0, task.find(':')) == word)
            meant.insert(task);
    if (!meant.empty())
        return meant;
    std::string list;
    for (const std::string& task : recorded)
        list += (list.empty() ? "" : ", ") + task;
    throw usage_error("reading --tasks: the trace has no task '" + word + "'; it has " + list);
}

/// The sequences that `--sequences` and `--tasks` leave.
std::vector<std::int32_t> chosen_sequences(const Invocation& invocation, const Trace& trace) {
    std::vector<std::int32_t> chosen =
        invocation.values.count("sequences") != 0
            ? read_indices("--sequences",
                           invocation.values["sequences"].as<std::string>(),
                           trace.sequences())
            : all_of(trace.sequences());
    if (invocation.values.count("tasks") == 0)
        return chosen;
    std::set<std::string> known;
    for (std::int32_t i = 0; i < trace.sequences(); ++i)
        known.insert(trace.sequence(i).task);
    std::set<std::string> wanted;
    for (const std::string& word : split(invocation.values["tasks"].as<std::string>()))
        wanted.merge(tasks_meant(word, known));
    std::erase_if(chosen, [&](std::int32_t i) { return !wanted.contains(trace.sequence(i).task); });
    if (chosen.empty())
        throw usage_error("reading --tasks and --sequences: together they leave no sequence");
    return chosen;
}

QuerySource read_source(const std::string& name) {
    for (const QuerySource source :
         {QuerySource::agnostic, QuerySource::question, QuerySource::oracle})
        if (name_of(source) == name)
            return source;
    throw usage_error("reading --query-source: '" + name +
                      "' is not one of agnostic, question, oracle");
}

/// Why the trace cannot feed a policy, or "".
std::string obstacle(const ReplayRequest& request, const PolicyRun& policy) {
    try {
        const ReplayTask task{.policy = &policy, .budgets = {}};
        check_feasible(request, std::span(&task, 1));
        return "";
    } catch (const Error& error) {
        return error.what();
    }
}

std::vector<PolicyRun> read_policies(const Invocation& invocation,
                                     const ReplayRequest& request,
                                     std::vector<std::string>& left_out) {
    const auto& values = invocation.values;
    const PolicyFiles files(*request.trace);
    std::vector<PolicyRun> policies;
    if (values.count("policies") != 0 && values.count("policy") != 0)
        throw usage_error(
            "replaying: --policies all and --policy were both given; take all at their default "
            "parameters, or name each with --policy");
    if (values.count("policies") != 0) {
        const std::string which = values["policies"].as<std::string>();
        if (which != "all")
            throw usage_error("reading --policies: '" + which +
                              "' is not 'all'; name single policies with --policy");
        for (const PolicyInfo& info : policies::all()) {
            PolicyRun policy = make_policy(info.name);
            const std::string reason = obstacle(request, policy);
            if (reason.empty())
                policies.push_back(std::move(policy));
            else
                left_out.push_back("--policies all leaves out " + policy.spec + ": " + reason);
        }
    }
    if (values.count("policy") != 0)
        for (const std::string& spec : values["policy"].as<std::vector<std::string>>())
            policies.push_back(make_policy(spec, policies::all(), &files));
    if (policies.empty())
        throw usage_error(
            "replaying: no policy given; use --policy SPEC (repeatable) or "
            "--policies all");
    std::set<std::string> seen;
    std::erase_if(policies,
                  [&](const PolicyRun& policy) { return !seen.insert(policy.spec).second; });
    return policies;
}

}  // namespace

std::vector<ReplayTask> ReplayOptions::tasks() const {
    std::vector<ReplayTask> tasks;
    for (const PolicyRun& policy : policies)
        tasks.push_back({.policy = &policy, .budgets = budgets});
    return tasks;
}

void declare_replaying(boost::program_options::options_description& own) {
    using boost::program_options::value;
    own.add_options()  //
        ("policy",
         value<std::vector<std::string>>()->composing()->value_name("SPEC"),
         "policy with parameters: lagkv:lag=64,sinks=4 (repeatable)")  //
        ("policies",
         value<std::string>()->value_name("all"),
         "every policy that can be fed, at default parameters")  //
        ("budget",
         value<std::string>()->required()->value_name("LIST"),
         "what is kept: 0.25, 25%, 128t, 4MiB, 1%..50%:8, comma-separated")  //
        ("schedule",
         value<std::string>()->default_value("prefill")->value_name("S"),
         "when a policy decides: prefill, prompt or block:N, each also with +decode")  //
        ("query-source",
         value<std::string>()->default_value("agnostic")->value_name("Q"),
         "whose queries vote: agnostic, question or oracle")  //
        ("out",
         value<std::string>()->required()->value_name("DIR"),
         "directory of the results; what is there already is kept")                             //
        ("tasks", value<std::string>()->value_name("LIST"), "only these tasks")                 //
        ("sequences", value<std::string>()->value_name("LIST"), "only these sequences: 0,3,7")  //
        ("scores", "store scores; replay then also writes autopsy.csv");
}

ReplayOptions read_replay_options(const Invocation& invocation, const Trace& trace) {
    const auto& values = invocation.values;
    ReplayOptions options;
    options.request.trace = &trace;
    options.request.schedule = Schedule::parse(values["schedule"].as<std::string>());
    options.request.source = read_source(values["query-source"].as<std::string>());
    options.request.sequences = chosen_sequences(invocation, trace);
    options.request.layers =
        values.count("layers") != 0
            ? read_indices(
                  "--layers", values["layers"].as<std::string>(), trace.info().shape.layers)
            : all_of(trace.info().shape.layers);
    options.request.seed = invocation.common.seed;
    options.request.threads = invocation.common.threads;
    options.request.scores = values.count("scores") != 0 ? StoreScores::yes : StoreScores::no;
    options.policies = read_policies(invocation, options.request, options.left_out);
    options.budgets = parse_budgets(values["budget"].as<std::string>());
    return options;
}

}  // namespace kvtape
