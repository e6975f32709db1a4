#pragma once

#include "sim/results.hpp"
#include "tools/live/answers.hpp"

#include <array>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace kvtape::live {

/// answers.csv, cache.csv and teacher.csv of a directory of live results, which calls add to.
class LiveTables {
  public:
    /// Reads what is there. A table with other columns than are written now, or with a record of
    /// another length, is a format error. The directory must outlive this.
    explicit LiveTables(const ResultDirectory& directory);

    /// Makes sure that the rows of a result whose decision file is there are there too, for every
    /// one of `sequences`; a usage error where they are not. `teacher`: those of teacher.csv as
    /// well.
    void expect_rows(const Result& result,
                     std::span<const std::string> sequences,
                     bool teacher) const;
    /// Writes the tables, with the rows of the directory's other results.
    void write(const std::vector<AnswerRow>& rows, const std::string& teacher_csv) const;

  private:
    enum Name : std::size_t { answers, cache, teacher };
    using Record = std::vector<std::string>;
    /// Policy, budget, schedule and sequence.
    using Key = std::array<std::string, 4>;

    static Key key_of(const Record& record) { return {record[0], record[2], record[3], record[4]}; }
    std::string merged(Name name, const std::string& fresh) const;

    const ResultDirectory& directory_;
    std::array<std::set<Key>, 3> keys_;
    std::array<std::vector<Record>, 3> records_;
};

}  // namespace kvtape::live
