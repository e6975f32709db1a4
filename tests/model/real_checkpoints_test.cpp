// Checkpoints as they are found in the wild: what is in them besides the model, or instead of it.
#include "core/error.hpp"
#include "model/files.hpp"
#include "model/transformer.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/small_model.hpp"

#include <functional>
#include <limits>
#include <string>
#include <vector>

using namespace kvtape;
using namespace kvtape::model;
using namespace kvtape::testing;
using Catch::Matchers::Contains;

namespace {

Json small(bool tied = false) {
    Json fields = small_config();
    fields["tie_word_embeddings"] = tied;
    return fields;
}

/// Loads a small model whose tensors were changed.
void load(const Json& fields, const std::function<void(FloatTensors&)>& change) {
    const Config config = parse(fields);
    RandomCheckpoint checkpoint(config);
    change(checkpoint.tensors);
    write_file(checkpoint.path() / "model.safetensors",
               safetensors_file(checkpoint.tensors, ElementType::float32));
    Transformer::load(checkpoint.path(), config, *cpu_backend(ElementType::float32, 1));
}

void load_with(const std::string& name, const Json& fields = small()) {
    load(fields, [&](FloatTensors& tensors) { tensors[name] = {{2}, {0.5f, 1.0f}}; });
}

}  // namespace

TEST_CASE("tensors of the model that config.json does not ask for are refused",
          "[model][checkpoint]") {
    const std::string bias = "model.layers.1.self_attn.q_proj.bias";
    CHECK_THROWS_WITH(load_with(bias),
                      Contains("has 1 tensor that config.json does not ask for, as " + bias) &&
                          Contains("attention_bias"));
    CHECK_THROWS_WITH(load_with("model.layers.0.self_attn.q_proj.lora_A.weight"),
                      Contains("q_proj.lora_A.weight") && Contains("adapters"));
    CHECK_THROWS_WITH(load_with("model.layers.0.self_attn.q_norm.weight"), Contains("q_norm"));
    CHECK_THROWS_WITH(load_with("lm_head.bias"), Contains("lm_head.bias"));
    CHECK_THROWS_WITH(load(small(),
                           [](FloatTensors& tensors) {
                               tensors["model.a"] = {{1}, {0.0f}};
                               tensors["model.b"] = {{1}, {0.0f}};
                           }),
                      Contains("2 tensors") && Contains("model.a"));
    CHECK_NOTHROW(load_with("model.layers.0.self_attn.rotary_emb.inv_freq"));
    CHECK_NOTHROW(load_with("model.rotary_emb.inv_freq"));
    CHECK_NOTHROW(load_with("lm_head.weight", small(true)));
    CHECK_NOTHROW(load_with("v_head.weight"));
}

TEST_CASE("a tensor that is missing says which kind of checkpoint it is missing from",
          "[model][checkpoint]") {
    const auto renamed = [](const std::function<std::string(const std::string&)>& name_of) {
        load(small(), [&](FloatTensors& tensors) {
            FloatTensors now;
            for (const auto& [name, tensor] : tensors)
                now[name_of(name)] = tensor;
            tensors = now;
        });
    };
    CHECK_THROWS_WITH(renamed([](const std::string& name) {
                          return name.starts_with("model.") ? name.substr(6) : name;
                      }),
                      Contains("model.embed_tokens.weight is missing") &&
                          Contains("it has embed_tokens.weight") &&
                          Contains("causal language model"));
    CHECK_THROWS_WITH(renamed([](const std::string& name) {
                          const std::size_t at = name.find("_proj.weight");
                          return at == std::string::npos ? name
                                                         : name.substr(0, at) + "_proj.qweight";
                      }),
                      Contains("q_proj.weight is missing") && Contains("quantised"));
    CHECK_THROWS_WITH(renamed([](const std::string& name) { return "lora_A." + name; }),
                      Contains("is missing") && Contains("adapter"));
    CHECK_THROWS_WITH(
        load(small(), [](FloatTensors& tensors) { tensors.erase("model.norm.weight"); }),
        Contains("model.norm.weight is missing; download the checkpoint again"));
}

TEST_CASE("what lies in the place of safetensors is named", "[model][checkpoint]") {
    const TemporaryDirectory folder;
    const auto refusal = [&]() -> std::string {
        try {
            Transformer::load(folder.path(), parse(small()), *cpu_backend(ElementType::float32, 1));
        } catch (const Error& error) {
            CHECK(error.kind() == ErrorKind::format);
            return error.what();
        }
        return "accepted";
    };
    write_file(folder.path() / "pytorch_model.bin", "PK");
    CHECK_THAT(
        refusal(),
        Contains("pytorch_model.bin and no model.safetensors") && Contains("save_pretrained"));
    const std::string pointer =
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 538090408\n";
    write_file(folder.path() / "model.safetensors", pointer);
    CHECK_THAT(
        refusal(),
        Contains("model.safetensors: it is a pointer of git-lfs") && Contains("git lfs pull"));
    write_file(folder.path() / "tokenizer.json", pointer);
    CHECK_THROWS_WITH(read_text(folder.path() / "tokenizer.json", 1000),
                      Contains("tokenizer.json: it is a pointer of git-lfs"));
}

TEST_CASE("a model that overflows says in which type, and which holds more",
          "[model][checkpoint]") {
    const Config config = parse(small());
    RandomCheckpoint checkpoint(config);
    const auto run = [&](ElementType type) {
        const auto backend = cpu_backend(type, 1);
        auto model = Transformer::load(checkpoint.path(), config, *backend);
        KvCache cache(model, 0);
        model.forward(some_tokens(5), cache);
    };
    const auto write = [&](float factor) {
        FloatTensors tensors = checkpoint.tensors;
        for (float& value : tensors["lm_head.weight"].values)
            value *= factor;
        write_file(checkpoint.path() / "model.safetensors",
                   safetensors_file(tensors, ElementType::float32));
    };
    write(1e6f);
    CHECK_THROWS_WITH(run(ElementType::float16),
                      Contains("NaN or infinity in float16 for token 4") &&
                          Contains("--dtype bfloat16 or float32"));
    CHECK_NOTHROW(run(ElementType::bfloat16));
    CHECK_NOTHROW(run(ElementType::float32));
    write(std::numeric_limits<float>::quiet_NaN());
    CHECK_THROWS_WITH(run(ElementType::bfloat16), Contains("choose --dtype float32"));
    CHECK_THROWS_WITH(run(ElementType::float32), Contains("the checkpoint is damaged"));
}
