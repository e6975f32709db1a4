#include "core/json.hpp"
#include "policies/spec.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {

/// A spec that is accepted makes a policy that can say what it is.
void make_and_describe(std::string_view spec) {
    const kvtape::PolicyRun run = kvtape::make_policy(spec);
    kvtape::to_text(run.policy->parameters());
    run.policy->needs();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    return expect_clean_outcome(data, size, make_and_describe);
}
