#include "tools/curve_rows.hpp"

#include "core/error.hpp"
#include "sim/csv.hpp"

#include <array>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <vector>

namespace kvtape {
namespace {

using Records = std::vector<std::vector<std::string>>;
using CurveName = std::array<std::string, 4>;  // policy, query source, schedule, parameters

/// Of a record that begins with policy, parameters, schedule and query source.
CurveName name_of(const std::vector<std::string>& record) {
    return {record[0], record[3], record[2], record[1]};
}

Records earlier_records(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    try {
        return parse_csv(text, path.string());
    } catch (const Error&) {
        return {};
    }
}

/// Whether the records are a whole table with these columns.
bool is_like(const Records& records, const std::vector<std::string>& head) {
    if (records.empty() || records.front() != head)
        return false;
    for (const std::vector<std::string>& record : records)
        if (record.size() != head.size())
            return false;
    return true;
}

std::string joined(const std::vector<std::string>& fields) {
    std::string text;
    for (const std::string& field : fields)
        text += (text.empty() ? "" : ",") + field;
    return text;
}

}  // namespace

std::string with_earlier_curves(std::string_view fresh,
                                const std::filesystem::path& directory,
                                std::span<const Result> results) {
    const Records drawn = parse_csv(fresh, "a table of curves");
    std::map<CurveName, Records> curves;
    for (std::size_t row = 1; row < drawn.size(); ++row)
        curves[name_of(drawn[row])].push_back(drawn[row]);
    std::set<CurveName> kept;
    for (const Result& result : results)
        kept.insert({result.policy, result.query_source, result.schedule, result.parameters});
    for (const auto& [name, records] : curves)
        kept.erase(name);
    const Records earlier = earlier_records(directory / "curve.csv");
    if (is_like(earlier, drawn.front()))
        for (std::size_t row = 1; row < earlier.size(); ++row)
            if (kept.contains(name_of(earlier[row])))
                curves[name_of(earlier[row])].push_back(earlier[row]);
    Csv csv(joined(drawn.front()));
    for (const auto& [name, records] : curves)
        for (const std::vector<std::string>& record : records) {
            for (const std::string& field : record)
                csv.field(std::string_view(field));
            csv.end_row();
        }
    return csv.text();
}

}  // namespace kvtape
