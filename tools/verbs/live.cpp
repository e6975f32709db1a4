#include "core/error.hpp"
#include "core/json.hpp"
#include "model/transformer.hpp"
#include "tools/device.hpp"
#include "tools/live/run_into.hpp"
#include "tools/live/source.hpp"
#include "tools/needle_model.hpp"
#include "tools/progress.hpp"
#include "tools/replay_options.hpp"
#include "tools/run_record.hpp"
#include "tools/table.hpp"
#include "tools/verb.hpp"
#include "trace/reader.hpp"

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>

namespace kvtape::verbs {
namespace {

namespace options = boost::program_options;
using Clock = std::chrono::steady_clock;

void declare(options::options_description& own,
             options::positional_options_description& positional) {
    own.add_options()  //
        ("like",
         options::value<std::string>()->required()->value_name("TRACE"),
         "trace whose sequences the model runs again")  //
        ("model",
         options::value<std::string>()->value_name("DIR"),
         "checkpoint that was recorded; default: the needle model");
    declare_replaying(own);
    own.add_options()  //
        ("max-new-tokens",
         options::value<Position>()->default_value(96)->value_name("N"),
         "longest answer; as in the recording")  //
        ("teacher",
         "also replay block-wise runs over what the running model produced, into teacher.csv");
    declare_device(own);
    positional.add("like", 1);
}

/// Answers of one policy and task, by budget.
struct Tally {
    std::int64_t right = 0, judged = 0;
};

std::string accuracy_table(const std::vector<live::AnswerRow>& rows) {
    std::vector<Budget> budgets;
    std::map<std::string, std::map<std::string, Tally>> tallies;  // by policy, then budget
    for (const live::AnswerRow& row : rows) {
        budgets.push_back(row.budget);
        Tally& tally = tallies[row.policy][row.budget.text()];
        tally.right += row.correct == 1 ? 1 : 0;
        tally.judged += row.correct >= 0 ? 1 : 0;
    }
    std::sort(budgets.begin(), budgets.end());
    std::vector<std::string> head = {"policy"};
    for (const Budget& budget : budgets)
        if (head.back() != budget.text())
            head.push_back(budget.text());
    std::vector<std::vector<std::string>> table = {head};
    for (const auto& [policy, by_budget] : tallies) {
        std::vector<std::string> line = {policy};
        for (std::size_t i = 1; i < head.size(); ++i) {
            const auto cell = by_budget.find(head[i]);
            line.push_back(cell == by_budget.end() || cell->second.judged == 0
                               ? "-"
                               : std::to_string(cell->second.right) + "/" +
                                     std::to_string(cell->second.judged));
        }
        table.push_back(std::move(line));
    }
    return text_table(table);
}

/// What all answers of a directory have in common.
Json settings_of(const model::Backend& backend,
                 const std::filesystem::path& model,
                 Position max_new_tokens) {
    return {{"device", backend.name()},
            {"dtype", std::string(name_of(backend.element_type()))},
            {"model", std::filesystem::weakly_canonical(model).string()},
            {"max_new_tokens", max_new_tokens}};
}

/// Answers of two settings in one directory would be compared as if they were alike.
void expect_settings(const ResultDirectory& directory, const Json& settings) {
    if (directory.results().empty())
        return;
    Json record;
    try {
        record = read_run_record(directory.path());
    } catch (const Error&) {
        return;  // Somebody took it away.
    }
    const Json* then = record.is_object() && record.contains("live") ? &record["live"] : nullptr;
    for (const auto& [name, value] : settings.items())
        if (then != nullptr && then->is_object() && then->contains(name) && (*then)[name] != value)
            throw usage_error("running live into " + directory.path().string() +
                              ": its answers were computed with " + name + ' ' +
                              to_text((*then)[name]) + ", not " + to_text(value) +
                              "; use another --out");
}

struct LiveOptions {
    std::filesystem::path out;
    std::filesystem::path model;
    Device device;
    Position max_new_tokens = 0;
};

LiveOptions read_live_options(const Invocation& invocation) {
    const auto& values = invocation.values;
    LiveOptions asked{.out = values["out"].as<std::string>(),
                      .model = {},
                      .device = read_device(invocation),
                      .max_new_tokens = values["max-new-tokens"].as<Position>()};
    if (asked.out.empty())
        throw usage_error("--out is empty; name the directory of the results");
    if (asked.max_new_tokens < 0)
        throw usage_error("--max-new-tokens is " + std::to_string(asked.max_new_tokens) +
                          "; it must be at least 0");
    asked.model = values.count("model") != 0
                      ? std::filesystem::path(values["model"].as<std::string>())
                      : needle_model_directory();
    return asked;
}

/// Runs the tasks into the directory, with the settings of the run beside its answers.
live::LiveReport run_recorded(ResultDirectory& directory,
                              live::LiveRequest request,
                              std::span<const ReplayTask> tasks,
                              Json record,
                              bool quiet) {
    const Clock::time_point begin = Clock::now();
    // What a run that fails leaves behind has its settings beside it.
    if (directory.results().empty())
        directory.write("run.json", record.dump(2) + "\n");
    std::optional<Progress> progress;
    std::int64_t answered = 0;
    request.setting.ran = [&](const SequenceInfo& prompt, Position behind) {
        progress->update(answered, model_progress(prompt.task, behind, prompt.prompt_len));
    };
    live::LiveReport report =
        live::run_into(directory, request, tasks, [&](std::int64_t done, std::int64_t all) {
            if (!progress)
                progress.emplace("answering", all, quiet);
            progress->update(answered = done);
        });
    progress.reset();
    record["seconds"] = std::chrono::duration<double>(Clock::now() - begin).count();
    record["generated_tokens"] = report.generated;
    record["decode_seconds"] = report.decode_seconds;
    if (!report.rows.empty())
        directory.write("run.json", record.dump(2) + "\n");
    return report;
}

void print(const live::LiveReport& report, const std::filesystem::path& out, bool json) {
    if (json)
        std::cout << live::as_json(report, out.string()) << '\n';
    else if (report.rows.empty())
        std::cout << "everything asked for is there already, in " << out.string() << '\n';
    else
        std::cout << accuracy_table(report.rows)
                  << "\nRight answers of the running model with the cache compressed. More in "
                  << (out / "answers.csv").string() << '\n';
}

int run(const Invocation& invocation) {
    const LiveOptions own = read_live_options(invocation);
    const CommonOptions& common = invocation.common;
    const std::unique_ptr<Trace> trace =
        open_trace(invocation.values["like"].as<std::string>(), Unfinished::refuse, common.threads);
    const model::Config config = model::Config::load(own.model / "config.json");
    const model::Tokenizer tokenizer = model::Tokenizer::load(own.model / "tokenizer.json");
    const std::unique_ptr<model::Backend> backend =
        make_backend(own.device, config.stored_type, common.threads);
    model::Transformer model = model::Transformer::load(own.model, *backend);
    const live::Source source(*trace, model, tokenizer, own.model);
    const ReplayOptions asked = read_replay_options(invocation, source);
    if (!common.quiet)
        for (const std::string& line : asked.left_out)
            std::cerr << "kvtape: " << line << '\n';
    live::expect_runnable(source, asked.request.sequences, model, own.max_new_tokens);
    const live::LiveRequest request{.setting = {.model = &model,
                                                .tokenizer = &tokenizer,
                                                .schedule = asked.request.schedule,
                                                .source = asked.request.source,
                                                .max_new_tokens = own.max_new_tokens,
                                                .seed = common.seed,
                                                .threads = common.threads,
                                                .scores = asked.request.scores},
                                    .replay = asked.request,
                                    .producer = "kvtape " KVTAPE_VERSION,
                                    .teacher = invocation.values.count("teacher") != 0};
    const std::vector<ReplayTask> tasks = asked.tasks();
    check_feasible(asked.request, tasks);
    live::expect_held_attention(tasks);
    ResultDirectory directory(own.out, source, Loop::live);
    const Json settings = settings_of(*backend, own.model, own.max_new_tokens);
    expect_settings(directory, settings);
    Json record = run_record(invocation);
    record["device"] = backend->description();
    record["live"] = settings;
    print(run_recorded(directory, request, tasks, std::move(record), common.quiet),
          own.out,
          common.json);
    return exit_done;
}

}  // namespace

Verb live() {
    return {
        .name = "live",
        .synopsis = "live --like TRACE --policy SPEC [--policy SPEC]... --budget LIST --out DIR",
        .summary = "runs the model again with its cache compressed and judges the answers",
        .examples =
            "  kvtape live --like run.kvtape.h5 --policy full --policy snapkv --budget "
            "10%,50% --out live\n"
            "  kvtape live --like run.kvtape.h5 --policies all --budget 25% --out live\n"
            "  kvtape live --like run.kvtape.h5 --policy h2o --budget 128t --schedule "
            "prefill+decode --teacher --out live\n",
        .declare = declare,
        .run = run};
}

}  // namespace kvtape::verbs
