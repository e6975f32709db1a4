#include "tools/live/tables.hpp"

#include "core/error.hpp"
#include "sim/csv.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace kvtape::live {
namespace {

constexpr std::array<const char*, 3> names = {"answers.csv", "cache.csv", "teacher.csv"};

std::string header(std::size_t name) {
    const std::string tables[] = {answers_csv({}), cache_csv({}), std::string(teacher_header)};
    return tables[name].substr(0, tables[name].find('\n'));
}

std::string content(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

}  // namespace

LiveTables::LiveTables(const ResultDirectory& directory) : directory_(directory) {
    for (std::size_t name = 0; name < names.size(); ++name) {
        const std::filesystem::path path = directory.path() / names[name];
        if (!std::filesystem::exists(path))
            continue;
        records_[name] = parse_csv(content(path), path.string());
        const std::vector<Record> expected = parse_csv(header(name) + '\n', names[name]);
        if (records_[name].empty() || records_[name].front() != expected.front())
            throw format_error("reading " + path.string() +
                               ": it has other columns than this kvtape writes; use another --out");
        records_[name].erase(records_[name].begin());
        for (const Record& record : records_[name]) {
            if (record.size() != expected.front().size())
                throw format_error("reading " + path.string() + ": a record has " +
                                   std::to_string(record.size()) + " fields, expected " +
                                   std::to_string(expected.front().size()) +
                                   "; mend it, or use another --out");
            keys_[name].insert(key_of(record));
        }
    }
}

void LiveTables::expect_rows(const Result& result,
                             std::span<const std::string> sequences,
                             bool with_teacher) const {
    for (const Name name : {answers, cache, teacher}) {
        if (name == teacher && !with_teacher)
            continue;
        for (const std::string& sequence : sequences)
            if (!keys_[name].contains(
                    {result.policy, result.budget.text(), result.schedule, sequence}))
                throw usage_error(
                    "running live into " + directory_.path().string() + ": it holds " +
                    result.file + ", and " + names[name] + " has no row of it for sequence " +
                    sequence + "; remove the file, and it is computed again, or use another --out");
    }
}

std::string LiveTables::merged(Name name, const std::string& fresh) const {
    const std::vector<Record> now = parse_csv(fresh, names[name]);
    std::set<Key> replaced;
    for (std::size_t i = 1; i < now.size(); ++i)
        replaced.insert(key_of(now[i]));
    Csv table(header(name));
    const auto add = [&](const Record& record) {
        for (const std::string& field : record)
            table.field(field);
        table.end_row();
    };
    for (const Record& record : records_[name])
        if (!replaced.contains(key_of(record)))
            add(record);
    std::for_each(now.begin() + 1, now.end(), add);
    return table.text();
}

void LiveTables::write(const std::vector<AnswerRow>& rows, const std::string& teacher_csv) const {
    directory_.write(names[answers], merged(answers, answers_csv(rows)));
    directory_.write(names[cache], merged(cache, cache_csv(rows)));
    if (!teacher_csv.empty())
        directory_.write(names[teacher], merged(teacher, teacher_csv));
}

}  // namespace kvtape::live
