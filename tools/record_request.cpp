#include "tools/record_request.hpp"

#include "core/error.hpp"
#include "model/rope.hpp"
#include "tools/earlier_recording.hpp"
#include "tools/needle_model.hpp"
#include "tools/second_pass.hpp"
#include "tools/text_file.hpp"
#include "tools/workload/chat_template.hpp"
#include "trace/partial_file.hpp"

#include <algorithm>
#include <charconv>
#include <system_error>
#include <unistd.h>

namespace kvtape {
namespace {

namespace options = boost::program_options;
namespace fs = std::filesystem;

constexpr std::int64_t longest_context = std::int64_t{1} << 20;
constexpr std::int64_t most_tokens = std::int64_t{1} << 24;

[[noreturn]] void refuse(const std::string& option,
                         const std::string& found,
                         const std::string& expected) {
    throw usage_error(option + " is '" + found + "'; it must be " + expected);
}

std::int64_t whole_number(const Invocation& invocation,
                          const std::string& name,
                          std::int64_t lowest,
                          std::int64_t highest) {
    const std::string text = invocation.values[name].as<std::string>();
    std::int64_t value = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failure != std::errc() || end != text.data() + text.size() || value < lowest ||
        value > highest)
        refuse("--" + name,
               text,
               "a whole number from " + std::to_string(lowest) + " to " + std::to_string(highest));
    return value;
}

std::vector<double> read_depths(const std::string& text) {
    std::vector<double> depths;
    const char* at = text.data();
    const char* const end = at + text.size();
    while (true) {
        double depth = 0.0;
        const auto [next, failure] = std::from_chars(at, end, depth);
        const bool good = failure == std::errc() && depth >= 0.0 && depth <= 1.0;
        if (!good || (next != end && *next != ','))
            refuse("--depth", text, "numbers from 0 to 1, separated by commas");
        depths.push_back(depth);
        if (next == end)
            return depths;
        at = next + 1;
    }
}

/// `last=N` or `all`, `replay`, or both with a comma between them.
void read_queries(const std::string& text, RecordingOptions& recording) {
    constexpr std::string_view last = "last=";
    bool chosen = false;
    std::string_view rest = text;
    while (true) {
        const std::size_t comma = rest.find(',');
        const std::string_view word = rest.substr(0, comma);
        const char* const end = word.data() + word.size();
        std::int32_t count = 0;
        if (word == "replay" && !recording.replay) {
            recording.replay = true;
        } else if (word == "all" && !chosen) {
            recording.context_queries = -1;
            chosen = true;
        } else if (word.substr(0, last.size()) == last && !chosen) {
            const auto [next, failure] = std::from_chars(word.data() + last.size(), end, count);
            if (failure != std::errc() || next != end || count < 0 || count > most_tokens)
                break;
            recording.context_queries = count;
            chosen = true;
        } else {
            break;
        }
        if (comma == std::string_view::npos)
            return;
        rest.remove_prefix(comma + 1);
    }
    refuse("--queries", text, "last=N or all, replay, or one of the former and replay: all,replay");
}

std::string one_of(const Invocation& invocation,
                   const std::string& name,
                   std::initializer_list<std::string_view> allowed) {
    const std::string text = invocation.values[name].as<std::string>();
    std::string list;
    for (const std::string_view word : allowed) {
        if (text == word)
            return text;
        list += list.empty() ? "" : " or ";
        list += word;
    }
    refuse("--" + name, text, list);
}

/// Finds out early what would otherwise fail after the model ran.
void expect_writable(const fs::path& out, bool keeps_nothing) {
    std::error_code failure;
    if (fs::is_directory(out, failure))
        throw usage_error("--out " + out.string() + " is a folder; name a file");
    if (fs::exists(out, failure) && !keeps_nothing)
        throw usage_error("--out " + out.string() +
                          " exists; --overwrite replaces it, --resume adds to it what is missing");
    refuse_written_elsewhere(out);
    for (const fs::path& left : {fs::path(out.string() + ".partial"), set_aside(out)})
        if (fs::exists(left, failure) && !keeps_nothing)
            throw usage_error(
                "--out " + out.string() + ": a recording that was cut off lies in " +
                left.string() +
                " (kvtape info --partial reads it); --resume goes on with it, --overwrite drops "
                "it");
    const fs::path folder = out.has_parent_path() ? out.parent_path() : fs::path(".");
    if (access(folder.c_str(), W_OK | X_OK) != 0)
        throw errno_error("creating " + out.string());
}

std::string template_help() {
    std::string help = "the chat template around prompts of your own: auto (the model's own), ";
    for (const std::string_view name : workload::chat_template_names())
        help += std::string(name) + ", ";
    return help + "or a text with {context} and {question}";
}

void read_prompt_options(const Invocation& invocation, RecordRequest& request) {
    const auto& values = invocation.values;
    for (const char* name : {"format", "template"})
        if (request.prompts.empty() && !values[name].defaulted())
            throw usage_error("--" + std::string(name) +
                              " is for --prompts, of which there are none");
    request.prompt_format = workload::parse_prompt_format(values["format"].as<std::string>());
    request.chat_template = values["template"].as<std::string>();
    if (request.chat_template != "auto")
        workload::parse_chat_template(request.chat_template);
}

}  // namespace

void declare_record(options::options_description& own, options::positional_options_description&) {
    const auto text = [](const char* standard, const char* name) {
        return options::value<std::string>()->default_value(standard)->value_name(name);
    };
    const auto words = options::value<std::vector<std::string>>()->value_name("SPEC");
    auto add = own.add_options();
    add("model",
        text("", "DIR"),
        "checkpoint folder (config.json, tokenizer.json, *.safetensors); default: the needle model "
        "that comes with kvtape");
    add("workload",
        words,
        "passkey:digits=N, multikey:keys=N, multivalue:values=N, variable:hops=N, where or object; "
        "may be repeated");
    add("prompts",
        text("", "FILE"),
        "prompts of your own, one JSON object a line: context, question, answer, needles");
    add("format",
        text("kvtape", "NAME"),
        "how that file is written: kvtape, or as the data of RULER (ruler) or BABILong (babilong)");
    add("template", text("auto", "NAME"), template_help().c_str());
    add("sequences", text("4", "N"), "documents of each workload");
    add("length", text("1024", "T"), "tokens of context, met exactly");
    add("depth", text("", "D,..."), "where the needle stands, from 0 to 1; default: at random");
    add("max-new-tokens", text("96", "N"), "longest answer");
    declare_device(own);
    add("queries",
        text("last=64", "WHICH"),
        "context queries to keep: last=N or all; those of question and answer always are; replay, "
        "or all,replay: also those of a second pass in which the model repeats the context "
        "(kvzip)");
    add("attention", text("none", "WHICH"), "none, or full: the kept queries' probabilities too");
    add("query-statistics",
        options::bool_switch(),
        "mean and covariance of the context's queries too (expected_attention)");
    add("output-projection",
        options::bool_switch(),
        "the matrix behind attention (W_o) of every layer too (criticalkv)");
    add("overwrite", options::bool_switch(), "replace the file when it exists");
    add("resume",
        options::bool_switch(),
        "keep the sequences that an earlier run to the same file finished, and record the rest");
    add("out", options::value<std::string>()->required()->value_name("FILE"), "the trace to write");
}

RecordRequest read_record_request(const Invocation& invocation) {
    const auto& values = invocation.values;
    const auto text = [&](const char* name) { return values[name].as<std::string>(); };
    RecordRequest request;
    request.out = text("out");
    if (request.out.empty())
        throw usage_error("--out is empty; name the file to write");
    for (const char* name : {"model", "prompts", "depth", "dtype", "template"})
        if (!values[name].defaulted() && text(name).empty())
            throw usage_error("--" + std::string(name) +
                              " is empty; say what it is, or leave the option out");
    request.prompts = text("prompts");
    read_prompt_options(invocation, request);
    if (values.count("workload") != 0)
        for (const std::string& spec : values["workload"].as<std::vector<std::string>>())
            request.tasks.push_back(workload::parse_task(spec));
    if (request.tasks.empty() && request.prompts.empty())
        throw usage_error("nothing to record: give at least one --workload or --prompts");
    request.sequences = whole_number(invocation, "sequences", 1, most_sequences);
    request.documents.length =
        static_cast<Position>(whole_number(invocation, "length", 1, longest_context));
    if (!text("depth").empty())
        request.documents.depths = read_depths(text("depth"));
    request.documents.seed = invocation.common.seed;
    request.recording.max_new_tokens =
        static_cast<Position>(whole_number(invocation, "max-new-tokens", 0, most_tokens));
    read_queries(text("queries"), request.recording);
    request.recording.attention = one_of(invocation, "attention", {"none", "full"}) == "full";
    request.recording.query_statistics = values["query-statistics"].as<bool>();
    request.output_projection = values["output-projection"].as<bool>();
    request.recording.threads = invocation.common.threads;
    request.device = read_device(invocation);
    request.overwrite = values["overwrite"].as<bool>();
    request.resume = values["resume"].as<bool>();
    if (request.overwrite && request.resume)
        throw usage_error("--overwrite drops what --resume keeps; give one of them");
    if (!request.prompts.empty())
        expect_other_file("--out", request.out, request.prompts);
    expect_writable(request.out, request.overwrite || request.resume);
    request.model = text("model");
    if (request.model.empty())
        request.model = needle_model_directory();
    return request;
}

void LengthCheck::expect(const std::string& what, std::int64_t positions) {
    try {
        model::expect_fixed_rope(config_, positions);
    } catch (Error& error) {
        error.add("recording " + what);
        throw;
    }
    beyond_ += positions > config_.max_positions ? 1 : 0;
    longest_ = std::max(longest_, positions);
}

std::string LengthCheck::warning() const {
    if (beyond_ == 0)
        return {};
    return std::to_string(beyond_) + (beyond_ == 1 ? " sequence" : " sequences") +
           " may become longer, with question and answer, than the " +
           std::to_string(config_.max_positions) +
           " positions that the model was trained for (max_position_embeddings): up to " +
           std::to_string(longest_) +
           ". It runs on with positions it has never seen, and its answers may be worse";
}

std::int64_t positions_of(const RecordRequest& request, const workload::Prompt& prompt) {
    const std::int64_t answered =
        std::int64_t{prompt.prompt_len} + request.recording.max_new_tokens;
    if (!request.recording.replay)
        return answered;
    const std::int64_t repeated = std::int64_t{prompt.context_len} +
                                  SecondPass::longest_instruction +
                                  std::min(prompt.context_len, SecondPass::piece);
    return std::max(answered, repeated);
}

}  // namespace kvtape
