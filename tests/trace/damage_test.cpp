#include "core/error.hpp"
#include "core/philox.hpp"
#include "tests/support/catch.hpp"
#include "tests/trace/samples.hpp"
#include "trace/array.hpp"
#include "trace/check.hpp"
#include "trace/fletcher.hpp"
#include "trace/reader.hpp"
#include "trace/walk.hpp"

#include <optional>
#include <span>

using namespace kvtape;
using namespace kvtape::tests;

namespace {

/// HDF5's loop over big-endian words, carries folded as it does: the twin of ours.
std::uint32_t plain_fletcher32(std::span<const std::byte> data) {
    std::uint32_t first = 0;
    std::uint32_t second = 0;
    const auto fold = [](std::uint32_t sum) { return (sum & 0xffffu) + (sum >> 16); };
    for (std::size_t at = 0; at < data.size(); at += 2) {
        const auto high = std::to_integer<std::uint32_t>(data[at]) << 8;
        const auto low = at + 1 < data.size() ? std::to_integer<std::uint32_t>(data[at + 1]) : 0u;
        first = fold(first + (high | low));
        second = fold(second + first);
    }
    return fold(second) << 16 | fold(first);
}

/// Reads everything a file gives; returns the error if there is one. Anything but `Error` escapes.
std::optional<ErrorKind> read_everything(const std::filesystem::path& path) {
    try {
        const CheckReport report = check_file(path);
        if (!report.clean())
            return ErrorKind::format;
        const auto trace = open_trace(path);
        LayerData data;
        for (std::int32_t index = 0; index < trace->sequences(); ++index)
            for (std::int32_t layer = 0; layer < trace->info().shape.layers; ++layer)
                trace->load(index, layer, always_recorded, data);
    } catch (const Error& error) {
        CHECK(std::string_view(error.what()).find('\n') == std::string_view::npos);
        return error.kind();
    }
    return std::nullopt;
}

/// The bytes between the first and the last stored element of a dataset, found by its content.
std::size_t place_of(const std::string& file, const std::vector<float>& content) {
    const std::string bytes(reinterpret_cast<const char*>(content.data()),
                            content.size() * sizeof(float));
    return file.find(bytes);
}

}  // namespace

TEST_CASE("the checksum is the one HDF5 computes", "[trace][fletcher]") {
    const Philox random(7);
    constexpr std::size_t sizes[] = {
        0, 1, 2, 3, 63, 64, 65, 127, 719, 720, 721, 16383, 16384, 16385, 70001};
    for (const std::size_t size : sizes) {
        INFO(size);
        std::vector<std::byte> data(size);
        for (std::size_t i = 0; i < size; ++i)
            data[i] = std::byte(random.below(i, 256));
        CHECK(fletcher32(data) == plain_fletcher32(data));
        std::fill(data.begin(), data.end(), std::byte{0xff});
        CHECK(fletcher32(data) == plain_fletcher32(data));
        std::fill(data.begin(), data.end(), std::byte{0});
        CHECK(fletcher32(data) == plain_fletcher32(data));
    }
}

TEST_CASE("every flipped bit in a tensor is found and its dataset named", "[trace][damage]") {
    const Folder folder;
    write_sample(folder / "a.kvtape.h5", sample_info(), 1);
    const std::string good = bytes_of_file(folder / "a.kvtape.h5");
    const SequenceInfo sequence = sample_sequence();
    const LayerData layer = sample_layer(sample_info().shape, sequence, 1);
    const std::vector<float> head(layer.keys.begin(), layer.keys.begin() + 20 * 8);
    const std::size_t begin = place_of(good, head);
    REQUIRE(begin != std::string::npos);
    for (std::size_t bit = 0; bit < head.size() * 32; bit += 97) {
        std::string bad = good;
        bad[begin + bit / 8] = static_cast<char>(bad[begin + bit / 8] ^ (1 << bit % 8));
        write_bytes(folder / "b.kvtape.h5", bad);
        const CheckReport report = check_file(folder / "b.kvtape.h5");
        REQUIRE(report.findings.size() == 1);
        CHECK(report.findings[0].object == "/sequences/0000/layers/001/keys");
        LayerData data;
        CHECK_THROWS_WITH(open_trace(folder / "b.kvtape.h5")->load(0, 1, {.keys = true}, data),
                          Catch::Matchers::Contains("layers/001/keys is damaged"));
    }
}

TEST_CASE("flips anywhere give an error or nothing, never a crash", "[trace][damage]") {
    const Folder folder;
    write_sample(folder / "a.kvtape.h5", sample_info(), 1);
    const std::string good = bytes_of_file(folder / "a.kvtape.h5");
    REQUIRE(read_everything(folder / "a.kvtape.h5") == std::nullopt);
    const Philox random(11);
    int found = 0;
    for (std::uint64_t round = 0; round < 300; ++round) {
        std::string bad = good;
        const std::size_t at = random.below(2 * round, static_cast<std::uint32_t>(good.size()));
        bad[at] = static_cast<char>(bad[at] ^ (1 << random.below(2 * round + 1, 8)));
        write_bytes(folder / "b.kvtape.h5", bad);
        INFO("byte " << at);
        found += read_everything(folder / "b.kvtape.h5") ? 1 : 0;
    }
    CHECK(found > 30);
}

TEST_CASE("a file cut short is refused at any length", "[trace][damage]") {
    const Folder folder;
    write_sample(folder / "a.kvtape.h5", sample_info(), 1);
    const std::string good = bytes_of_file(folder / "a.kvtape.h5");
    for (std::size_t length = 0; length < good.size(); length += 1 + good.size() / 101) {
        INFO(length);
        write_bytes(folder / "b.kvtape.h5", good.substr(0, length));
        CHECK(read_everything(folder / "b.kvtape.h5") == ErrorKind::format);
    }
    write_bytes(folder / "b.kvtape.h5", good.substr(0, good.size() - 1));
    CHECK(read_everything(folder / "b.kvtape.h5") == ErrorKind::format);
}

TEST_CASE("an image of anything is refused or read, never a crash", "[trace][damage]") {
    const std::string good = bytes_of_file(golden("grouped-bfloat16.kvtape.h5"));
    for (const std::size_t length :
         {std::size_t{0}, std::size_t{1}, std::size_t{96}, std::size_t{4096}, good.size() / 2}) {
        const std::string image = good.substr(0, length);
        CHECK_THROWS_AS(open_trace_image(std::as_bytes(std::span(image))), Error);
    }
}

TEST_CASE("golden files check clean", "[trace][golden]") {
    int files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(golden(""))) {
        if (entry.path().extension() != ".h5")
            continue;
        INFO(entry.path());
        const CheckReport report = check_file(entry.path());
        CHECK(report.clean());
        CHECK(report.recomputed == report.fingerprint);
        CHECK(report.kind == (entry.path().string().find("decisions") == std::string::npos
                                  ? FileKind::trace
                                  : FileKind::decisions));
        ++files;
    }
    CHECK(files == 8);
}
