#include "core/error.hpp"
#include "model/backend.hpp"
#include "model/transformer.hpp"
#include "tests/model/backend_checks.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/ragged_attention.hpp"

#include <filesystem>
#include <functional>
#include <iostream>
#include <string>
#include <vector>

using namespace kvtape;
using namespace kvtape::model;
using namespace kvtape::testing;

namespace {

/// Runs `body` on a GPU for every element type, or says why it cannot.
void on_gpu(const std::function<void(Backend&)>& body) {
    if (const std::string reason = cuda_unavailable(); !reason.empty()) {
        std::cout << "skipped: " << reason << '\n';
        SUCCEED(reason);
        return;
    }
    for (const ElementType type : types) {
        CAPTURE(name_of(type));
        body(*cuda_backend(type, 0));
    }
}

}  // namespace

TEST_CASE("cuda_backend fails with the reason that cuda_unavailable gives", "[model][cuda]") {
    const std::string reason = cuda_unavailable();
    if (reason.empty()) {
        CHECK(cuda_backend(ElementType::float32, 0)->name() == "cuda");
        return;
    }
    try {
        cuda_backend(ElementType::float32, 0);
        FAIL("a backend without a GPU");
    } catch (const Error& error) {
        CHECK(error.kind() == ErrorKind::device);
        CHECK(std::string(error.what()).find(reason) != std::string::npos);
        CHECK(std::string(error.what()).find("cpu backend") != std::string::npos);
    }
}

TEST_CASE("the cuda backend says what it runs on", "[model][cuda][gpu]") {
    on_gpu([](Backend& backend) {
        CHECK(backend.name() == "cuda");
        CHECK(backend.description().find("compute capability") != std::string::npos);
        CHECK(backend.description().find("cuBLASLt") != std::string::npos);
    });
}

TEST_CASE("a GPU that does not exist is a device error", "[model][cuda][gpu]") {
    on_gpu([](Backend& backend) {
        for (const int device : {-1, 4096}) {
            try {
                cuda_backend(backend.element_type(), device);
                FAIL("a backend on no GPU");
            } catch (const Error& error) {
                CHECK(error.kind() == ErrorKind::device);
                CHECK(std::string(error.what()).find(std::to_string(device)) != std::string::npos);
            }
        }
    });
}

TEST_CASE("more memory than the GPU has is an error that says how much is free",
          "[model][cuda][gpu]") {
    on_gpu([](Backend& backend) {
        constexpr std::size_t petabyte = std::size_t{1} << 50;
        try {
            backend.allocate(petabyte);
            FAIL("a petabyte of GPU memory");
        } catch (const Error& error) {
            const std::string text = error.what();
            CHECK(error.kind() == ErrorKind::device);
            CHECK(text.find(std::to_string(petabyte)) != std::string::npos);
            CHECK(text.find("bytes are free") != std::string::npos);
        }
        // The failure is not blamed on what comes next.
        const Buffer after = put(backend, {1.0f, 2.0f});
        CHECK(backend.to_host(after.data(), 2) == std::vector<float>{1.0f, 2.0f});
    });
}

TEST_CASE("what goes to the GPU comes back, and clearing gives zeros", "[model][cuda][gpu]") {
    on_gpu([](Backend& backend) {
        const auto values = random_values(backend.element_type(), 1000, 1);
        const Buffer buffer = put(backend, values);
        CHECK(backend.to_host(buffer.data(), values.size()) == values);
        backend.clear(buffer.data(), buffer.bytes());
        CHECK(backend.to_host(buffer.data(), values.size()) == std::vector<float>(values.size()));
    });
}

TEST_CASE("weights of every stored type become elements, rounded to nearest",
          "[model][cuda][gpu]") {
    on_gpu(check_prepare);
}

TEST_CASE("a token outside the table is refused before it reaches the GPU", "[model][cuda][gpu]") {
    on_gpu([](Backend& backend) {
        const StoredWeight table(backend, std::vector<float>(20), 5, 4);
        const Buffer out = backend.allocate(4 * sizeof(float));
        for (const std::int32_t token : {-1, 5}) {
            const std::vector<std::int32_t> tokens = {token};
            CHECK_THROWS_AS(backend.embed(tokens, *table, {out.data(), 1, 4}), Error);
        }
    });
}

TEST_CASE("rms_norm divides rows by their root mean square", "[model][cuda][gpu]") {
    on_gpu(check_rms_norm);
}

TEST_CASE("linear multiplies by the transposed weight without TF32", "[model][cuda][gpu]") {
    on_gpu(check_linear);
}

TEST_CASE("linear takes rows that begin anywhere in a buffer", "[model][cuda][gpu]") {
    on_gpu(check_linear_offset);
}

TEST_CASE("rope rotates pairs half a head apart by the angle of their position",
          "[model][cuda][gpu]") {
    on_gpu(check_rope);
}

TEST_CASE("swiglu and add work element by element", "[model][cuda][gpu]") {
    on_gpu(check_elementwise);
}

TEST_CASE("attention, its log-sum-exp and its column sums match double arithmetic",
          "[model][cuda][gpu]") {
    on_gpu(check_shapes);
}

TEST_CASE("attention takes a prompt in chunks of any size", "[model][cuda][gpu]") {
    on_gpu(check_chunks);
}

TEST_CASE("attention within a sliding window sees only that window", "[model][cuda][gpu]") {
    on_gpu(check_windows);
}

TEST_CASE("attention stays exact when one key takes nearly everything", "[model][cuda][gpu]") {
    on_gpu(check_steep);
}

TEST_CASE("queries at or above the column limit add nothing", "[model][cuda][gpu]") {
    on_gpu(check_column_limit);
}

TEST_CASE("attention gives the same bits every time, and for every chunk size",
          "[model][cuda][gpu]") {
    on_gpu([](Backend& backend) {
        AttentionCase test{.type = backend.element_type(),
                           .query_heads = 8,
                           .kv_heads = 2,
                           .length = 600,
                           .column_limit = 600};
        const AttentionResult once = run_attention(backend, test);
        CHECK(run_attention(backend, test) == once);
        test.chunk = 77;
        const AttentionResult chunked = run_attention(backend, test);
        CHECK(chunked.outputs == once.outputs);
        CHECK(chunked.logsumexp == once.logsumexp);
    });
}

TEST_CASE("attention on a GPU over heads that hold differently many entries matches doubles",
          "[model][cuda][gpu]") {
    on_gpu([](Backend& backend) {
        const bool exact = backend.element_type() == ElementType::float32;
        for (RaggedCase test : {RaggedCase{},
                                RaggedCase{.group = 4, .held = {0, 300, 17}, .rows = 1},
                                RaggedCase{.group = 1, .held = {129, 1, 0, 640}, .rows = 140},
                                RaggedCase{.rows = 90, .first = 500, .column_limit = 533}}) {
            test.type = backend.element_type();
            const RaggedResult found = run_ragged(backend, test), expected = reference_ragged(test);
            CHECK(largest_difference(found.outputs, expected.outputs) < (exact ? 2e-5 : 2e-2));
            CHECK(largest_difference(found.column_sums, expected.column_sums) < 1e-3);
        }
    });
}

TEST_CASE("a cache that evicts gives device memory back", "[model][cuda][gpu]") {
    on_gpu([](Backend& backend) {
        auto model = Transformer::load(
            std::filesystem::path(KVTAPE_SOURCE_DIR) / "data/needle-model", backend);
        KvCache cache(model, 0);
        std::vector<std::int32_t> tokens(3000, 17);
        model.forward(tokens, cache);
        const std::int64_t before = cache.bytes();
        Decision decision(model.shape().layers, model.shape().kv_heads);
        for (std::int32_t layer = 0; layer < model.shape().layers; ++layer)
            for (std::int32_t head = 0; head < model.shape().kv_heads; ++head)
                for (Position position = head; position < 3000; position += 30)
                    decision[{layer, head}].push_back(position);
        cache.apply(decision);
        CHECK(cache.bytes() < before / 10);
        CHECK(model.forward(std::span(tokens).first(3), cache).size() ==
              static_cast<std::size_t>(model.config().vocabulary));
    });
}

TEST_CASE("linear gives the same bits every time", "[model][cuda][gpu]") {
    on_gpu([](Backend& backend) {
        const Buffer in = put(backend, random_values(backend.element_type(), 33 * 1024, 11));
        const StoredWeight prepared(
            backend, random_values(backend.element_type(), 128 * 1024, 12), 128, 1024);
        const auto run = [&] {
            const Buffer out = backend.allocate(33 * 128 * sizeof(float));
            backend.linear({in.data(), 33, 1024}, *prepared, nullptr, {out.data(), 33, 128});
            return backend.to_host(out.data(), 33 * 128);
        };
        const std::vector<float> once = run();
        for (int again = 0; again < 5; ++again)
            CHECK(run() == once);
    });
}

TEST_CASE("a head size without whole vectors is a device error", "[model][cuda][gpu]") {
    on_gpu([](Backend& backend) {
        const AttentionCase test{.type = backend.element_type(), .head_dim = 20, .length = 3};
        CHECK_THROWS_AS(run_attention(backend, test), Error);
    });
}

TEST_CASE("the needle model computes the same on both backends", "[model][cuda][gpu]") {
    const std::filesystem::path directory =
        std::filesystem::path(KVTAPE_SOURCE_DIR) / "data/needle-model";
    std::vector<std::int32_t> tokens(300);
    for (std::size_t i = 0; i < tokens.size(); ++i)
        tokens[i] = static_cast<std::int32_t>(i * 37 + 11) % 1280;
    struct Run {
        std::vector<float> logits, keys, column_sums;
    };
    const auto run = [&](Backend& backend) {
        auto model = Transformer::load(directory, backend);
        KvCache cache(model, 280);
        Run result;
        result.logits = model.forward(tokens, cache, nullptr, 128);
        const std::int32_t last = model.config().layers - 1;
        result.keys = cache.keys(last);
        result.column_sums = cache.column_sums(last);
        return result;
    };
    on_gpu([&](Backend& gpu) {
        const auto cpu = cpu_backend(gpu.element_type(), 2);
        const Run expected = run(*cpu);
        const Run found = run(gpu);
        // Roundings to the element type differ in places and pass through six layers.
        const double tolerance = 1e-4 + 16.0 * rounding(gpu.element_type());
        CHECK(largest_difference(found.logits, expected.logits) < 8.0 * tolerance);
        CHECK(largest_difference(found.keys, expected.keys) < 8.0 * tolerance);
        CHECK(largest_difference(found.column_sums, expected.column_sums) < 20.0 * tolerance);
    });
}
