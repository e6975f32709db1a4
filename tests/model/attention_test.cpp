#include "model/cpu/attention.hpp"

#include "core/kernels.hpp"
#include "core/philox.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/reference.hpp"

#include <cmath>
#include <vector>

using namespace kvtape;
using namespace kvtape::model;

namespace {

struct Case {
    std::int32_t query_heads = 4;
    std::int32_t kv_heads = 2;
    std::int32_t head_dim = 16;
    Position tokens = 0;
    Position window = 0;
    Position column_limit = 0;
};

std::vector<float> random_numbers(std::size_t count, std::uint64_t stream) {
    std::vector<float> numbers(count);
    const Philox random(21, stream);
    for (std::size_t i = 0; i < count; ++i)
        numbers[i] = static_cast<float>(4.0 * random.uniform(i) - 2.0);
    return numbers;
}

struct Result {
    std::vector<float> outputs, logsumexp, column_sums;
    bool operator==(const Result&) const = default;
};

/// Attends the whole prompt in chunks of `chunk` rows.
Result attend_in_chunks(const Case& given, Position chunk, int threads) {
    const auto size = [](auto... factors) { return (static_cast<std::size_t>(factors) * ...); };
    const std::int64_t capacity = given.tokens + 3;
    std::vector<float> queries =
        random_numbers(size(given.tokens, given.query_heads, given.head_dim), 1);
    std::vector<float> keys = random_numbers(size(given.kv_heads, capacity, given.head_dim), 2);
    std::vector<float> values = random_numbers(size(given.kv_heads, capacity, given.head_dim), 3);
    Result result;
    result.outputs.resize(queries.size());
    result.logsumexp.resize(size(given.query_heads, given.tokens));
    result.column_sums.resize(size(given.query_heads, capacity));
    const std::int64_t columns = given.query_heads * given.head_dim;
    for (Position first = 0; first < given.tokens; first += chunk) {
        const Position rows = std::min(chunk, given.tokens - first);
        std::vector<float> logsumexp(size(given.query_heads, rows));
        std::vector<CacheSlot> slots;
        for (std::int64_t head = 0; head < given.kv_heads; ++head)
            slots.push_back({.begin = head * capacity, .capacity = capacity, .held = first});
        cpu::attend(ElementType::float32,
                    {.shape = {.layers = 1,
                               .query_heads = given.query_heads,
                               .kv_heads = given.kv_heads,
                               .head_dim = given.head_dim,
                               .hidden_size = 8,
                               .softmax_scale = 0.3,
                               .element_type = ElementType::float32},
                     .queries = {queries.data() + first * columns, rows, columns},
                     .cache = {keys.data(), values.data(), slots},
                     .outputs = {result.outputs.data() + first * columns, rows, columns},
                     .first = first,
                     .window = given.window,
                     .logsumexp = logsumexp.data(),
                     .column_sums = given.column_limit == 0 ? nullptr : result.column_sums.data(),
                     .column_limit = given.column_limit},
                    threads);
        for (std::int32_t head = 0; head < given.query_heads; ++head)
            std::copy_n(logsumexp.begin() + head * rows,
                        rows,
                        result.logsumexp.begin() + head * given.tokens + first);
    }
    return result;
}

/// The same by the definition, in double.
struct Exact {
    std::vector<double> outputs, logsumexp, column_sums;
};
Exact attend_exactly(const Case& given) {
    const auto size = [](auto... factors) { return (static_cast<std::size_t>(factors) * ...); };
    const std::size_t dim = size(given.head_dim), tokens = size(given.tokens);
    const std::size_t heads = size(given.query_heads), capacity = tokens + 3;
    const std::vector<float> queries = random_numbers(tokens * heads * dim, 1);
    const std::vector<float> keys = random_numbers(size(given.kv_heads) * capacity * dim, 2);
    const std::vector<float> values = random_numbers(size(given.kv_heads) * capacity * dim, 3);
    Exact exact{.outputs = std::vector<double>(queries.size()),
                .logsumexp = std::vector<double>(heads * tokens),
                .column_sums = std::vector<double>(heads * capacity)};
    for (std::size_t h = 0; h < heads; ++h) {
        const std::size_t kv = h / (heads / size(given.kv_heads));
        for (std::size_t i = 0; i < tokens; ++i) {
            std::vector<double> logits(i + 1, -INFINITY);
            for (std::size_t j = 0; j <= i; ++j)
                if (given.window == 0 || i - j < static_cast<std::size_t>(given.window))
                    logits[j] = 0.3 * reference::dot(queries.data() + (i * heads + h) * dim,
                                                     keys.data() + (kv * capacity + j) * dim,
                                                     given.head_dim);
            const std::vector<double> p = reference::softmax(logits);
            exact.logsumexp[h * tokens + i] = logits[i] - std::log(p[i]);
            for (std::size_t j = 0; j <= i; ++j) {
                if (i < static_cast<std::size_t>(given.column_limit))
                    exact.column_sums[h * capacity + j] += p[j];
                for (std::size_t c = 0; c < dim; ++c)
                    exact.outputs[(i * heads + h) * dim + c] +=
                        p[j] * static_cast<double>(values[(kv * capacity + j) * dim + c]);
            }
        }
    }
    return exact;
}

double largest_difference(const std::vector<float>& found, const std::vector<double>& exact) {
    double largest = 0.0;
    for (std::size_t i = 0; i < found.size(); ++i)
        largest = std::max(largest, std::abs(static_cast<double>(found[i]) - exact[i]));
    return largest;
}

const std::vector<Case> cases = {
    {.tokens = 1, .column_limit = 1},
    {.tokens = 47, .column_limit = 40},
    {.query_heads = 8, .kv_heads = 8, .head_dim = 24, .tokens = 100, .column_limit = 100},
    {.query_heads = 8, .kv_heads = 2, .head_dim = 8, .tokens = 700, .column_limit = 600},
    {.tokens = 300, .window = 17, .column_limit = 300},
    {.head_dim = 32, .tokens = 1200, .window = 600, .column_limit = 1000},
};

}  // namespace

TEST_CASE("CPU attention, its normaliser and its column sums follow the definition",
          "[model][attention]") {
    const Case given = GENERATE(from_range(cases));
    const Result found = attend_in_chunks(given, 512, 2);
    const Exact exact = attend_exactly(given);
    CHECK(largest_difference(found.outputs, exact.outputs) < 5e-6);
    CHECK(largest_difference(found.logsumexp, exact.logsumexp) < 5e-6);
    // Sums of up to 1,200 probabilities in float32.
    CHECK(largest_difference(found.column_sums, exact.column_sums) < 1e-4);
}

TEST_CASE("CPU attention has the same bits for any threads, chunks and instruction set",
          "[model][attention]") {
    const Case given = GENERATE(from_range(cases));
    const Result expected = attend_in_chunks(given, 512, 1);
    CHECK(attend_in_chunks(given, 512, 7) == expected);
    CHECK(attend_in_chunks(given, 100, 2) == expected);
    CHECK(attend_in_chunks(given, 5, 1) == expected);
    const Isa before = active_isa();
    use_isa(Isa::avx2);
    CHECK(attend_in_chunks(given, 64, 2) == expected);
    use_isa(before);
}

TEST_CASE("every counted query adds a probability of one to the column sums",
          "[model][attention]") {
    const Case given{.tokens = 333, .column_limit = 200};
    const Result found = attend_in_chunks(given, 128, 2);
    for (std::size_t head = 0; head < 4; ++head) {
        double sum = 0.0;
        for (std::size_t i = 0; i < 336; ++i)
            sum += static_cast<double>(found.column_sums[head * 336 + i]);
        CHECK(sum == Approx(200.0).epsilon(1e-6));
        for (std::size_t i = 200; i < 336; ++i)
            CHECK(found.column_sums[head * 336 + i] == 0.0f);
    }
}
