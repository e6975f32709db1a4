#pragma once

#include "analyze/scene.hpp"

#include <memory>
#include <vector>

namespace kvtape {

/// bias.csv: what scores and decisions say of positions. The results must outlive it, as for the
/// others.
std::unique_ptr<Measure> bias_measure(const std::vector<Result>& results, SceneSizes sizes);

/// heads.csv: how alike heads are, how sparse, and what could merge.
std::unique_ptr<Measure> redundancy_measure(const std::vector<Result>& results, SceneSizes sizes);

/// damage.csv: what is lost, for whom.
std::unique_ptr<Measure> damage_measure(const std::vector<Result>& results, SceneSizes sizes);

/// paged.csv: decisions rounded to pages.
std::unique_ptr<Measure> paging_measure(const std::vector<Result>& results, SceneSizes sizes);

/// Every measure of a pass, in the order of the tables.
std::vector<std::unique_ptr<Measure>> all_measures(const std::vector<Result>& results,
                                                   SceneSizes sizes);

}  // namespace kvtape
