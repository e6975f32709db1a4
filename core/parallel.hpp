#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <vector>

namespace kvtape {

/// Calls `body(i)` for every `i` in `[0, count)` on up to `threads` threads. Each call must write
/// only what belongs to its own `i`, so that results do not depend on the number of threads. When
/// calls throw, the exception of the lowest index is rethrown after all have ended.
template <typename Body>
void parallel_for(std::size_t count, int threads, const Body& body) {
    std::vector<std::exception_ptr> failures(count);
    const auto guarded = [&](std::size_t i) {
        try {
            body(i);
        } catch (...) {
            failures[i] = std::current_exception();
        }
    };
    if (threads <= 1 || count <= 1) {
        for (std::size_t i = 0; i < count; ++i)
            guarded(i);
    } else {
#pragma omp parallel for schedule(dynamic) num_threads(threads)
        for (std::size_t i = 0; i < count; ++i)
            guarded(i);
    }
    const auto failed = std::find_if(
        failures.begin(), failures.end(), [](const auto& failure) { return failure != nullptr; });
    if (failed != failures.end())
        std::rethrow_exception(*failed);
}

}  // namespace kvtape
