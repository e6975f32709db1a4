#include "model/config.hpp"

#include "core/error.hpp"
#include "core/json.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/checkpoint_files.hpp"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

using namespace kvtape;
using namespace kvtape::model;
using Catch::Matchers::Contains;

namespace {

const std::filesystem::path source_dir = KVTAPE_SOURCE_DIR;

Json small() {
    return {{"architectures", {"LlamaForCausalLM"}},
            {"vocab_size", 100},
            {"hidden_size", 64},
            {"intermediate_size", 96},
            {"num_hidden_layers", 3},
            {"num_attention_heads", 8},
            {"num_key_value_heads", 2},
            {"hidden_act", "silu"},
            {"rms_norm_eps", 1e-5},
            {"torch_dtype", "bfloat16"},
            {"eos_token_id", 7}};
}

Config parse(const Json& json) {
    return Config::parse(json.dump(), "config.json");
}

Config with(const char* name, const Json& value) {
    Json json = small();
    json[name] = value;
    return parse(json);
}

std::string refusal(const char* name, const Json& value) {
    try {
        with(name, value);
    } catch (const Error& error) {
        CHECK(error.kind() == ErrorKind::format);
        CHECK_THAT(error.what(), Contains("config.json"));
        return error.what();
    }
    return "accepted";
}

}  // namespace

TEST_CASE("a Llama configuration is read, with the defaults of its absent fields",
          "[model][config]") {
    const Config config = parse(small());
    CHECK(config.architecture == "LlamaForCausalLM");
    CHECK(config.text == small().dump());
    CHECK(config.vocabulary == 100);
    CHECK(config.head_dim == 8);
    CHECK(config.kv_heads == 2);
    CHECK(config.max_positions == 2048);
    CHECK(config.norm_epsilon == 1e-5f);
    CHECK(config.stored_type == ElementType::bfloat16);
    CHECK(config.stop_tokens == std::vector<std::int32_t>{7});
    CHECK(config.sliding_window == std::vector<std::optional<Position>>(3));
    CHECK_FALSE(config.tied_embeddings);
    CHECK_FALSE(config.qkv_bias);
    CHECK_FALSE(config.qk_norm);
    CHECK(config.rope_theta == 10000.0);
    CHECK(config.rope_scaling.is_null());
    CHECK(config.inverse_frequencies.size() == 4);
    CHECK(config.rope()["inv_freq"].size() == 4);
    CHECK(config.rope()["layout"] == "half");
    const Shape shape = config.shape(ElementType::float16);
    CHECK(shape.group() == 4);
    CHECK(shape.softmax_scale == 1.0 / std::sqrt(8.0));
    CHECK(shape.element_type == ElementType::float16);
}

TEST_CASE("fields that change the arithmetic are read", "[model][config]") {
    CHECK(with("head_dim", 32).head_dim == 32);
    CHECK(with("tie_word_embeddings", true).tied_embeddings);
    CHECK(with("attention_bias", true).qkv_bias);
    CHECK(with("attention_bias", true).output_bias);
    CHECK(with("mlp_bias", true).mlp_bias);
    CHECK(with("dtype", "float32").stored_type == ElementType::float32);
    CHECK(with("eos_token_id", {1, 2}).stop_tokens == std::vector<std::int32_t>{1, 2});
    CHECK(with("eos_token_id", nullptr).stop_tokens.empty());
    CHECK(with("sliding_window", 40).sliding_window == std::vector<std::optional<Position>>(3, 40));
    Json mixed = small();
    mixed["sliding_window"] = 40;
    mixed["layer_types"] = {"sliding_attention", "full_attention", "sliding_attention"};
    CHECK(parse(mixed).sliding_window ==
          std::vector<std::optional<Position>>{40, std::nullopt, 40});
    mixed["use_sliding_window"] = false;
    CHECK_THROWS_AS(parse(mixed), Error);
}

TEST_CASE("an answer also ends at the stop tokens of generation_config.json", "[model][config]") {
    const testing::TemporaryDirectory folder;
    const auto load = [&] { return Config::load(folder.path() / "config.json"); };
    const auto beside = [&](std::string_view text) {
        testing::write_file(folder.path() / "generation_config.json", text);
        return load().stop_tokens;
    };
    testing::write_file(folder.path() / "config.json", small().dump());
    CHECK(load().stop_tokens == std::vector<std::int32_t>{7});
    CHECK(beside(R"({"eos_token_id": 9})") == std::vector<std::int32_t>{7, 9});
    CHECK(beside(R"({"eos_token_id": [9, 7, 99]})") == std::vector<std::int32_t>{7, 9, 99});
    CHECK(beside(R"({"eos_token_id": null})") == std::vector<std::int32_t>{7});
    CHECK(beside("{}") == std::vector<std::int32_t>{7});
    CHECK(load().text == small().dump());
    CHECK_THROWS_WITH(
        beside(R"({"eos_token_id": 100})"),
        Contains("generation_config.json: eos_token_id is 100, expected an integer from 0 to 99"));
    CHECK_THROWS_WITH(beside(R"({"eos_token_id": "</s>"})"),
                      Contains("generation_config.json: eos_token_id"));
    CHECK_THROWS_WITH(beside("[1]"), Contains("generation_config.json: found array"));
    CHECK_THROWS_WITH(beside("{"), Contains("generation_config.json: not valid JSON"));
}

TEST_CASE("RoPE of its own for each kind of layers is refused", "[model][config]") {
    const Json plain = {{"rope_type", "default"}, {"rope_theta", 10000.0}};
    const Json kinds = {{"full_attention", plain}, {"sliding_attention", plain}};
    for (const char* name : {"rope_parameters", "rope_scaling"})
        CHECK_THAT(refusal(name, kinds),
                   Contains("RoPE parameters: \"full_attention\" is RoPE of one kind of layers"));
}

TEST_CASE("Qwen's windows are for the layers that ask for them", "[model][config]") {
    Json fields = small();
    fields["architectures"] = {"Qwen2ForCausalLM"};
    fields["num_hidden_layers"] = 3;
    fields["sliding_window"] = 40;
    const std::optional<Position> none;
    CHECK(parse(fields).sliding_window == std::vector<std::optional<Position>>{none, none, none});
    fields["use_sliding_window"] = true;
    CHECK_THROWS_AS(parse(fields), Error);
    fields["max_window_layers"] = 2;
    CHECK(parse(fields).sliding_window == std::vector<std::optional<Position>>{none, none, 40});
    CHECK(parse(fields).qkv_bias);
    CHECK_FALSE(parse(fields).output_bias);
}

TEST_CASE("Phi-3 has windows in every layer, and its long RoPE is refused by name",
          "[model][config]") {
    Json fields = small();
    fields["architectures"] = {"Phi3ForCausalLM"};
    fields["rope_scaling"] = nullptr;
    fields["sliding_window"] = 2047;
    CHECK(parse(fields).sliding_window == std::vector<std::optional<Position>>(3, 2047));
    CHECK_FALSE(parse(fields).qkv_bias);
    fields["rope_scaling"] = {{"type", "longrope"}, {"short_factor", {1.0}}};
    CHECK_THROWS_WITH(parse(fields), Contains("rope_type") && Contains("longrope"));
    fields["rope_scaling"] = nullptr;
    fields["partial_rotary_factor"] = 0.75;
    CHECK_THROWS_WITH(parse(fields), Contains("partial_rotary_factor"));
}

TEST_CASE("dynamic RoPE is plain as far as the model was trained", "[model][config]") {
    const Config plain = parse(small());
    CHECK(with("rope_scaling", {{"type", "dynamic"}, {"factor", 2.0}}).inverse_frequencies ==
          plain.inverse_frequencies);
    CHECK_THAT(refusal("rope_scaling", {{"type", "dynamic"}}), Contains("factor"));
}

TEST_CASE("scaled frequencies equal those of transformers, in both spellings", "[model][config]") {
    std::ifstream file(source_dir / "tests/model/data/rope.json");
    const Json cases = Json::parse(file);
    REQUIRE(cases.size() == 7);
    for (const Json& expected : cases) {
        Json old_style = small();
        old_style["head_dim"] = expected["head_dim"];
        Json new_style = old_style;
        old_style["rope_theta"] = expected["rope_theta"];
        old_style["rope_scaling"] = expected["rope_scaling"];
        new_style["rope_parameters"] = expected["rope_scaling"];
        new_style["rope_parameters"]["rope_theta"] = expected["rope_theta"];
        for (const Json& style : {old_style, new_style}) {
            const Config config = parse(style);
            const std::vector<double>& found = config.inverse_frequencies;
            CHECK(config.rope_attention_scale ==
                  Approx(expected["attention_scale"].get<double>()).epsilon(1e-12));
            REQUIRE(found.size() == expected["inv_freq"].size());
            for (std::size_t i = 0; i < found.size(); ++i)
                CHECK(found[i] == Approx(expected["inv_freq"][i].get<double>()).epsilon(1e-6));
        }
    }
}

TEST_CASE("the needle model's configuration is read", "[model][config]") {
    const Config config = Config::load(source_dir / "data/needle-model/config.json");
    CHECK(config.layers == 6);
    CHECK(config.head_dim == 64);
    CHECK(config.rope_theta == 1e12);
    CHECK(config.tied_embeddings);
}

TEST_CASE("a configuration that kvtape cannot run is refused with the field's name",
          "[model][config]") {
    const std::vector<std::pair<const char*, Json>> hostile{
        {"architectures", nullptr},
        {"architectures", "LlamaForCausalLM"},
        {"architectures", Json::array()},
        {"architectures", {1}},
        {"architectures", {"MambaForCausalLM"}},
        {"vocab_size", 0},
        {"vocab_size", -5},
        {"vocab_size", 1e9},
        {"vocab_size", 12.5},
        {"vocab_size", "100"},
        {"vocab_size", nullptr},
        {"vocab_size", 18446744073709551615u},
        {"hidden_size", 0},
        {"hidden_size", 65},
        {"hidden_size", Json::array()},
        {"intermediate_size", std::int64_t{1} << 40},
        {"num_hidden_layers", 0},
        {"num_hidden_layers", 1 << 20},
        {"num_attention_heads", 0},
        {"num_key_value_heads", 3},
        {"num_key_value_heads", 16},
        {"num_key_value_heads", 0},
        {"head_dim", 7},
        {"head_dim", 0},
        {"head_dim", 1 << 16},
        {"max_position_embeddings", 0},
        {"rms_norm_eps", 0},
        {"rms_norm_eps", "1e-5"},
        {"rms_norm_eps", 2},
        {"hidden_act", "gelu"},
        {"hidden_act", 3},
        {"quantization_config", {{"bits", 4}}},
        {"dtype", "int8"},
        {"eos_token_id", 100},
        {"eos_token_id", -1},
        {"eos_token_id", {1, "2"}},
        {"tie_word_embeddings", "yes"},
        {"sliding_window", 0},
        {"layer_types", {"full_attention"}},
        {"rope_theta", 0},
        {"rope_theta", -1.0},
        {"partial_rotary_factor", 0.5}};
    for (const auto& [name, value] : hostile) {
        CAPTURE(value);
        CHECK_THAT(refusal(name, value), Contains(name));
    }
    CHECK_THAT(refusal("architectures", {"MambaForCausalLM"}), Contains("MambaForCausalLM"));
    CHECK_THAT(refusal("rope_scaling", {{"rope_type", "longrope"}, {"factor", 2}}),
               Contains("longrope"));
    CHECK_THAT(refusal("rope_scaling", {{"rope_type", "yarn"}, {"factor", 2}}),
               Contains("original_max_position_embeddings"));
    CHECK_THAT(refusal("rope_scaling",
                       {{"rope_type", "yarn"},
                        {"factor", 2},
                        {"original_max_position_embeddings", 64},
                        {"beta_fast", 1},
                        {"beta_slow", 2}}),
               Contains("beta_fast"));
    CHECK_THAT(refusal("rope_parameters",
                       {{"rope_type", "yarn"},
                        {"factor", 2},
                        {"original_max_position_embeddings", 64},
                        {"rope_theta", 1}}),
               Contains("rope_theta"));
    CHECK_THAT(refusal("rope_scaling", {{"type", "linear"}}), Contains("factor"));
    CHECK_THAT(refusal("rope_scaling", {{"type", "linear"}, {"factor", 0}}), Contains("factor"));
    CHECK_THAT(refusal("rope_scaling", "linear"), Contains("object"));
    CHECK_THAT(refusal("rope_scaling",
                       {{"rope_type", "llama3"},
                        {"factor", 8},
                        {"low_freq_factor", 4},
                        {"high_freq_factor", 4},
                        {"original_max_position_embeddings", 8192}}),
               Contains("high_freq_factor"));
    CHECK_THROWS_WITH(Config::parse("[]", "config.json"), Contains("expected an object"));
    CHECK_THROWS_WITH(Config::parse("{\"a\":1,\"a\":2}", "config.json"), Contains("twice"));
    CHECK_THROWS_AS(Config::load("/nonexistent/config.json"), Error);
    CHECK_THROWS_AS(Config::load("/"), Error);
}
