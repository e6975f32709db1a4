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

/// What the running model answered under one policy at one budget.
struct LiveAnswers {
    std::string policy, budget, schedule;
    Share all;
    std::map<std::string, Share> by_task;
};

/// Reads answers.csv of `kvtape live`, in its order. Answers that nothing judges are left out.
/// Throws Error for a table of another version and where `correct` is neither 1, 0 nor -1.
std::vector<LiveAnswers> read_answers(const std::filesystem::path& path);

}  // namespace kvtape::report
