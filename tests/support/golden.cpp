#include "tests/support/golden.hpp"

#include "core/json.hpp"
#include "policies/policy.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>

namespace kvtape::testing {
namespace {

/// `0-3,10,20-30`, ends included.
std::vector<Position> parse_ranges(const std::string& text) {
    std::vector<Position> positions;
    std::istringstream list(text);
    for (std::string item; std::getline(list, item, ',');) {
        const std::size_t dash = item.find('-');
        const Position first = std::stoi(item.substr(0, dash));
        const Position last = dash == std::string::npos ? first : std::stoi(item.substr(dash + 1));
        for (Position position = first; position <= last; ++position)
            positions.push_back(position);
    }
    return positions;
}

/// `value*count`, joined by commas.
std::vector<std::int32_t> parse_runs(const std::string& text) {
    std::vector<std::int32_t> values;
    std::istringstream list(text);
    for (std::string run; std::getline(list, run, ',');) {
        const std::size_t star = run.find('*');
        values.insert(values.end(),
                      static_cast<std::size_t>(std::stoi(run.substr(star + 1))),
                      std::stoi(run.substr(0, star)));
    }
    return values;
}

bool is_uncertain(const Json& sequence, std::size_t layer, std::size_t head) {
    const std::string key = std::to_string(layer) + '.' + std::to_string(head);
    const Json none = Json::array();
    const Json& heads = sequence.contains("uncertain") ? sequence["uncertain"] : none;
    return std::find(heads.begin(), heads.end(), key) != heads.end();
}

std::vector<std::vector<GoldenFate::Head>> parse_fates(const Json& sequence) {
    std::vector<std::vector<GoldenFate::Head>> layers;
    for (const Json& layer : sequence.at("evicted_at")) {
        layers.emplace_back();
        for (const Json& head : layer)
            layers.back().push_back(is_uncertain(sequence, layers.size() - 1, layers.back().size())
                                        ? GoldenFate::Head()
                                        : parse_runs(head.get<std::string>()));
    }
    return layers;
}

/// `17>18,24>25`.
std::vector<Absorbed> parse_absorbed(const std::string& text) {
    std::vector<Absorbed> absorbed;
    std::istringstream list(text);
    for (std::string item; std::getline(list, item, ',');)
        absorbed.push_back({std::stoi(item), std::stoi(item.substr(item.find('>') + 1))});
    return absorbed;
}

/// What was merged in head `head` of layer `layer`.
void parse_merges(const Json& sequence, std::size_t layer, std::size_t head, GoldenHead& golden) {
    if (!sequence.contains("merged_into"))
        return;
    const auto of = [&](const char* name) -> const Json& { return sequence[name][layer][head]; };
    golden.absorbed = parse_absorbed(of("merged_into").get<std::string>());
    golden.sums = {.keys = of("key_sum").get<double>(),
                   .values = of("value_sum").get<double>(),
                   .key_squares = of("key_square_sum").get<double>(),
                   .value_squares = of("value_square_sum").get<double>()};
}

std::vector<std::vector<GoldenHead>> parse_heads(const Json& sequence) {
    std::vector<std::vector<GoldenHead>> layers;
    for (const Json& layer : sequence.at("kept")) {
        layers.emplace_back();
        for (const Json& head : layer) {
            const std::string key =
                std::to_string(layers.size() - 1) + '.' + std::to_string(layers.back().size());
            GoldenHead golden;
            golden.kept = parse_ranges(head.get<std::string>());
            if (sequence.contains("near") && sequence["near"].contains(key))
                golden.near = parse_ranges(sequence["near"][key].get<std::string>());
            golden.uncertain = is_uncertain(sequence, layers.size() - 1, layers.back().size());
            parse_merges(sequence, layers.size() - 1, layers.back().size(), golden);
            layers.back().push_back(std::move(golden));
        }
    }
    return layers;
}

Json read_document(const std::string& path) {
    std::ifstream file(path);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    return parse_json(text, path);
}

/// Splits a sorted list into its members outside and inside of `near`.
std::pair<std::vector<Position>, std::size_t> split(std::span<const Position> kept,
                                                    std::span<const Position> near) {
    std::vector<Position> judged;
    std::set_difference(
        kept.begin(), kept.end(), near.begin(), near.end(), std::back_inserter(judged));
    const std::size_t exchangeable = kept.size() - judged.size();
    return {std::move(judged), exchangeable};
}

}  // namespace

std::vector<GoldenCase> golden_cases(const std::string& path) {
    const Json document = read_document(path);
    std::vector<GoldenCase> cases;
    for (const Json& entry : document.at("cases")) {
        GoldenCase golden{entry.at("policy"),
                          entry.at("budget"),
                          entry.at("schedule"),
                          entry.at("query_source"),
                          entry.at("seed"),
                          {}};
        for (const auto& [name, sequence] : entry.at("sequences").items())
            if (sequence.contains("kept"))
                golden.sequences[name] = parse_heads(sequence);
        if (!golden.sequences.empty())
            cases.push_back(std::move(golden));
    }
    return cases;
}

std::vector<GoldenFate> golden_fates(const std::string& path) {
    const Json document = read_document(path);
    std::vector<GoldenFate> cases;
    for (const Json& entry : document.at("cases")) {
        if (entry.at("schedule") == "prefill")
            continue;
        GoldenFate golden{
            entry.at("policy"), entry.at("budget"), entry.at("schedule"), entry.at("seed"), {}};
        for (const auto& [name, sequence] : entry.at("sequences").items())
            golden.sequences[name] = parse_fates(sequence);
        cases.push_back(std::move(golden));
    }
    return cases;
}

bool is_known(const std::string& spec) {
    const Arguments arguments = parse_spec(spec);
    const auto table = policies::all();
    return std::any_of(table.begin(),
                       table.end(),
                       [&](const PolicyInfo& info) { return info.name == arguments.name; }) &&
           (arguments.base.empty() || is_known(arguments.base));
}

std::string disagreement(const GoldenHead& expected, std::span<const Position> kept) {
    if (expected.uncertain)
        return {};
    const auto [want, want_near] = split(expected.kept, expected.near);
    const auto [have, have_near] = split(kept, expected.near);
    const auto [a, b] = std::mismatch(want.begin(), want.end(), have.begin(), have.end());
    if (a == want.end() && b == have.end() && want_near == have_near)
        return {};
    const auto name = [](auto at, auto end) {
        return at == end ? std::string("nothing more") : std::to_string(*at);
    };
    return "expected " + std::to_string(expected.kept.size()) + " tokens, found " +
           std::to_string(kept.size()) + "; first difference: expected " + name(a, want.end()) +
           ", found " + name(b, have.end());
}

}  // namespace kvtape::testing
