#include "core/error.hpp"
#include "tools/bench/allocation.hpp"
#include "tools/bench/analysis.hpp"
#include "tools/bench/decoding.hpp"
#include "tools/bench/files.hpp"
#include "tools/bench/hashes.hpp"
#include "tools/bench/prompt.hpp"
#include "tools/bench/replays.hpp"
#include "tools/bench/scorers.hpp"
#include "tools/device.hpp"
#include "tools/needle_model.hpp"
#include "tools/verb.hpp"

#include <algorithm>
#include <iostream>
#include <optional>

namespace kvtape::verbs {
namespace {

namespace options = boost::program_options;
using bench::Setting;

const std::vector<std::string> known = {
    "peaks", "scorers", "prompt", "decode", "trace", "replay", "analyze"};

/// The layer of the published figures: 8 KV heads of 128 channels, 32 query heads, float32.
bench::LayerSize layer_size(Position tokens) {
    return {.shape = {.layers = 1,
                      .query_heads = 32,
                      .kv_heads = 8,
                      .head_dim = 128,
                      .hidden_size = 4096,
                      .softmax_scale = 0.08838834764831845,
                      .element_type = ElementType::float32},
            .tokens = tokens};
}

void print(const Json& row) {
    std::cout << row.dump() << std::endl;
}

void print_all(const std::vector<Json>& rows) {
    for (const Json& row : rows)
        print(row);
}

std::vector<std::string> chosen(const Invocation& invocation) {
    if (invocation.values.count("name") == 0)
        return {"peaks", "scorers", "prompt"};
    const auto names = invocation.values["name"].as<std::vector<std::string>>();
    for (const std::string& name : names)
        if (std::find(known.begin(), known.end(), name) == known.end())
            throw usage_error(
                "there is no benchmark '" + name +
                "'; there are peaks, scorers, prompt, decode, trace, replay and analyze");
    return names;
}

void declare(options::options_description& own,
             options::positional_options_description& positional) {
    own.add_options()  //
        ("name",
         options::value<std::vector<std::string>>()->value_name("NAME"),
         "peaks, scorers, prompt, decode, trace, replay, analyze; without a name the first "
         "three")  //
        ("tokens",
         options::value<Position>()->default_value(32768)->value_name("T"),
         "context of the scorers")  //
        ("prompt-tokens",
         options::value<Position>()->default_value(4096)->value_name("T"),
         "prompt to process")  //
        ("repetitions",
         options::value<int>()->default_value(5)->value_name("N"),
         "runs that count, after one that does not")  //
        ("policy",
         options::value<std::vector<std::string>>()->composing()->value_name("SPEC"),
         "what to score or replay (repeatable); default: one of each kind")  //
        ("model",
         options::value<std::string>()->value_name("DIR"),
         "checkpoint of the prompt benchmark; default: the needle model")  //
        ("trace",
         options::value<std::string>()->value_name("TRACE"),
         "file to read, replay or analyze")  //
        ("dir", options::value<std::string>()->value_name("DIR"), "results of replay to analyze");
    declare_device(own);
    positional.add("name", -1);
}

int run(const Invocation& invocation) {
    const auto& values = invocation.values;
    const Setting setting{.threads = invocation.common.threads,
                          .repetitions = values["repetitions"].as<int>()};
    const Position tokens = values["tokens"].as<Position>();
    const Position prompt_tokens = values["prompt-tokens"].as<Position>();
    constexpr Position most_tokens = 1 << 22;
    if (tokens > most_tokens)
        throw usage_error("benchmarking: --tokens is " + std::to_string(tokens) +
                          "; it must be at most " + std::to_string(most_tokens));
    if (setting.repetitions < 1 || tokens < 1 || prompt_tokens < 1)
        throw usage_error(
            "benchmarking: --repetitions, --tokens and --prompt-tokens must be at "
            "least 1");
    std::vector<std::string> specs = {
        "knorm", "keydiff", "lagkv", "lagkv:compat=kvpress", "snapkv", "tova", "h2o"};
    if (values.count("policy") != 0)
        specs = values["policy"].as<std::vector<std::string>>();
    const std::vector<std::string> names = chosen(invocation);
    const auto asked = [&](std::string_view name) {
        return std::find(names.begin(), names.end(), name) != names.end();
    };
    for (const std::string_view name : {"trace", "replay"})
        if (asked(name) && values.count("trace") == 0)
            throw usage_error("benchmarking " + std::string(name) +
                              ": name a file with --trace TRACE");
    if (asked("analyze") && values.count("dir") == 0)
        throw usage_error("benchmarking analyze: name results with --dir DIR");
    std::vector<std::string> scorers = asked("scorers") ? specs : std::vector<std::string>();
    // Not in the list for a replay: one reads statistics of the queries, which few traces have, the
    // other compares nearly all pairs of random keys.
    if (asked("scorers") && values.count("policy") == 0)
        scorers.insert(scorers.end(), {"expected_attention", "r_kv"});
    const bench::Report report = [](const Json& row) { print(row); };
    if (asked("peaks") || asked("scorers"))
        bench::bench_scorers(setting, layer_size(tokens), scorers, report);
    if (asked("scorers") && values.count("policy") == 0)
        print_all({bench::bench_allocation(setting, layer_size(tokens).shape, tokens),
                   bench::bench_hashes(setting, tokens, layer_size(tokens).shape.head_dim)});
    if (asked("prompt"))
        print_all(bench::bench_prompt(setting,
                                      read_device(invocation),
                                      values.count("model") != 0
                                          ? std::filesystem::path(values["model"].as<std::string>())
                                          : needle_model_directory(),
                                      prompt_tokens));
    if (asked("decode"))
        bench::bench_decoding(
            setting, values.count("policy") != 0 ? specs : bench::decoding_policies(), report);
    if (asked("trace"))
        print_all(bench::bench_trace(setting, values["trace"].as<std::string>()));
    if (asked("replay"))
        bench::bench_replays(setting, values["trace"].as<std::string>(), specs, report);
    if (asked("analyze"))
        print(bench::bench_analysis(setting,
                                    values["dir"].as<std::string>(),
                                    values.count("trace") != 0
                                        ? std::optional(values["trace"].as<std::string>())
                                        : std::nullopt));
    return exit_done;
}

}  // namespace

Verb bench() {
    return {.name = "bench",
            .synopsis = "bench [NAME...]",
            .summary = "measures scoring, prompt processing, reading and analysis on this machine",
            .examples =
                "  kvtape bench\n"
                "  kvtape bench scorers --policy lagkv:lag=64 --tokens 8192\n"
                "  kvtape bench trace replay --trace run.kvtape.h5\n"
                "  kvtape bench analyze --dir results --repetitions 1\n",
            .declare = declare,
            .run = run};
}

}  // namespace kvtape::verbs
