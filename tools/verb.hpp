#pragma once

#include <boost/program_options.hpp>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace kvtape {

/// Exit codes of the program, documented in docs/cli.md.
enum ExitCode {
    exit_done = 0,
    exit_difference = 1,
    exit_usage = 2,
    exit_format = 3,
    exit_io = 4,
    exit_device = 5,
    exit_internal = 70
};

/// Options every verb has.
struct CommonOptions {
    int threads = 1;  ///< default: all cores
    std::uint64_t seed = 0;
    bool quiet = false;  ///< no progress and no messages
    bool json = false;   ///< machine-readable standard output
};

/// A parsed command line.
struct Invocation {
    CommonOptions common;
    boost::program_options::variables_map values;
    std::string command_line;  ///< as typed, for run.json
};

/// One verb of the program: a file in tools/verbs defines one of these.
struct Verb {
    std::string_view name;
    std::string_view synopsis;  ///< `info TRACE`
    std::string_view summary;
    std::string_view examples;  ///< printed by --help, one command a line
    /// Declares the verb's own options (positional ones too).
    void (*declare)(boost::program_options::options_description& options,
                    boost::program_options::positional_options_description& positional);
    /// Does the job; returns an exit code or throws `Error`.
    int (*run)(const Invocation& invocation);
};

namespace verbs {

/// All verbs in file-name order. Written by CMake from the folder.
std::span<const Verb> all();

}  // namespace verbs

/// Runs the program: finds the verb, parses, prints help and one-line errors, maps them to codes.
int run_program(int argc, const char* const* argv);

}  // namespace kvtape
