#include "tools/bench/hashes.hpp"

#include "policies/parts/lsh.hpp"

namespace kvtape::bench {

Json bench_hashes(const Setting& setting, Position tokens, std::int32_t dim) {
    const LshSettings settings;
    const Philox random(1);
    const Matrix candidates = gaussian_matrix(tokens, dim, random.with_stream(1));
    const Matrix question = gaussian_matrix(64, dim, random.with_stream(2));
    const Matrix projection = gaussian_matrix(dim, settings.bits * settings.tables, random);
    const Times times = measure(setting, [&] {
        static_cast<void>(
            lsh_select(view(candidates), view(question), view(projection), settings, tokens / 10));
    });
    Json result = row("hash laser_kv", setting, times);
    result["threads"] = 1;
    result["tokens"] = tokens;
    result["tokens_per_second"] = tokens / times.median;
    return result;
}

}  // namespace kvtape::bench
