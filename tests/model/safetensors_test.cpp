#include "model/safetensors.hpp"

#include "core/error.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/checkpoint_files.hpp"

#include <string>
#include <utility>
#include <vector>

using namespace kvtape;
using namespace kvtape::model;
using namespace kvtape::testing;
using Catch::Matchers::Contains;

namespace {

std::span<const std::byte> bytes_of_text(const std::string& text) {
    return std::as_bytes(std::span(text));
}

/// The message with which a file is refused.
std::string refusal(const std::string& file) {
    try {
        parse_safetensors(bytes_of_text(file), "m.safetensors");
    } catch (const Error& error) {
        CHECK(error.kind() == ErrorKind::format);
        CHECK_THAT(error.what(), Contains("m.safetensors"));
        return error.what();
    }
    return "accepted";
}

std::string entry(const std::string& fields) {
    return "{\"t\":{" + fields + "}}";
}

}  // namespace

TEST_CASE("tensors are found where the header puts them", "[model][safetensors]") {
    const std::string header =
        R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},)"
        R"("a":{"dtype":"BF16","shape":[2,1],"data_offsets":[0,4]},)"
        R"("none":{"dtype":"F32","shape":[0,5],"data_offsets":[8,8]},)"
        R"("scalar":{"dtype":"U8","shape":[],"data_offsets":[8,9]}})";
    const std::string file = safetensors_file(header, "aaaabbbbc");
    const StoredTensors tensors = parse_safetensors(bytes_of_text(file), "m");
    REQUIRE(tensors.size() == 4);
    CHECK(tensors.at("a").type == "BF16");
    CHECK(tensors.at("a").shape == std::vector<std::int64_t>{2, 1});
    CHECK(tensors.at("a").bytes.data() == bytes_of_text(file).data() + 8 + header.size());
    CHECK(tensors.at("b").bytes.size() == 4);
    CHECK(static_cast<char>(tensors.at("b").bytes[0]) == 'b');
    CHECK(tensors.at("none").bytes.empty());
    CHECK(tensors.at("scalar").bytes.size() == 1);
}

TEST_CASE("damaged and hostile safetensors are refused", "[model][safetensors]") {
    const auto file = [](const std::string& header, const std::string& data) {
        return safetensors_file(header, data);
    };
    CHECK_THAT(refusal(""), Contains("too few"));
    CHECK_THAT(refusal("1234567"), Contains("too few"));
    CHECK_THAT(refusal(std::string(16, '\xff')), Contains("damaged"));
    CHECK_THAT(refusal(std::string(16, '\0')), Contains("damaged"));
    CHECK_THAT(refusal(file("{}", "").substr(0, 9)), Contains("too few"));
    CHECK_THAT(refusal(file(" {}", "")), Contains("'{'"));
    CHECK_THAT(refusal(file("[]", "")), Contains("'{'"));
    CHECK_THAT(refusal(file("{\"a", "")), Contains("JSON"));
    CHECK_THAT(refusal(file("{}", "x")), Contains("end at data byte 0 of 1"));
    CHECK_THAT(refusal(file("{\"t\":3}", "")), Contains("expected an object"));
    const std::string f32 = R"("dtype":"F32",)";
    const std::vector<std::pair<std::string, std::string>> entries{
        {R"("shape":[1],"data_offsets":[0,4])", "dtype is missing"},
        {R"("dtype":"F31","shape":[1],"data_offsets":[0,4])", "F31"},
        {R"("dtype":7,"shape":[1],"data_offsets":[0,4])", "dtype"},
        {f32 + R"("data_offsets":[0,4])", "shape"},
        {f32 + R"("shape":1,"data_offsets":[0,4])", "shape"},
        {f32 + R"("shape":[-1],"data_offsets":[0,4])", "shape"},
        {f32 + R"("shape":[1.0],"data_offsets":[0,4])", "shape"},
        {f32 + R"("shape":[9223372036854775808],"data_offsets":[0,4])", "shape"},
        {f32 + R"("shape":[4611686018427387905],"data_offsets":[0,4])", "size of its shape"},
        {f32 + R"("shape":[4294967296,4294967296,0],"data_offsets":[0,4])", "size of its shape"},
        {f32 + R"("shape":[2],"data_offsets":[0,4])", "size of its shape"},
        {f32 + R"("shape":[1])", "data_offsets"},
        {f32 + R"("shape":[1],"data_offsets":[4])", "data_offsets"},
        {f32 + R"("shape":[1],"data_offsets":[4,0])", "data_offsets"},
        {f32 + R"("shape":[1],"data_offsets":[4,8])", "data_offsets"},
        {f32 + R"("shape":[1],"data_offsets":[18446744073709551612,0])", "data_offsets"},
        {f32 + R"("shape":[1],"data_offsets":["0",4])", "data_offsets"}};
    for (const auto& [fields, expected] : entries) {
        CAPTURE(fields);
        CHECK_THAT(refusal(file(entry(fields), "1234")), Contains(expected));
    }
    const std::string one = R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
    CHECK_THAT(refusal(file("{\"a\":" + one + ",\"a\":" + one + "}", "1234")), Contains("twice"));
    CHECK_THAT(refusal(file("{\"a\":" + one + ",\"b\":" + one + "}", "1234")), Contains("overlap"));
    const std::string late = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})";
    CHECK_THAT(refusal(file(late, "12345678")), Contains("hole"));
    CHECK_THAT(refusal(file("{\"a\":" + one + "}", "12345678")), Contains("4 of 8"));
}

TEST_CASE("every truncation and every flipped header byte is refused or harmless",
          "[model][safetensors]") {
    const std::string whole =
        safetensors_file({{"weights", {.shape = {2, 3}, .values = {1, 2, 3, 4, 5, 6}}},
                          {"bias", {.shape = {2}, .values = {7, 8}}}},
                         ElementType::float32);
    for (std::size_t size = 0; size < whole.size(); ++size)
        CHECK(refusal(whole.substr(0, size)) != "accepted");
    int survivors = 0;
    for (std::size_t i = 0; i + 32 < whole.size(); ++i) {
        std::string flipped = whole;
        flipped[i] = static_cast<char>(flipped[i] ^ 0x10);
        survivors += refusal(flipped) == "accepted" ? 1 : 0;
    }
    CHECK(survivors < static_cast<int>(whole.size() / 2));
}

TEST_CASE("a checkpoint gives typed tensors of the expected shape", "[model][safetensors]") {
    const TemporaryDirectory directory;
    const FloatTensors tensors{{"w", {.shape = {2, 2}, .values = {1, 2, 3, 4}}}};
    write_file(directory.path() / "model.safetensors",
               safetensors_file(tensors, ElementType::bfloat16));
    const Checkpoint checkpoint = Checkpoint::open(directory.path());
    CHECK(checkpoint.has("w"));
    CHECK_FALSE(checkpoint.has("v"));
    CHECK(checkpoint.tensor("w", {2, 2}).type == ElementType::bfloat16);
    CHECK(checkpoint.tensor("w", {2, 2}).bytes.size() == 8);
    CHECK_THROWS_WITH(checkpoint.tensor("w", {4, 1}), Contains("[2,2]") && Contains("[4,1]"));
    CHECK_THROWS_WITH(checkpoint.tensor("v", {2, 2}), Contains("v is missing"));

    write_file(
        directory.path() / "model.safetensors",
        safetensors_file(R"({"w":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}} )", "1234"));
    CHECK_THROWS_WITH(Checkpoint::open(directory.path()).tensor("w", {1}), Contains("I32"));
    write_file(
        directory.path() / "model.safetensors",
        safetensors_file(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}} )", "1234"));
    CHECK_THROWS_WITH(Checkpoint::open(directory.path()).tensor("w", {1}), Contains("multiple"));
}

TEST_CASE("sharded checkpoints are read through their index, which stays in the directory",
          "[model][safetensors]") {
    const TemporaryDirectory directory;
    const auto path = directory.path();
    const auto index = [&](const Json& map) {
        write_file(path / "model.safetensors.index.json", Json{{"weight_map", map}}.dump());
        return Checkpoint::open(path);
    };
    const auto shard = [&](const char* file, const char* tensor, float value) {
        write_file(
            path / file,
            safetensors_file({{tensor, {.shape = {1}, .values = {value}}}}, ElementType::float32));
    };
    shard("one.safetensors", "a", 1.0f);
    shard("two.safetensors", "b", 2.0f);
    const Checkpoint both = index({{"a", "one.safetensors"}, {"b", "two.safetensors"}});
    float value = 0.0f;
    std::memcpy(&value, both.tensor("b", {1}).bytes.data(), sizeof value);
    CHECK(value == 2.0f);
    CHECK(both.has("a"));

    CHECK_THROWS_WITH(index({{"b", "one.safetensors"}}), Contains("lacks"));
    CHECK_THROWS_WITH(index({{"a", "three.safetensors"}}), Contains("three.safetensors"));
    CHECK_THROWS_WITH(index({{"a", 3}}), Contains("not a file name"));
    CHECK_THROWS_WITH(index("text"), Contains("weight_map"));
    for (const char* name : {"../one.safetensors", "/etc/passwd", "sub/one", "..", ".", ""})
        CHECK_THROWS_WITH(index({{"a", name}}), Contains("plain file name"));
    CHECK_THROWS_AS(Checkpoint::open(path / "nowhere"), Error);
}
