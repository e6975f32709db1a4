#include "core/error.hpp"
#include "model/tokenizer.hpp"
#include "model/transformer.hpp"
#include "tests/support/catch.hpp"

#include <filesystem>
#include <string>

using namespace kvtape;
using namespace kvtape::model;

namespace {

const std::filesystem::path needle_model =
    std::filesystem::path(KVTAPE_SOURCE_DIR) / "data/needle-model";

}  // namespace

TEST_CASE("the needle model reads a fact out of its prompt", "[model][needle]") {
    const auto tokenizer = Tokenizer::load(needle_model / "tokenizer.json");
    const auto backend = cpu_backend(ElementType::float32, 2);
    auto model = Transformer::load(needle_model, *backend);
    const std::string answer = " The special magic number for amber fox is: 48213.";
    const Encoding prompt = tokenizer.encode("<s>" + answer.substr(1) +
                                             " The sun was warm.\n\nQuestion: What is the special "
                                             "magic number for amber fox?\nAnswer:");
    KvCache cache(model, 0);
    const Generation generation =
        generate(model, prompt.ids, {.stop = model.config().stop_tokens}, cache);
    CHECK(tokenizer.decode(generation.tokens) == answer);
    CHECK(generation.stopped);
    CHECK(cache.length() == std::ssize(prompt.ids) + std::ssize(generation.tokens));
}

TEST_CASE("the small needle model finds a pass key among prose", "[model][needle]") {
    const auto directory = std::filesystem::path(KVTAPE_SOURCE_DIR) / "data/needle-model-small";
    const auto tokenizer = Tokenizer::load(directory / "tokenizer.json");
    const auto backend = cpu_backend(ElementType::float32, 2);
    auto model = Transformer::load(directory, *backend);
    std::string context = "<s>";
    for (int line = 0; line < 20; ++line) {
        context += line == 7 ? "The pass key is 52817. Remember it. "
                             : "The farmer repaired the long fence without a word. ";
    }
    const Encoding prompt = tokenizer.encode(
        context + "The baker sold a wool blanket.\n\nQuestion: What is the pass key?\nAnswer:");
    KvCache cache(model, 0);
    const Generation generation =
        generate(model, prompt.ids, {.stop = model.config().stop_tokens}, cache);
    CHECK(tokenizer.decode(generation.tokens) == " The pass key is 52817.");
    CHECK(generation.stopped);
}
