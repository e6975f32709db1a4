#include "tests/support/golden.hpp"

#include "core/json.hpp"

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
            if (sequence.contains("uncertain"))
                for (const Json& uncertain : sequence["uncertain"])
                    golden.uncertain = golden.uncertain || uncertain == key;
            layers.back().push_back(std::move(golden));
        }
    }
    return layers;
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
    std::ifstream file(path);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    const Json document = parse_json(text, path);
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
