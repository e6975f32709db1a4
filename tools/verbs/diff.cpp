#include "analyze/decision_diff.hpp"
#include "core/error.hpp"
#include "core/json.hpp"
#include "tools/diff_page.hpp"
#include "tools/diff_tables.hpp"
#include "tools/text_file.hpp"
#include "tools/verb.hpp"
#include "trace/reader.hpp"

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

namespace kvtape::verbs {
namespace {

namespace options = boost::program_options;

/// `0,0003` as names of sequences: 0000, 0003.
std::vector<std::string> sequence_names(const std::string& list) {
    std::vector<std::string> names;
    for (std::size_t begin = 0; begin <= list.size();) {
        const std::size_t end = std::min(list.find(',', begin), list.size());
        const std::string word = list.substr(begin, end - begin);
        if (word.empty() || word.size() > 4 ||
            word.find_first_not_of("0123456789") != std::string::npos)
            throw usage_error("--sequences is '" + list +
                              "'; it must be numbers of sequences, separated by commas");
        names.push_back(std::string(4 - word.size(), '0') + word);
        begin = end + 1;
    }
    return names;
}

/// Where an optional output goes, or "". What exists is only replaced when the user said so.
std::string output_path(const options::variables_map& values, const char* option) {
    if (values.count(option) == 0)
        return "";
    const std::string path = values[option].as<std::string>();
    if (path.empty())
        throw usage_error(std::string("--") + option + " is empty; name the file to write");
    std::error_code failure;
    if (std::filesystem::exists(path, failure) && !values["overwrite"].as<bool>())
        throw usage_error(std::string("--") + option + ' ' + path +
                          " exists; --overwrite replaces it");
    return path;
}

void declare(options::options_description& own, options::positional_options_description& order) {
    own.add_options()                                                                         //
        ("a", options::value<std::string>()->required()->value_name("A"), "a decision file")  //
        ("b",
         options::value<std::string>()->required()->value_name("B"),
         "the decision file to compare it with")  //
        ("trace",
         options::value<std::string>()->value_name("TRACE"),
         "the trace of both: shows text and needles")  //
        ("sequences",
         options::value<std::string>()->value_name("LIST"),
         "only these sequences: 0,3,7")  //
        ("csv",
         options::value<std::string>()->value_name("FILE"),
         "write a row per sequence, layer and KV head")  //
        ("html",
         options::value<std::string>()->value_name("FILE"),
         "write a page with the tokens of both sides")  //
        ("partial",
         options::bool_switch(),
         "read the finished sequences of unfinished decision files")  //
        ("overwrite", options::bool_switch(), "replace files that exist");
    order.add("a", 1);
    order.add("b", 1);
}

int run(const Invocation& invocation) {
    const auto& values = invocation.values;
    const std::string csv = output_path(values, "csv"), html = output_path(values, "html");
    const std::string name_a = values["a"].as<std::string>(),
                      name_b = values["b"].as<std::string>();
    for (const auto& [option, path] : {std::pair("--csv", csv), std::pair("--html", html)}) {
        expect_other_file(option, path, name_a);
        expect_other_file(option, path, name_b);
        if (values.count("trace") != 0)
            expect_other_file(option, path, values["trace"].as<std::string>());
    }
    if (!csv.empty())
        expect_other_file("--html", html, csv);
    const Unfinished unfinished =
        values["partial"].as<bool>() ? Unfinished::allow : Unfinished::refuse;
    const auto a = open_decisions(name_a, unfinished), b = open_decisions(name_b, unfinished);
    std::unique_ptr<const Trace> trace;
    if (values.count("trace") != 0)
        trace = open_trace(values["trace"].as<std::string>());
    const DiffRequest request{
        .a = a.get(),
        .b = b.get(),
        .trace = trace.get(),
        .sequences = values.count("sequences") != 0
                         ? sequence_names(values["sequences"].as<std::string>())
                         : std::vector<std::string>(),
        .threads = invocation.common.threads};
    const DecisionDiff diff = compare_decisions(request);
    const DiffSubject subject{.request = request, .diff = diff, .name_a = name_a, .name_b = name_b};
    if (!csv.empty())
        write_text_file(csv, diff_csv(subject));
    if (!html.empty())
        write_text_file(html, diff_page(subject));
    if (invocation.common.json)
        std::cout << to_text(diff_json(subject)) << '\n';
    else
        std::cout << diff_text(subject);
    return diff.identical() ? exit_done : exit_difference;
}

}  // namespace

Verb diff() {
    return {.name = "diff",
            .synopsis = "diff A.decisions.h5 B.decisions.h5",
            .summary = "compares two decision files of the same trace, head by head",
            .examples =
                "  kvtape diff results/snapkv@10-.prefill.agnostic.decisions.h5 \\\n"
                "      results/lagkv@10-.prefill.agnostic.decisions.h5 --trace run.kvtape.h5\n"
                "  kvtape diff a.decisions.h5 b.decisions.h5 --csv heads.csv --html page.html\n"
                "  kvtape diff replay.decisions.h5 live.decisions.h5 --json\n",
            .declare = declare,
            .run = run};
}

}  // namespace kvtape::verbs
