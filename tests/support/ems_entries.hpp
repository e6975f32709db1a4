#pragma once

#include "tests/support/policy_twins.hpp"
#include "tests/support/twins/ems.hpp"

#include <utility>
#include <vector>

namespace kvtape::testing {

/// Every entry of a view with its statistics.
inline std::vector<reference::EmsEntry> entries_of(const HeadView& head, const Shape& of) {
    const auto group = static_cast<double>(of.group());
    const reference::Row local = reference::oracle(head, of);
    std::vector<reference::EmsEntry> entries;
    for (std::size_t i = 0; i < head.positions.size(); ++i) {
        const auto at = static_cast<Eigen::Index>(i);
        reference::EmsEntry entry{.position = head.positions[i],
                                  .key = {},
                                  .value = {},
                                  .global = 0.0,
                                  .local = local[i] / group};
        for (Eigen::Index c = 0; c < head.keys.cols(); ++c) {
            entry.key.push_back(static_cast<double>(head.keys(at, c)));
            entry.value.push_back(static_cast<double>(head.values(at, c)));
        }
        for (Eigen::Index g = 0; g < head.column_sums.rows(); ++g)
            entry.global += static_cast<double>(head.column_sums(g, at)) / group;
        entries.push_back(std::move(entry));
    }
    return entries;
}

}  // namespace kvtape::testing
