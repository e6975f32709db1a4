#include "model/tokenizer.hpp"

#include "core/error.hpp"
#include "core/json.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/widened.hpp"

#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>

using namespace kvtape;
using namespace kvtape::model;
using Catch::Matchers::Contains;
using testing::widened;

namespace {

const std::filesystem::path source_dir = KVTAPE_SOURCE_DIR;

std::string read(const std::filesystem::path& path) {
    std::ifstream file(path);
    REQUIRE(file);
    return {std::istreambuf_iterator<char>(file), {}};
}

/// A tokenizer of single bytes `a`, `b`, `c`, a space and two merges.
Json small() {
    return {{"added_tokens", Json::array({{{"id", 0}, {"content", "<s>"}, {"special", true}}})},
            {"normalizer", nullptr},
            {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
            {"post_processor", nullptr},
            {"decoder", {{"type", "ByteLevel"}}},
            {"model",
             {{"type", "BPE"},
              {"vocab",
               {{"<s>", 0},
                {"a", 1},
                {"b", 2},
                {"c", 3},
                {"\u0120", 4},
                {"ab", 5},
                {"abc", 6},
                {"bc", 7}}},
              {"merges", {"a b", "ab c"}}}}};
}

Tokenizer parse(const Json& json) {
    return Tokenizer::parse(json.dump(), "t.json");
}

/// The message with which a changed `small()` is refused.
std::string refusal(const std::function<void(Json&)>& change) {
    Json json = small();
    change(json);
    try {
        parse(json);
    } catch (const Error& error) {
        CHECK(error.kind() == ErrorKind::format);
        return error.what();
    }
    return "accepted";
}

}  // namespace

TEST_CASE("ids and byte ranges equal those of Hugging Face tokenizers", "[model][tokenizer]") {
    const Json groups =
        parse_json(read(source_dir / "tests/model/data/tokenizers.json"), "vectors");
    REQUIRE(groups.size() == 5);
    for (const Json& group : groups) {
        const auto name = group["name"].get<std::string>();
        const Tokenizer tokenizer =
            name == "needle" ? Tokenizer::load(source_dir / "data/needle-model/tokenizer.json")
                             : Tokenizer::parse(group["tokenizer"].get<std::string>(), name);
        for (const Json& expected : group["cases"]) {
            const auto text = expected["text"].get<std::string>();
            const Encoding exact = tokenizer.encode(text);
            const Encoding found = widened(exact, text);
            CAPTURE(name, text);
            CHECK(found.ids == expected["ids"].get<std::vector<std::int32_t>>());
            CHECK(found.begins == expected["begins"].get<std::vector<std::int64_t>>());
            CHECK(found.ends == expected["ends"].get<std::vector<std::int64_t>>());
            std::string bytes;
            for (std::size_t i = 0; i < exact.ids.size(); ++i) {
                REQUIRE(exact.begins[i] == std::ssize(bytes));
                bytes += tokenizer.bytes_of(exact.ids[i]);
                REQUIRE(exact.ends[i] == std::ssize(bytes));
            }
            CHECK(bytes == text);
        }
    }
}

TEST_CASE("a small tokenizer merges in order of rank and leaves special tokens out of text",
          "[model][tokenizer]") {
    const Tokenizer tokenizer = parse(small());
    CHECK(tokenizer.vocabulary_size() == 8);
    CHECK(tokenizer.encode("abc bc").ids == std::vector<std::int32_t>{6, 4, 2, 3});
    CHECK(tokenizer.encode("<s>ab<s>").ids == std::vector<std::int32_t>{0, 5, 0});
    CHECK(tokenizer.encode("").ids.empty());
    CHECK(tokenizer.decode(std::vector<std::int32_t>{0, 6, 4, 1, 0}) == "abc a");
    CHECK(tokenizer.is_special(0));
    CHECK_FALSE(tokenizer.is_special(6));
    CHECK(tokenizer.bytes_of(4) == " ");
}

// As in `tokenizers`, whose decode leaves out ids that its vocabulary lacks.
TEST_CASE("an id without a token is decoded as nothing", "[model][tokenizer]") {
    const Tokenizer tokenizer = parse(small());
    for (const std::int32_t id : {8, -1, 1 << 30}) {
        CHECK(tokenizer.bytes_of(id).empty());
        CHECK_FALSE(tokenizer.is_special(id));
        CHECK(tokenizer.decode(std::vector<std::int32_t>{6, id, 4, 1}) == "abc a");
    }
}

TEST_CASE("text that cannot be encoded is refused with its byte", "[model][tokenizer]") {
    const Tokenizer tokenizer = parse(small());
    for (const char* text :
         {"ab\xff", "ab\xc0\x80", "ab\xed\xa0\x80", "ab\xf4\x90\x80\x80", "ab\xe2\x82"})
        CHECK_THROWS_WITH(tokenizer.encode(text), Contains("byte 2") && Contains("UTF-8"));
    CHECK_THROWS_WITH(tokenizer.encode("abz"), Contains("no token for the byte 122"));
}

TEST_CASE("very long pieces are merged without quadratic work", "[model][tokenizer]") {
    const Tokenizer tokenizer = parse(small());
    std::string text;
    for (int i = 0; i < 400'000; ++i)
        text += "abc";
    const Encoding encoding = tokenizer.encode(text);
    CHECK(encoding.ids == std::vector<std::int32_t>(400'000, 6));
}

TEST_CASE("pipeline pieces that kvtape does not know are refused by name", "[model][tokenizer]") {
    const auto set = [](const char* pointer, const Json& value) {
        return [=](Json& json) { json[Json::json_pointer(pointer)] = value; };
    };
    CHECK_THAT(refusal(set("/normalizer", {{"type", "NFKC"}})), Contains("NFKC"));
    CHECK_THAT(refusal(set("/normalizer",
                           {{"type", "Replace"}, {"pattern", {{"Regex", " "}}}, {"content", "_"}})),
               Contains("Regex"));
    CHECK_THAT(refusal(set("/normalizer", {{"type", "Prepend"}, {"prepend", ""}})),
               Contains("prepend"));
    CHECK_THAT(refusal(set("/normalizer", {{"type", "Sequence"}})), Contains("normalizers"));
    CHECK_THAT(refusal(set("/model/type", "WordPiece")), Contains("WordPiece"));
    CHECK_THAT(refusal(set("/model/byte_fallback", true)),
               Contains("byte_fallback") && Contains("ByteLevel"));
    CHECK_THAT(refusal(set("/model/dropout", 0.1)), Contains("dropout"));
    CHECK_THAT(refusal(set("/model/end_of_word_suffix", "</w>")), Contains("end_of_word_suffix"));
    CHECK_THAT(refusal(set("/pre_tokenizer/type", "Whitespace")), Contains("Whitespace"));
    CHECK_THAT(refusal(set("/pre_tokenizer", nullptr)), Contains("ByteLevel"));
    CHECK_THAT(refusal(set("/pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "_"}})),
               Contains("replacement") && Contains("_"));
    CHECK_THAT(
        refusal(set(
            "/pre_tokenizer",
            {{"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", "sometimes"}})),
        Contains("sometimes"));
    CHECK_THAT(
        refusal(
            set("/pre_tokenizer",
                {{"type", "Metaspace"}, {"replacement", "\u2581"}, {"add_prefix_space", false}})),
        Contains("add_prefix_space"));
    CHECK_THAT(refusal(set("/post_processor", {{"type", "Bert"}})), Contains("Bert"));
    CHECK_THAT(refusal(set("/decoder", {{"type", "WordPiece"}})), Contains("WordPiece"));
    const Json split{{"type", "Split"},
                     {"pattern", {{"Regex", "a"}}},
                     {"behavior", "Removed"},
                     {"invert", false}};
    CHECK_THAT(refusal(set("/pre_tokenizer", split)), Contains("Removed"));
}

TEST_CASE("a template that does not fit the vocabulary is refused", "[model][tokenizer]") {
    const auto with = [](const Json& single, const Json& tokens) {
        return refusal([&](Json& json) {
            json["post_processor"] = {
                {"type", "TemplateProcessing"}, {"single", single}, {"special_tokens", tokens}};
        });
    };
    const Json text{{"Sequence", {{"id", "A"}}}}, token{{"SpecialToken", {{"id", "<s>"}}}};
    const auto means = [](int id, const char* name) {
        return Json{{"<s>", {{"id", "<s>"}, {"ids", {id}}, {"tokens", {name}}}}};
    };
    CHECK(with({token, text}, means(0, "<s>")) == "accepted");
    CHECK_THAT(with({token, text}, means(3, "<s>")),
               Contains("<s>") && Contains("the id 3") && Contains("vocabulary"));
    CHECK_THAT(with({token, text}, means(0, "[CLS]")), Contains("[CLS]"));
    CHECK_THAT(with({token, text}, means(99, "<s>")), Contains("the id 99"));
    CHECK_THAT(with({token, text}, Json::object()), Contains("<s>") && Contains("special_tokens"));
    CHECK_THAT(with(Json::array({token}), means(0, "<s>")), Contains("the text A once"));
    CHECK_THAT(with({text, text}, means(0, "<s>")), Contains("the text A once"));
    CHECK_THAT(with({text, 4}, means(0, "<s>")), Contains("single"));
    CHECK_THAT(with(4, means(0, "<s>")), Contains("single"));
}

TEST_CASE("a template puts its tokens around the text", "[model][tokenizer]") {
    Json json = small();
    const Json text{{"Sequence", {{"id", "A"}}}}, token{{"SpecialToken", {{"id", "<s>"}}}};
    json["post_processor"] = {{"type", "TemplateProcessing"},
                              {"single", {token, text, token}},
                              {"special_tokens", {{"<s>", {{"ids", {0}}, {"tokens", {"<s>"}}}}}}};
    const Encoding encoding = parse(json).encode_in_template("abc");
    CHECK(encoding.ids == std::vector<std::int32_t>{0, 6, 0});
    CHECK(encoding.begins == std::vector<std::int64_t>{0, 0, 3});
    CHECK(encoding.ends == std::vector<std::int64_t>{0, 3, 3});
    CHECK(parse(json).encode("abc").ids == std::vector<std::int32_t>{6});
    CHECK(parse(small()).encode_in_template("abc").ids == std::vector<std::int32_t>{6});
    CHECK(parse(json).template_prefix() == "<s>");
    CHECK_FALSE(parse(small()).template_prefix());
    json["post_processor"]["single"] = Json::array({text});
    CHECK(parse(json).template_prefix() == "");
}

TEST_CASE("byte fallback needs a token for every byte", "[model][tokenizer]") {
    const std::string message = refusal([](Json& json) {
        json["pre_tokenizer"] = nullptr;
        json["model"]["byte_fallback"] = true;
        for (int byte = 0; byte < 256; ++byte)
            if (byte != 0x7f) {
                const char* digits = "0123456789ABCDEF";
                const std::string name{'<', '0', 'x', digits[byte / 16], digits[byte % 16], '>'};
                json["model"]["vocab"][name] = 10 + byte;
            }
    });
    CHECK_THAT(message, Contains("<0x7F>") && Contains("byte_fallback"));
}

TEST_CASE("hostile tokenizers are refused, not obeyed", "[model][tokenizer]") {
    const auto set = [](const char* pointer, const Json& value) {
        return [=](Json& json) { json[Json::json_pointer(pointer)] = value; };
    };
    const auto split = [](const std::string& pattern) {
        return Json{
            {"type", "Sequence"},
            {"pretokenizers",
             {{{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}},
              {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
    };
    CHECK_THAT(refusal(set("/model", nullptr)), Contains("model"));
    CHECK_THAT(refusal(set("/model", 7)), Contains("expected an object"));
    CHECK_THAT(refusal(set("/model/vocab", Json::object())), Contains("vocab"));
    CHECK_THAT(refusal(set("/model/vocab/a", -1)), Contains("-1"));
    CHECK_THAT(refusal(set("/model/vocab/a", 1.5)), Contains("1.5"));
    CHECK_THAT(refusal(set("/model/vocab/a", 2)), Contains("twice"));
    CHECK_THAT(refusal(set("/model/vocab/a", 1 << 23)), Contains("8388608"));
    CHECK_THAT(refusal(set("/model/vocab/a", 18446744073709551615u)),
               Contains("18446744073709551615"));
    CHECK_THAT(refusal(set("/added_tokens/0/id", 2147483647)), Contains("2147483647"));
    CHECK_THAT(refusal(set("/added_tokens/0/id", 3)), Contains("vocab gives it 0"));
    CHECK_THAT(refusal(set("/added_tokens/0", {{"id", 3}, {"content", "x"}})),
               Contains("another token"));
    CHECK_THAT(refusal([](Json& json) { json["added_tokens"].push_back(json["added_tokens"][0]); }),
               Contains("twice"));
    CHECK_THAT(refusal([](Json& json) {
                   json["added_tokens"][0]["rstrip"] = true;
                   json["added_tokens"].push_back({{"id", 9}, {"content", "\n"}});
               }),
               Contains("rstrip"));
    CHECK_THAT(refusal(set("/added_tokens/0/content", "")), Contains("content"));
    CHECK_THAT(refusal(set("/added_tokens", 3)), Contains("added_tokens"));
    CHECK_THAT(refusal([](Json& json) { json["model"]["vocab"][" x"] = 8; }), Contains("alphabet"));
    CHECK_THAT(refusal(set("/model/merges", nullptr)), Contains("merges") && Contains("missing"));
    CHECK_THAT(refusal(set("/model/merges", 3)), Contains("merges") && Contains("array"));
    CHECK_THAT(refusal(set("/model/merges/0", "a c")), Contains("a c"));
    CHECK_THAT(refusal(set("/model/merges/0", "ab")), Contains("ab"));
    CHECK_THAT(refusal(set("/model/merges/0", {"a"})), Contains("merges"));
    CHECK_THAT(refusal(set("/model/merges/0", 4)), Contains("merges"));
    CHECK_THAT(refusal(set("/pre_tokenizer", split("(a"))), Contains("expression"));
    CHECK_THAT(refusal(set("/pre_tokenizer", split(R"(\C)"))), Contains("expression"));
    CHECK_THAT(refusal(set("/pre_tokenizer", split(std::string(100'000, 'a')))),
               Contains("at most"));
    CHECK_THROWS_WITH(Tokenizer::parse("[]", "t.json"), Contains("t.json") && Contains("object"));
    CHECK_THROWS_WITH(Tokenizer::parse("{", "t.json"), Contains("JSON"));
    CHECK_THROWS_AS(Tokenizer::load("/nonexistent/tokenizer.json"), Error);

    Json json = small();
    json["pre_tokenizer"] = split("(a+)+$");
    const Tokenizer explosive = parse(json);
    CHECK_THROWS_WITH(explosive.encode(std::string(200, 'a') + "b"), Contains("limit"));
    json = small();
    const Json growing{
        {"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", std::string(60, 'a')}};
    json["normalizer"] = {{"type", "Sequence"}, {"normalizers", Json::array()}};
    for (int i = 0; i < 16; ++i)
        json["normalizer"]["normalizers"].push_back(growing);
    const Tokenizer swelling = parse(json);
    CHECK_THROWS_WITH(swelling.encode("a"), Contains("normalising") && Contains("16 times"));
}
