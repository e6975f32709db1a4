#include "core/error.hpp"
#include "tools/report/page.hpp"
#include "tools/text_file.hpp"
#include "tools/verb.hpp"
#include "tools/visible_text.hpp"

#include <filesystem>
#include <iostream>

namespace kvtape::verbs {
namespace {

namespace options = boost::program_options;

void declare(options::options_description& own, options::positional_options_description& order) {
    own.add_options()  //
        ("dir",
         options::value<std::string>()->required()->value_name("DIR"),
         "results of replay, and what analyze and verify wrote beside them")  //
        ("out",
         options::value<std::string>()->value_name("FILE"),
         "the page; default: report.html in DIR")  //
        ("trace",
         options::value<std::string>()->value_name("TRACE"),
         "the recording, for texts and needles; default: the one replay read")  //
        ("live",
         options::value<std::string>()->value_name("LIVE_DIR"),
         "results of live and verify; default: DIR/live, or DIR, where they are there")  //
        ("overwrite", options::bool_switch(), "replace a file that exists");
    order.add("dir", 1);
}

std::string text_of(const options::variables_map& values, const char* option) {
    if (values.count(option) == 0)
        return "";
    const std::string text = values[option].as<std::string>();
    if (text.empty())
        throw usage_error(std::string("--") + option + " is empty");
    return text;
}

int run(const Invocation& invocation) {
    const auto& values = invocation.values;
    const report::Request request{.directory = text_of(values, "dir"),
                                  .trace = text_of(values, "trace"),
                                  .live = text_of(values, "live"),
                                  .threads = invocation.common.threads};
    const std::string asked = text_of(values, "out");
    std::filesystem::path out = asked;
    if (asked.empty())
        out = request.directory / "report.html";
    std::error_code failure;
    // Without --out the page is our own of an earlier call.
    if (!asked.empty() && !values["overwrite"].as<bool>() && std::filesystem::exists(out, failure))
        throw usage_error("--out " + asked + " exists; --overwrite replaces it");
    if (!asked.empty()) {
        expect_other_file("--out", out, request.trace);
        // Tables and decisions are what the page is made of.
        for (const auto& entry : std::filesystem::directory_iterator(request.directory, failure))
            if (entry.path().extension() != ".html")
                expect_other_file("--out", out, entry.path());
    }
    const std::vector<std::string> notes = report::write_page(request, out);
    if (!invocation.common.quiet)
        for (const std::string& note : notes)
            std::cerr << "kvtape: " << visible_text(note) << '\n';
    const auto size = std::filesystem::file_size(out, failure);
    if (invocation.common.json)
        std::cout << to_text(Json{{"out", out.string()}, {"bytes", size}, {"missing", notes}})
                  << '\n';
    else
        std::cout << out.string() << '\n';
    return exit_done;
}

}  // namespace

Verb report() {
    return {.name = "report",
            .synopsis = "report DIR [--out report.html]",
            .summary = "makes one self-contained HTML page of a replay's results",
            .examples =
                "  kvtape report replay\n"
                "  kvtape report replay --out report.html --trace run.kvtape.h5\n"
                "  kvtape report replay --live live\n",
            .declare = declare,
            .run = run};
}

}  // namespace kvtape::verbs
