#include "tests/support/catch.hpp"
#include "tests/trace/edited.hpp"
#include "trace/check.hpp"
#include "trace/schema.hpp"

using namespace kvtape;
using namespace kvtape::tests;

namespace {

constexpr char keys_path[] = "/sequences/0000/layers/001/keys";

h5::Type float32() {
    return h5::stored_type(ElementType::float32);
}
h5::Type int32() {
    return h5::stored_type(h5::Number::int32);
}

using Catch::Matchers::Contains;

}  // namespace

TEST_CASE("an edited trace with nothing wrong reads", "[trace][hostile]") {
    const Edited same([](hid_t) {});
    CHECK(same.complaint() == "");
    const Edited more([](hid_t file) {
        const h5::Group group(H5Gcreate2(file, "/notes", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
        replace_text(file, "/", schema::trace_mark, "1.7");
    });
    CHECK(more.complaint() == "");
}

TEST_CASE("versions and marks decide whether a file is ours", "[trace][hostile]") {
    const Edited newer([](hid_t file) { replace_text(file, "/", schema::trace_mark, "2.0"); });
    CHECK_THAT(newer.complaint(), Contains("schema version 2.0") && Contains("reads version 1"));
    const Edited words([](hid_t file) { replace_text(file, "/", schema::trace_mark, "new"); });
    CHECK_THAT(words.complaint(), Contains("'new'"));
    const Edited none([](hid_t file) { H5Adelete(file, schema::trace_mark); });
    CHECK_THAT(none.complaint(), Contains("has no attribute kvtape_trace"));
    CHECK_THROWS_WITH(check_file(none.path()), Contains("not a file of kvtape"));
    const Edited number(
        [](hid_t file) { replace_attribute(file, "/", schema::trace_mark, int32(), 1); });
    CHECK_THAT(number.complaint(), Contains("of type int32, expected string"));
}

TEST_CASE("the root is checked before anything else", "[trace][hostile]") {
    const Edited heads([](hid_t file) {
        replace_attribute(file, "/", schema::query_heads, int32(), std::int32_t{5});
    });
    CHECK_THAT(heads.complaint(), Contains("query_heads is 5") && Contains("edited.kvtape.h5"));
    const Edited layers([](hid_t file) {
        replace_attribute(file, "/", schema::layers, int32(), std::int32_t{2000000000});
    });
    CHECK_THAT(layers.complaint(), Contains("layers is 2000000000, expected 1 to 1000"));
    const Edited wide([](hid_t file) {
        replace_attribute(
            file, "/", schema::head_dim, h5::stored_type(h5::Number::int64), std::int64_t{8});
    });
    CHECK_THAT(wide.complaint(), Contains("head_dim of type int64, expected int32"));
    const Edited type([](hid_t file) { replace_text(file, "/", schema::element_type, "int4"); });
    CHECK_THAT(type.complaint(), Contains("'int4', expected float32"));
    const Edited windows(
        [](hid_t file) { replace_text(file, "/", schema::sliding_window, "[1]"); });
    CHECK_THAT(windows.complaint(), Contains("sliding_window has 1 entries, expected 2"));
    const Edited rope(
        [](hid_t file) { replace_text(file, "/", schema::rope, "{\"a\":1,\"a\":2}"); });
    CHECK_THAT(rope.complaint(), Contains("twice"));
}

TEST_CASE("what rope says must fit the heads", "[trace][hostile]") {
    const auto complaint = [](const std::string& text) {
        return Edited([&](hid_t file) { replace_text(file, "/", schema::rope, text); }).complaint();
    };
    CHECK(complaint("{}") == "");
    CHECK(complaint(R"({"rotary_dim": 4, "layout": "interleaved", "inv_freq": [1, 0.1]})") == "");
    CHECK_THAT(complaint(R"({"theta": -1})"), Contains("theta -1, expected a positive number"));
    CHECK_THAT(complaint(R"({"theta": "a"})"), Contains("expected a positive number"));
    CHECK_THAT(complaint(R"({"layout": "hald"})"), Contains("expected half or interleaved"));
    CHECK_THAT(complaint(R"({"rotary_dim": 10})"), Contains("expected an even number up to 8"));
    CHECK_THAT(complaint(R"({"rotary_dim": 3})"), Contains("expected an even number up to 8"));
    CHECK_THAT(complaint(R"({"inv_freq": [1, 0.1]})"), Contains("expected a list of 4 numbers"));
    CHECK_THAT(complaint(R"({"rotary_dim": 4, "inv_freq": [1, -0.1]})"),
               Contains("numbers that are not negative"));
}

TEST_CASE("a complete file has a fingerprint", "[trace][hostile]") {
    const auto complaint = [](const std::string& text) {
        return Edited([&](hid_t file) { replace_text(file, "/", schema::fingerprint, text); })
            .complaint();
    };
    CHECK_THAT(complaint(std::string(32, '0')), Contains("a fingerprint of zeros"));
    CHECK_THAT(complaint(std::string(31, 'a')), Contains("expected 32 hexadecimal digits"));
    CHECK_THAT(complaint(std::string(32, 'g')), Contains("expected 32 hexadecimal digits"));
}

TEST_CASE("shapes, types and ranks that do not fit are named with what was expected",
          "[trace][hostile]") {
    const Edited shape([](hid_t file) { replace_array(file, keys_path, float32(), {2, 19, 8}); });
    CHECK_THAT(shape.complaint(),
               Contains(keys_path) && Contains("has shape 2x19x8, expected 2x20x8"));
    const Edited rank([](hid_t file) { replace_array(file, keys_path, float32(), {320}); });
    CHECK_THAT(rank.complaint(), Contains("has shape 320, expected 2x20x8"));
    const Edited type([](hid_t file) {
        replace_array(file, keys_path, h5::stored_type(ElementType::bfloat16), {2, 20, 8});
    });
    CHECK_THAT(type.complaint(), Contains("holds bfloat16, expected float32"));
    const Edited group([](hid_t file) {
        remove(file, keys_path);
        const h5::Group made(H5Gcreate2(file, keys_path, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    });
    CHECK_THAT(group.complaint(), Contains("keys as a group, expected a dataset"));
    const Edited gone([](hid_t file) { remove(file, "/sequences/0000/layers/001/outputs"); });
    CHECK_THAT(gone.complaint(), Contains("has no outputs"));
    const Edited gap([](hid_t file) {
        H5Lmove(file, "/sequences/0000", file, "/sequences/0001", H5P_DEFAULT, H5P_DEFAULT);
    });
    CHECK_THAT(gap.complaint(), Contains("holds '0001', expected 0000"));
}

TEST_CASE("absurd sizes are refused before memory is taken", "[trace][hostile]") {
    const Edited tokens([](hid_t file) {
        replace_array(file, "/sequences/0000/tokens", int32(), {hsize_t{1} << 40}, {1024});
    });
    CHECK_THAT(tokens.complaint(), Contains("more than a file of"));
    const Edited chunk([](hid_t file) {
        replace_array(file, "/sequences/0000/tokens", int32(), {hsize_t{1} << 30}, {1 << 29});
    });
    CHECK_THAT(chunk.complaint(), Contains("larger than the file can hold"));
    const Edited empty([](hid_t file) {
        replace_array(
            file, "/sequences/0000/text", h5::stored_type(h5::Number::uint8), {(1 << 20) + 1});
    });
    CHECK_FALSE(empty.complaint().empty());
}

TEST_CASE("links that leave the file or turn in circles are not followed", "[trace][hostile]") {
    const Edited external([](hid_t file) {
        remove(file, "/sequences/0000");
        H5Lcreate_external("other.h5", "/x", file, "/sequences/0000", H5P_DEFAULT, H5P_DEFAULT);
    });
    CHECK_THAT(external.complaint(), Contains("soft or external link"));
    const Edited soft([](hid_t file) {
        remove(file, keys_path);
        H5Lcreate_soft(
            "/sequences/0000/layers/000/keys", file, keys_path, H5P_DEFAULT, H5P_DEFAULT);
    });
    CHECK_THAT(soft.complaint(), Contains("soft or external link"));
    const Edited circle([](hid_t file) {
        H5Lcreate_hard(file, "/", file, "/sequences/0000/again", H5P_DEFAULT, H5P_DEFAULT);
    });
    CHECK_THROWS_WITH(check_file(circle.path()), Contains("another path also reaches"));
    const Edited outside([](hid_t file) {
        remove(file, "/sequences/0000/tokens");
        const hsize_t size = 20;
        const h5::Space space(H5Screate_simple(1, &size, nullptr));
        const h5::Properties creation(H5Pcreate(H5P_DATASET_CREATE));
        H5Pset_external(creation.get(), "/etc/passwd", 0, 80);
        const h5::Type type = int32();
        const h5::Dataset made(H5Dcreate2(file,
                                          "/sequences/0000/tokens",
                                          type.get(),
                                          space.get(),
                                          H5P_DEFAULT,
                                          creation.get(),
                                          H5P_DEFAULT));
        REQUIRE(made.valid());
    });
    CHECK_THAT(outside.complaint(), Contains("data in other files"));
}

TEST_CASE("values that contradict each other are named", "[trace][hostile]") {
    const Edited context([](hid_t file) {
        replace_attribute(file, "/sequences/0000", schema::context_len, int32(), std::int32_t{17});
    });
    CHECK_THAT(context.complaint(), Contains("/sequences/0000: context_len is 17"));
    const Edited prompt([](hid_t file) {
        replace_attribute(file, "/sequences/0000", schema::prompt_len, int32(), std::int32_t{-3});
    });
    CHECK_THAT(prompt.complaint(), Contains("prompt_len is -3"));
    const Edited judged([](hid_t file) {
        replace_attribute(file,
                          "/sequences/0000",
                          schema::correct,
                          h5::stored_type(h5::Number::int8),
                          std::int8_t{2});
    });
    CHECK_THAT(judged.complaint(), Contains("correct is 2, expected -1 to 1"));
    const Edited offsets([](hid_t file) {
        replace_array(
            file, "/sequences/0000/text_offsets", h5::stored_type(h5::Number::int64), {21});
    });
    CHECK_THAT(offsets.complaint(), Contains("text_offsets run from 0 to 0"));
    const Edited positions(
        [](hid_t file) { replace_array(file, "/sequences/0000/query_positions", int32(), {10}); });
    CHECK_THAT(positions.complaint(), Contains("query_positions hold 0 after 0"));
}

TEST_CASE("changed content is found by the fingerprint alone", "[trace][hostile]") {
    const Edited other([](hid_t file) { replace_text(file, "/sequences/0000", "answer", "4712"); });
    CHECK(other.complaint() == "");
    const CheckReport report = check_file(other.path());
    REQUIRE(report.findings.size() == 1);
    CHECK_THAT(report.findings[0].problem, Contains("has fingerprint"));
}

TEST_CASE("what lies outside of every checksum is verified by the fingerprint",
          "[trace][hostile]") {
    const Edited guarded([](hid_t file) { replace_text(file, "/sequences/0000", "answer", "1"); });
    CHECK_NOTHROW(open_trace(guarded.path())->verify());
    const Edited zeros([](hid_t file) {
        replace_array(file, "/sequences/0000/layers/001/column_sums", float32(), {4, 20});
    });
    CHECK(zeros.complaint() == "");
    CHECK_THROWS_WITH(
        open_trace(zeros.path())->verify(),
        Contains("edited.kvtape.h5: / has fingerprint") && Contains("it was changed or damaged"));
}
