#include "core/error.hpp"
#include "tools/verb.hpp"

#include <omp.h>

#include <algorithm>
#include <charconv>
#include <iostream>
#include <new>
#include <sys/resource.h>
#include <vector>

namespace kvtape {
namespace {

namespace options = boost::program_options;

int exit_code(ErrorKind kind) {
    switch (kind) {
        case ErrorKind::usage:
            return exit_usage;
        case ErrorKind::format:
            return exit_format;
        case ErrorKind::io:
            return exit_io;
        case ErrorKind::device:
            return exit_device;
        case ErrorKind::internal:
            break;
    }
    return exit_internal;
}

void print_overview(std::ostream& out) {
    out << "kvtape " KVTAPE_VERSION
           ": record a model's KV cache once, replay every compression policy over it\n\n"
           "usage: kvtape VERB [options]\n\n";
    for (const Verb& verb : verbs::all())
        out << "  " << verb.name
            << std::string(10 - std::min<std::size_t>(9, verb.name.size()), ' ') << verb.summary
            << '\n';
    out << "\nkvtape VERB --help explains a verb and shows examples.\n";
}

options::options_description common_options(CommonOptions& common) {
    options::options_description described("common options");
    described.add_options()  //
        ("threads",
         options::value(&common.threads)->default_value(omp_get_num_procs())->value_name("N"),
         "threads to use; results do not depend on it")  //
        ("seed",
         options::value<std::string>()->default_value("0")->value_name("N"),
         "seed of everything random")                                                     //
        ("quiet", options::bool_switch(&common.quiet), "no progress, no messages")        //
        ("json", options::bool_switch(&common.json), "machine-readable standard output")  //
        ("help,h", "this text");
    return described;
}

std::uint64_t read_seed(const std::string& text) {
    std::uint64_t seed = 0;
    const char* end = text.data() + text.size();
    const auto read = std::from_chars(text.data(), end, seed);
    if (read.ec != std::errc() || read.ptr != end)
        throw usage_error("--seed is '" + text + "'; it must be a whole number from 0 to 2^64 - 1");
    return seed;
}

/// A sweep has a file open for every result; the system's soft limit is often lower than need be.
void allow_many_open_files() {
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    static_cast<void>(setrlimit(RLIMIT_NOFILE, &limit));
}

/// `replay needs TRACE` or `replay needs --budget LIST`, for an option that was not given.
std::string missing_option(const Verb& verb,
                           const std::string& option,
                           const options::options_description& own,
                           const options::positional_options_description& positional) {
    const std::string name = option.substr(option.find_first_not_of('-'));
    const std::string value = own.find(name, false).semantic()->name();
    const bool by_place =
        positional.max_total_count() > 0 && positional.name_for_position(0) == name;
    return std::string(verb.name) + " needs " + (by_place ? value : "--" + name + ' ' + value);
}

int run_verb(const Verb& verb, const std::vector<std::string>& words) {
    Invocation invocation;
    options::options_description own("options of " + std::string(verb.name));
    options::positional_options_description positional;
    verb.declare(own, positional);
    options::options_description all;
    all.add(own).add(common_options(invocation.common));
    const std::string help = "; kvtape " + std::string(verb.name) + " --help lists what it takes";
    try {
        options::store(
            options::command_line_parser(words).options(all).positional(positional).run(),
            invocation.values);
        if (invocation.values.count("help") != 0) {
            std::cout << "usage: kvtape " << verb.synopsis << "\n\n" << verb.summary << "\n\n";
            std::cout << all << "\nexamples:\n" << verb.examples;
            return exit_done;
        }
        options::notify(invocation.values);
    } catch (const options::required_option& failure) {
        throw usage_error(missing_option(verb, failure.get_option_name(), own, positional) + help);
    } catch (const options::too_many_positional_options_error&) {
        throw usage_error("too many words without an option in front; usage: kvtape " +
                          std::string(verb.synopsis) + help);
    } catch (const options::error& failure) {
        throw usage_error(failure.what() + help);
    }
    invocation.common.seed = read_seed(invocation.values["seed"].as<std::string>());
    if (invocation.common.threads < 1 || invocation.common.threads > 4096)
        throw usage_error("--threads is " + std::to_string(invocation.common.threads) +
                          "; it must be 1 to 4096");
    invocation.command_line = "kvtape " + std::string(verb.name);
    for (const std::string& word : words)
        invocation.command_line += ' ' + word;
    return verb.run(invocation);
}

int dispatch(const std::vector<std::string>& words) {
    if (words.empty()) {
        print_overview(std::cerr);
        return exit_usage;
    }
    if (words[0] == "help" && words.size() == 2)
        return dispatch({words[1], "--help"});
    if (words[0] == "--help" || words[0] == "-h" || words[0] == "help") {
        print_overview(std::cout);
        return exit_done;
    }
    if (words[0] == "--version") {
        std::cout << "kvtape " KVTAPE_VERSION "\n";
        return exit_done;
    }
    std::vector<std::string_view> names;
    for (const Verb& verb : verbs::all()) {
        if (verb.name == words[0])
            return run_verb(verb, {words.begin() + 1, words.end()});
        names.push_back(verb.name);
    }
    if (words[0].starts_with('-'))
        throw usage_error("the verb comes first, found '" + words[0] +
                          "'; kvtape --help lists them");
    const std::string close = nearest(words[0], names);
    throw usage_error("there is no verb '" + words[0] + "'" +
                      (close.empty() ? ";" : "; did you mean '" + close + "'?") +
                      " kvtape --help lists them");
}

}  // namespace

int run_program(int argc, const char* const* argv) {
    allow_many_open_files();
    try {
        const int code = dispatch({argv + 1, argv + argc});
        std::cout.flush();
        if (!std::cout)
            throw io_error("writing to standard output failed");
        return code;
    } catch (const Error& error) {
        std::cerr << "kvtape: " << error.what() << '\n';
        return exit_code(error.kind());
    } catch (const std::bad_alloc&) {
        std::cerr << "kvtape: out of memory; use fewer threads or a shorter context\n";
        return exit_io;
    } catch (const std::exception& error) {
        std::cerr << "kvtape: a bug: " << error.what() << '\n';
        return exit_internal;
    }
}

}  // namespace kvtape
