#include "trace/check.hpp"

#include "core/error.hpp"
#include "core/json.hpp"
#include "tools/verb.hpp"

#include <algorithm>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

namespace kvtape::verbs {
namespace {

namespace options = boost::program_options;

/// A file and either its report or why there is none.
struct Outcome {
    std::string file;
    std::optional<CheckReport> report;
    std::string refused;
    int code = exit_done;
};

Outcome check(const std::string& file) {
    Outcome outcome{.file = file, .report = {}, .refused = {}};
    try {
        outcome.report = check_file(file);
        outcome.code = outcome.report->clean() ? exit_done : exit_difference;
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::format && error.kind() != ErrorKind::io)
            throw;
        outcome.refused = error.what();
        outcome.code = error.kind() == ErrorKind::format ? exit_format : exit_io;
    }
    return outcome;
}

std::string_view name_of(FileKind kind) {
    return kind == FileKind::trace ? "trace" : "decisions";
}

Json to_json(const Outcome& outcome) {
    Json json = {{"file", outcome.file}, {"clean", outcome.code == exit_done}};
    if (!outcome.report) {
        json["error"] = outcome.refused;
        return json;
    }
    const CheckReport& report = *outcome.report;
    json["kind"] = name_of(report.kind);
    json["complete"] = report.complete;
    json["fingerprint"] = report.fingerprint;
    if (report.sequences)
        json["sequences"] = *report.sequences;
    json["findings"] = Json::array();
    for (const Finding& finding : report.findings)
        json["findings"].push_back({{"object", finding.object}, {"problem", finding.problem}});
    return json;
}

void print(const Outcome& outcome, bool quiet) {
    if (!outcome.report) {
        std::cerr << "kvtape: " << outcome.refused << '\n';
        return;
    }
    for (const Finding& finding : outcome.report->findings)
        std::cout << finding.problem << '\n';
    if (outcome.code == exit_done && !quiet)
        std::cout << outcome.file << ": clean " << name_of(outcome.report->kind) << " file, "
                  << outcome.report->sequences.value_or(0) << " sequences, fingerprint "
                  << outcome.report->fingerprint << '\n';
}

void declare(options::options_description& own, options::positional_options_description& order) {
    own.add_options()("file",
                      options::value<std::vector<std::string>>()->required()->value_name("FILE"),
                      "traces and decision files");
    order.add("file", -1);
}

int run(const Invocation& invocation) {
    Json list = Json::array();
    int code = exit_done;
    for (const std::string& file : invocation.values["file"].as<std::vector<std::string>>()) {
        const Outcome outcome = check(file);
        code = std::max(code, outcome.code);
        if (invocation.common.json)
            list.push_back(to_json(outcome));
        else
            print(outcome, invocation.common.quiet);
    }
    if (invocation.common.json)
        std::cout << to_text(list) << '\n';
    return code;
}

}  // namespace

Verb check() {
    return {.name = "check",
            .synopsis = "check FILE...",
            .summary = "recomputes every checksum and the fingerprint of traces and decision files",
            .examples =
                "  kvtape check run.kvtape.h5\n"
                "  kvtape check results/*.decisions.h5\n"
                "  kvtape check run.kvtape.h5 --json\n",
            .declare = declare,
            .run = run};
}

}  // namespace kvtape::verbs
