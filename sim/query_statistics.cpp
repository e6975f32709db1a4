#include "sim/query_statistics.hpp"

#include "core/query_moments.hpp"
#include "sim/probes.hpp"

#include <span>

namespace kvtape {

bool statistics_recorded(const Needs& needs, const LayerParts& stored) {
    return stored.query_mean && stored.query_covariance &&
           needs.statistics_from == recorded_statistics_from;
}

QueryDistribution query_statistics(const Shape& shape,
                                   const SequenceInfo& sequence,
                                   const QueryRows& queries,
                                   Position from,
                                   const Rotation& rotation) {
    const RowRange rows = rows_between(sequence, from, sequence.context_len);
    const Turns turns(
        rotation,
        std::span(sequence.query_positions)
            .subspan(static_cast<std::size_t>(rows.first), static_cast<std::size_t>(rows.count)));
    const Eigen::Index recorded = std::ssize(sequence.query_positions);
    QueryDistribution found;
    for (Eigen::Index head = queries.first_head; head < queries.first_head + queries.group;
         ++head) {
        QueryMoments moments(shape.head_dim);
        moments.add(turns,
                    view(queries.tensor.data() + (head * recorded + rows.first) * shape.head_dim,
                         rows.count,
                         shape.head_dim));
        const std::vector<float> mean = moments.mean(), covariance = moments.covariance();
        found.mean.insert(found.mean.end(), mean.begin(), mean.end());
        found.covariance.insert(found.covariance.end(), covariance.begin(), covariance.end());
    }
    return found;
}

}  // namespace kvtape
