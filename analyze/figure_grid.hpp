#pragma once

#include <cstddef>
#include <optional>
#include <vector>

namespace kvtape {

/// One KV head of one sequence, by index.
struct HeadPlace {
    std::size_t sequence = 0;
    std::size_t layer = 0;
    std::size_t head = 0;
};

/// A head, the heads of a layer (no head), or all (neither): what a row of a table is about.
struct HeadGroup {
    std::optional<std::size_t> layer, head;
};

/// Every group in the order of the rows: heads, layers, all.
std::vector<HeadGroup> head_groups(std::size_t layers, std::size_t heads);

/// Figures of every (sequence, layer, KV head), not a number where there is none. Threads may write
/// different heads.
class FigureGrid {
  public:
    FigureGrid(std::size_t sequences, std::size_t layers, std::size_t heads, std::size_t figures);

    double& at(HeadPlace place, std::size_t figure) { return values_[index(place, figure)]; }
    double at(HeadPlace place, std::size_t figure) const { return values_[index(place, figure)]; }

    /// One value for each sequence that has any: the mean over the heads of the group.
    std::vector<double> by_sequence(std::size_t figure, HeadGroup group) const;
    /// The same, heads weighed by another figure; sequences in which the weights add up to 0 are
    /// left out.
    std::vector<double> by_sequence(std::size_t figure, std::size_t weight, HeadGroup group) const;

    /// Over the heads of the group and all sequences.
    double sum(std::size_t figure, HeadGroup group) const;

    std::size_t layers() const { return layers_; }
    std::size_t heads() const { return heads_; }

  private:
    std::size_t index(HeadPlace place, std::size_t figure) const {
        return ((place.sequence * layers_ + place.layer) * heads_ + place.head) * figures_ + figure;
    }
    /// Calls `visit(place)` for the heads of the group in one sequence.
    template <typename Visit>
    void for_each(std::size_t sequence, HeadGroup group, const Visit& visit) const;
    template <typename Weight>
    std::vector<double> means(std::size_t figure, HeadGroup group, const Weight& weight) const;

    std::size_t sequences_, layers_, heads_, figures_;
    std::vector<double> values_;
};

}  // namespace kvtape
