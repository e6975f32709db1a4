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

/// Where decisions are ours by the specification: for want of a program, or against it on purpose.
struct Paragraph {
    std::string_view spec;  ///< how it begins
    std::string_view text;
};
constexpr Paragraph paragraphs[] = {
    {"full", "baselines.md B0: a control"},
    {"oracle", "baselines.md B0: the queries after the context decide"},
    {"streaming_llm", "baselines.md B1: of a budget below the sinks, the first; no program says"},
    {"h2o", "baselines.md B2: recent = floor(B/2), one set per KV head"},
    {"snapkv", "baselines.md B3: pooling by maximum, query heads averaged after it"},
    {"pyramidkv", "baselines.md B4, 0.4: the authors' arithmetic, one set per KV head"},
    {"adakv", "baselines.md B5, 0.4: the authors' arithmetic, one budget per KV head"},
    {"tova", "baselines.md B9: while decoding, the least attended token leaves at every step"},
    {"lagkv", "seeds.md 1.3: constant channels count for nothing; the program yields NaN"},
    {"ems", "seeds.md 2: no program was published"},
    {"laser_kv:block=128,smoothing=0", "seeds.md 3.4: smoothing=0, which the predecessor lacks"},
    {"laser_kv", "seeds.md 3.4: a short last block drops nothing that came before it"},
};

std::string authority_of(const Json& entry) {
    const std::string source = entry.at("source"), spec = entry.at("policy");
    if (source.rfind("numpy twin", 0) != 0)
        return source;
    for (const Paragraph& paragraph : paragraphs)
        if (spec.rfind(paragraph.spec, 0) == 0)
            return std::string(paragraph.text);
    return {};
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
    std::vector<GoldenCase> cases;
    const Json document = read_document(path);
    for (const Json& entry : document.at("cases")) {
        if (entry.at("schedule") != "prefill")
            continue;
        GoldenCase golden{entry.at("policy"),
                          entry.at("budget"),
                          entry.at("schedule"),
                          entry.at("query_source"),
                          entry.at("seed"),
                          authority_of(entry),
                          {}};
        for (const auto& [name, sequence] : entry.at("sequences").items())
            golden.sequences[name] = parse_heads(sequence);
        cases.push_back(std::move(golden));
    }
    return cases;
}

std::vector<GoldenFate> golden_fates(const std::string& path) {
    std::vector<GoldenFate> cases;
    const Json document = read_document(path);
    for (const Json& entry : document.at("cases")) {
        if (entry.at("schedule") == "prefill")
            continue;
        GoldenFate golden{entry.at("policy"),
                          entry.at("budget"),
                          entry.at("schedule"),
                          entry.at("seed"),
                          authority_of(entry),
                          {}};
        for (const auto& [name, sequence] : entry.at("sequences").items())
            golden.sequences[name] = parse_fates(sequence);
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
