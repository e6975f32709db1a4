#include "core/json.hpp"
#include "model/tokenizer.hpp"
#include "model/utf8.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/widened.hpp"

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

using namespace kvtape;
using namespace kvtape::model;
using testing::widened;

namespace {

/// The committed folder, or the one that tests/parity/run.sh just made.
std::filesystem::path folder() {
    const char* fresh = std::getenv("KVTAPE_PARITY_TOKENIZERS");
    return fresh != nullptr
               ? std::filesystem::path(fresh)
               : std::filesystem::path(KVTAPE_SOURCE_DIR) / "tests/model/data/tokenizers";
}

Json read(const std::string& name) {
    std::ifstream file(folder() / name);
    REQUIRE(file);
    return parse_json(std::string(std::istreambuf_iterator<char>(file), {}), name);
}

/// SplitMix64, as tests/parity/make_tokenizers.py has it.
class Draw {
  public:
    explicit Draw(std::uint64_t seed) : state_(seed) {}

    std::uint64_t below(std::uint64_t count) {
        state_ += 0x9e3779b97f4a7c15u;
        std::uint64_t value = state_;
        value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9u;
        value = (value ^ value >> 27) * 0x94d049bb133111ebu;
        return ((value ^ value >> 31) >> 32) % count;
    }

  private:
    std::uint64_t state_;
};

/// What one part of a text is drawn from: words, or characters of ranges.
struct Kind {
    std::vector<std::string> words;
    std::vector<std::pair<char32_t, char32_t>> ranges;

    explicit Kind(const Json& json) {
        if (json.contains("words"))
            words = json["words"].get<std::vector<std::string>>();
        else
            for (const Json& range : json["ranges"])
                ranges.emplace_back(range[0].get<char32_t>(), range[1].get<char32_t>());
    }

    std::string drawn(Draw& draw) const {
        if (!words.empty())
            return words[draw.below(words.size())];
        std::uint64_t count = 0;
        for (const auto& [first, last] : ranges)
            count += last - first + 1;
        std::uint64_t index = draw.below(count);
        for (const auto& [first, last] : ranges) {
            if (index <= last - first)
                return to_utf8(first + static_cast<char32_t>(index));
            index -= last - first + 1;
        }
        return {};
    }
};

std::string text_of(const std::vector<Kind>& kinds, std::uint64_t seed) {
    Draw draw(seed);
    std::string text;
    for (std::uint64_t part = 1 + draw.below(5); part > 0; --part) {
        const Kind& kind = kinds[draw.below(kinds.size())];
        for (std::uint64_t count = 1 + draw.below(6); count > 0; --count)
            text += kind.drawn(draw);
    }
    return text;
}

template <typename Number>
void digest(std::uint64_t& value, const std::vector<Number>& numbers) {
    constexpr std::uint64_t prime = 0x100000001b3;
    value = (value ^ numbers.size()) * prime;
    for (const Number number : numbers)
        value = (value ^ static_cast<std::uint64_t>(number)) * prime;
}

std::string hexadecimal(std::uint64_t value) {
    std::string digits;
    for (unsigned shift = 64; shift > 0; shift -= 4)
        digits += "0123456789abcdef"[value >> (shift - 4) & 15u];
    return digits;
}

bool never_backwards(const Encoding& encoding, const std::string& text) {
    std::int64_t begin = 0, end = 0;
    for (std::size_t i = 0; i < encoding.ids.size(); ++i) {
        if (encoding.begins[i] < begin || encoding.ends[i] < end ||
            encoding.ends[i] < encoding.begins[i])
            return false;
        begin = encoding.begins[i];
        end = encoding.ends[i];
    }
    return end <= std::ssize(text);
}

/// `tokenizers` drops the space that a `▁` before the first word leaves.
std::string without_first_space(const std::string& text, const Json& tokenizer) {
    const bool drops = tokenizer["decoder"]["type"] == "Sequence" && text.starts_with(' ');
    return drops ? text.substr(1) : text;
}

void check_cases(const Tokenizer& tokenizer, const Json& file, const Json& cases) {
    for (const Json& expected : cases) {
        const auto text = expected["text"].get<std::string>();
        CAPTURE(text);
        const Encoding found = widened(tokenizer.encode(text), text);
        CHECK(found.ids == expected["ids"].get<std::vector<std::int32_t>>());
        CHECK(found.begins == expected["begins"].get<std::vector<std::int64_t>>());
        CHECK(found.ends == expected["ends"].get<std::vector<std::int64_t>>());
        // `tokenizers` reads the text of an added token as if it were written in bytes.
        const auto decoded = expected["decoded"].get<std::string>();
        if (decoded.find("\ufffd") != std::string::npos)
            continue;
        CHECK(without_first_space(tokenizer.decode(found.ids), file) == decoded);
    }
}

}  // namespace

TEST_CASE("every family's tokenizer gives the ids and ranges of Hugging Face tokenizers",
          "[model][tokenizer][parity]") {
    const Json about = read("texts.json");
    std::vector<Kind> kinds;
    for (const Json& kind : about["kinds"])
        kinds.emplace_back(kind);
    const auto texts = about["texts"].get<std::uint64_t>();
    const auto block = about["block"].get<std::uint64_t>();
    REQUIRE(texts == 10'000);
    REQUIRE(about["tokenizers"].size() == 9);
    for (const Json& name : about["tokenizers"]) {
        CAPTURE(name);
        const Json file = read(name.get<std::string>() + ".tokenizer.json");
        const Json expected = read(name.get<std::string>() + ".json");
        const Tokenizer tokenizer = Tokenizer::parse(file.dump(), "tokenizer.json");
        CHECK(tokenizer.encode_in_template("hello").ids ==
              expected["template"].get<std::vector<std::int32_t>>());
        REQUIRE(expected["cases"].size() >= 50);
        check_cases(tokenizer, file, expected["cases"]);
        REQUIRE(expected["hashes"].size() == texts / block);
        for (std::uint64_t first = 0; first < texts; first += block) {
            std::uint64_t value = 0xcbf29ce484222325u;
            for (std::uint64_t seed = first; seed < first + block; ++seed) {
                const std::string text = text_of(kinds, seed);
                const Encoding exact = tokenizer.encode(text);
                if (!never_backwards(exact, text))
                    FAIL("ranges go backwards in: " << text);
                const Encoding found = widened(exact, text);
                digest(value, found.ids);
                digest(value, found.begins);
                digest(value, found.ends);
            }
            CAPTURE(first);
            CHECK(hexadecimal(value) == expected["hashes"][first / block].get<std::string>());
        }
    }
}
