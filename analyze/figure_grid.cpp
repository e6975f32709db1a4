#include "analyze/figure_grid.hpp"

#include <cmath>
#include <limits>

namespace kvtape {

std::vector<HeadGroup> head_groups(std::size_t layers, std::size_t heads) {
    std::vector<HeadGroup> groups;
    for (std::size_t layer = 0; layer < layers; ++layer)
        for (std::size_t head = 0; head < heads; ++head)
            groups.push_back({layer, head});
    for (std::size_t layer = 0; layer < layers; ++layer)
        groups.push_back({layer, std::nullopt});
    groups.emplace_back();
    return groups;
}

FigureGrid::FigureGrid(std::size_t sequences,
                       std::size_t layers,
                       std::size_t heads,
                       std::size_t figures)
    : sequences_(sequences),
      layers_(layers),
      heads_(heads),
      figures_(figures),
      values_(sequences * layers * heads * figures, std::numeric_limits<double>::quiet_NaN()) {}

template <typename Visit>
void FigureGrid::for_each(std::size_t sequence, HeadGroup group, const Visit& visit) const {
    const std::size_t layer_end = group.layer ? *group.layer + 1 : layers_;
    const std::size_t head_end = group.head ? *group.head + 1 : heads_;
    for (std::size_t layer = group.layer.value_or(0); layer < layer_end; ++layer)
        for (std::size_t head = group.head.value_or(0); head < head_end; ++head)
            visit(HeadPlace{sequence, layer, head});
}

template <typename Weight>
std::vector<double> FigureGrid::means(std::size_t figure,
                                      HeadGroup group,
                                      const Weight& weight) const {
    std::vector<double> found;
    for (std::size_t sequence = 0; sequence < sequences_; ++sequence) {
        double sum = 0.0, weights = 0.0;
        for_each(sequence, group, [&](HeadPlace place) {
            const double value = at(place, figure), part = weight(place);
            if (std::isnan(value) || std::isnan(part))
                return;
            sum += part * value;
            weights += part;
        });
        if (weights > 0.0)
            found.push_back(sum / weights);
    }
    return found;
}

std::vector<double> FigureGrid::by_sequence(std::size_t figure, HeadGroup group) const {
    return means(figure, group, [](HeadPlace) { return 1.0; });
}

std::vector<double> FigureGrid::by_sequence(std::size_t figure,
                                            std::size_t weight,
                                            HeadGroup group) const {
    return means(figure, group, [&](HeadPlace place) { return at(place, weight); });
}

double FigureGrid::sum(std::size_t figure, HeadGroup group) const {
    double sum = 0.0;
    for (std::size_t sequence = 0; sequence < sequences_; ++sequence)
        for_each(sequence, group, [&](HeadPlace place) {
            const double value = at(place, figure);
            sum += std::isnan(value) ? 0.0 : value;
        });
    return sum;
}

}  // namespace kvtape
