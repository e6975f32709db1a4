#pragma once

#include <cstddef>
#include <vector>

namespace kvtape {

/// Resizes `values` to `count` floats whose contents do not matter. Where they need more memory
/// than `values` has, the old contents are dropped and the new memory is laid out in large pages if
/// the system has them: a scan over a long context would otherwise wait for its page tables.
void resize_scratch(std::vector<float>& values, std::size_t count);

}  // namespace kvtape
