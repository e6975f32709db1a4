#include "policies/spec.hpp"

#include "core/error.hpp"
#include "policies/parts/parameters.hpp"
#include "tests/support/catch.hpp"

#include <string>

using namespace kvtape;

namespace {

/// What a refused spec says.
std::string refusal(std::string_view spec) {
    try {
        make_policy(spec);
    } catch (const Error& error) {
        CHECK(error.kind() == ErrorKind::usage);
        return error.what();
    }
    FAIL("the spec '" << spec << "' was accepted");
    return {};
}

bool says(const std::string& message, std::string_view part) {
    return message.find(part) != std::string::npos;
}

/// The names of all policies, as a message lists them.
std::string joined_names() {
    std::string names;
    for (const PolicyInfo& info : policies::all())
        names += (names.empty() ? "" : ", ") + std::string(info.name);
    return names;
}

}  // namespace

TEST_CASE("a spec is a name, a base and parameters in the order given", "[policies][spec]") {
    const Arguments bare = parse_spec("knorm");
    CHECK(bare.name == "knorm");
    CHECK(bare.base.empty());
    CHECK(bare.values.empty());

    const Arguments full = parse_spec("adakv(snapkv:window=32,pool=max):alpha=0.2,compat=kvpress");
    CHECK(full.name == "adakv");
    CHECK(full.base == "snapkv:window=32,pool=max");
    REQUIRE(full.values.size() == 2);
    CHECK(full.values[0] == std::pair<std::string, std::string>{"alpha", "0.2"});
    CHECK(full.values[1] == std::pair<std::string, std::string>{"compat", "kvpress"});

    CHECK(parse_spec("a(b(c:d=1)):e=2").base == "b(c:d=1)");
}

TEST_CASE("a malformed spec is a usage error that shows the grammar", "[policies][spec]") {
    for (const char* spec :
         {"",           ":",       "()",     "a:",  "a:b",   "a:b=",      "a:=1", "a:b=1,",
          "a:b=1,,c=2", "a(",      "a()",    "a(b", "a(b)c", "a(b))",     "a b",  "a:b=1,b=2",
          "a:b=(1)",    "a:b=c=d", "a:b==1", "\n",  "a\x01", "a:b=1:c=2", "ä"}) {
        INFO("spec: " << spec);
        try {
            parse_spec(spec);
            FAIL_CHECK("accepted");
        } catch (const Error& error) {
            CHECK(error.kind() == ErrorKind::usage);
            CHECK(says(error.what(), "name:param=value"));
        }
    }
    CHECK_THROWS_AS(parse_spec(std::string(100000, '(')), Error);
    CHECK_THROWS_AS(parse_spec("a" + std::string(4000, '(')), Error);
}

TEST_CASE("an unknown policy names the nearest one and all that exist", "[policies][spec]") {
    const std::string message = refusal("snapvk");
    CHECK(says(message, "did you mean 'snapkv'?"));
    CHECK(says(message, joined_names()));
    CHECK(says(refusal("SnapKV"), "there is no policy 'SnapKV' (did you mean 'snapkv'?)"));
    CHECK(says(refusal("H2O"), "did you mean 'h2o'?"));
    CHECK(says(refusal("snapkv:Window=3"), "did you mean 'window'?"));
    for (const char* name : {"adakv", "full", "lagkv", "snapkv", "tova"})
        CHECK(says(joined_names(), name));
    CHECK_FALSE(says(refusal("xyzzy"), "did you mean"));
}

TEST_CASE("an unknown parameter names the nearest one and all that exist", "[policies][spec]") {
    const std::string message = refusal("snapkv:windw=3");
    CHECK(says(message, "no parameter 'windw'"));
    CHECK(says(message, "did you mean 'window'?"));
    CHECK(says(message, "window, kernel, pool, group, votes, reduce, compat"));
    CHECK(says(refusal("full:window=3"), "it has none"));
}

TEST_CASE("a value out of range says what was found and what is allowed", "[policies][spec]") {
    CHECK(says(refusal("snapkv:kernel=4"), "'kernel' is '4'; it must be 1..1023, odd"));
    CHECK(says(refusal("snapkv:pool=mean"), "it must be avg|max"));
    CHECK(says(refusal("snapkv:window=0"), "it must be 1..65536"));
    CHECK(says(refusal("snapkv:window=99999999999"), "it must be 1..65536"));
    CHECK(says(refusal("snapkv:window=3.5"), "it must be 1..65536"));
    CHECK(says(refusal("knorm:compat=kvpres"), "it must be kvpress"));
    CHECK(says(refusal("lagkv:cross=yes"), "it must be 0|1"));
    for (const char* value : {"nan", "inf", "-1", "1e400", "0x1", "1,", "+1"})
        CHECK_THROWS_AS(make_policy("lagkv:v_ratio=" + std::string(value)), Error);
    for (const char* value : {"1+0", "1+1", "-1", "+", "1+", "a"})
        CHECK_THROWS_AS(make_policy("lagkv:skip=" + std::string(value)), Error);
}

TEST_CASE("a base is refused by policies that decide by themselves", "[policies][spec]") {
    CHECK(says(refusal("knorm(snapkv)"), "knorm takes no base policy"));
}

TEST_CASE("combinations without a meaning are refused", "[policies][spec]") {
    CHECK(says(refusal("lagkv:cross=1"), "needs compat=kvpress"));
    CHECK(says(refusal("lagkv:v_ratio=0.5,compat=kvpress"), "v_ratio, skip and use_then_compress"));
    CHECK(says(refusal("lagkv:skip=0,compat=kvpress"), "v_ratio, skip and use_then_compress"));
    CHECK(says(refusal("knorm:skip=1+0"), "layers joined by +"));
    CHECK(says(refusal("lagkv:score=l2,v_ratio=1"), "v_ratio does not exist with score=l2"));
    CHECK(says(refusal("lagkv:score=local,compat=kvpress"), "score=local does not exist"));
    CHECK(says(refusal("h2o:recent=3"), "recent exists with variant=factory alone"));
    CHECK(says(refusal("h2o:variant=factory,grace=3"), "grace exists with variant=normalised"));
}

TEST_CASE("parameters echo every value used with sorted keys", "[policies][spec]") {
    const auto echo = [](std::string_view spec) {
        return to_text(make_policy(spec).policy->parameters());
    };
    CHECK(echo("full") == "{}");
    CHECK(echo("random") == "{}");
    CHECK(echo("h2o") == R"({"grace":32,"recent":32,"variant":"local"})");
    CHECK(echo("tova") == "{}");
    CHECK(echo("knorm:compat=kvpress") == R"({"compat":"kvpress"})");
    CHECK(echo("streaming_llm") == R"({"sinks":4})");
    CHECK(
        echo("snapkv:window=32,kernel=7") ==
        R"({"group":"after","kernel":7,"pool":"avg","reduce":"mean","votes":"mean","window":32})");
    CHECK(
        echo("lagkv:skip=0+3,v_ratio=0.5") ==
        R"({"cross":0,"lag":128,"score":"lag","sinks":16,"skip":[0,3],"use_then_compress":1,"v_ratio":0.5})");
    CHECK(
        echo("lagkv:compat=kvpress") ==
        R"({"compat":"kvpress","cross":0,"lag":128,"score":"lag","sinks":4,"use_then_compress":1,"v_ratio":1.0})");
    CHECK(
        echo("lagkv:compat=kvpress,sinks=8") ==
        R"({"compat":"kvpress","cross":0,"lag":128,"score":"lag","sinks":8,"use_then_compress":1,"v_ratio":1.0})");
}

TEST_CASE("every policy of the table is complete and runs with its defaults", "[policies][spec]") {
    REQUIRE(policies::all().size() >= 9);
    for (const PolicyInfo& info : policies::all()) {
        INFO(info.name);
        CHECK_FALSE(info.summary.empty());
        CHECK_FALSE(info.source.empty());
        const PolicyRun run = make_policy(info.name);
        CHECK(run.info == &info);
        CHECK(run.spec == info.name);
        std::string spec(info.name);
        for (const Parameter& parameter : info.parameters()) {
            CHECK_FALSE(parameter.range.empty());
            CHECK_FALSE(parameter.summary.empty());
            if (parameter.value.empty())
                continue;
            spec += (spec.find(':') == std::string::npos ? ':' : ',') + parameter.name + '=' +
                    parameter.value;
        }
        CHECK(make_policy(spec).policy->parameters() == run.policy->parameters());
    }
}
