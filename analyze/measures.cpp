#include "analyze/measures.hpp"

namespace kvtape {

std::vector<std::unique_ptr<Measure>> all_measures(const std::vector<Result>& results,
                                                   SceneSizes sizes) {
    std::vector<std::unique_ptr<Measure>> measures;
    measures.push_back(bias_measure(results, sizes));
    measures.push_back(redundancy_measure(results, sizes));
    measures.push_back(damage_measure(results, sizes));
    measures.push_back(paging_measure(results, sizes));
    return measures;
}

}  // namespace kvtape
