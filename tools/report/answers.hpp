#pragma once

#include "sim/bootstrap.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace kvtape::report {

/// How many of the judged answers are right.
struct Share {
    std::int64_t right = 0;
    std::int64_t judged = 0;

    /// The share with Wilson's 95 % interval, which has a width where all or none are right too.
    Interval interval() const;
};

/// What the running model answered under one policy at one budget, voted by one kind of queries.
struct LiveAnswers {
    std::string policy, budget, schedule, query_source;
    Share all;
    std::map<std::string, Share> by_task;
};

/// Reads answers.csv of a directory of `kvtape live`, in its order; whose queries voted, the
/// index.csv beside it says. Answers that nothing judges are left out. Throws Error for a table of
/// another version, where `correct` is neither 1, 0 nor -1, and for answers that the index does not
/// know or knows of two query sources.
std::vector<LiveAnswers> read_answers(const std::filesystem::path& live);

}  // namespace kvtape::report
