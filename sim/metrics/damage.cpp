#include "sim/metrics/damage.hpp"

#include "core/kernels.hpp"
#include "core/reduce.hpp"
#include "sim/metrics/output_error.hpp"

#include <algorithm>
#include <numeric>

namespace kvtape {
namespace {

using Index = Eigen::Index;
using DoubleMatrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// Tokens in the order of their classes: the always-kept ones first (class 0), then the context by
/// the budget at which a token survives (class b + 1), those never kept last.
struct Classes {
    std::vector<Position> order;
    std::vector<Index> begins;  ///< of each class in `order`, and the end
};

Classes classify(const NestedSets& sets, Position tokens) {
    const auto context = static_cast<Position>(sets.survives_from.size());
    const auto class_of = [&](Position token) {
        return token >= context ? 0 : sets.survives_from[static_cast<std::size_t>(token)] + 1;
    };
    Classes classes;
    classes.order.resize(static_cast<std::size_t>(tokens));
    std::iota(classes.order.begin(), classes.order.end(), 0);
    std::stable_sort(classes.order.begin(), classes.order.end(), [&](Position a, Position b) {
        return class_of(a) < class_of(b);
    });
    classes.begins.assign(static_cast<std::size_t>(sets.budgets) + 3, 0);
    for (Position token = 0; token < tokens; ++token)
        ++classes.begins[static_cast<std::size_t>(class_of(token)) + 1];
    std::partial_sum(classes.begins.begin(), classes.begins.end(), classes.begins.begin());
    return classes;
}

Matrix gathered_rows(MatrixView matrix, std::span<const Position> rows) {
    Matrix gathered(std::ssize(rows), matrix.cols());
    for (Index i = 0; i < gathered.rows(); ++i)
        gathered.row(i) = matrix.row(rows[static_cast<std::size_t>(i)]);
    return gathered;
}

Matrix gathered_columns(MatrixView matrix, std::span<const Position> columns) {
    Matrix gathered(matrix.rows(), std::ssize(columns));
    for (Index row = 0; row < matrix.rows(); ++row) {
        const float* from = matrix.data() + row * matrix.outerStride();
        float* to = gathered.data() + row * gathered.cols();
        for (std::size_t i = 0; i < columns.size(); ++i)
            to[i] = from[columns[i]];
    }
    return gathered;
}

/// Running state of every probe of one query head while classes are added.
class Accumulation {
  public:
    Accumulation(Index probes, Index dim, Index steps)
        : mass_(static_cast<std::size_t>(probes)),
          output_(DoubleMatrix::Zero(probes, dim)),
          masses_(probes, steps),
          dim_(dim) {
        outputs_.reserve(static_cast<std::size_t>(steps));
    }

    /// `weights` [probes, n] and `values` [n, dim] of one more class.
    void add(MatrixView weights, const Packed& values) {
        if (weights.cols() > 0) {
            partial_.resize(weights.rows(), dim_);
            multiply(weights, values, mutable_view(partial_));
            output_ += partial_.cast<double>();
            for (Index row = 0; row < weights.rows(); ++row)
                mass_[static_cast<std::size_t>(row)] +=
                    ordered_sum(std::span<const float>(weights.data() + row * weights.outerStride(),
                                                       static_cast<std::size_t>(weights.cols())));
        }
        for (Index row = 0; row < masses_.rows(); ++row)
            masses_(row, std::ssize(outputs_)) = mass_[static_cast<std::size_t>(row)];
        outputs_.push_back(output_);
    }

    /// After the last class: fixes what all steps are compared with.
    void finish() {
        const Index last = masses_.cols() - 1;
        for (Index row = 0; row < output_.rows(); ++row)
            for (Index i = 0; i < dim_; ++i)
                output_(row, i) /= masses_(row, last);
    }

    double mass_share(Index row, Index step) const {
        return masses_(row, step) / masses_(row, masses_.cols() - 1);
    }

    /// After `step`.
    double output_error(Index row, Index step) const {
        const DoubleMatrix& sums = outputs_[static_cast<std::size_t>(step)];
        const auto dim = static_cast<std::size_t>(dim_);
        return kvtape::output_error(
            {output_.row(row).data(), dim}, {sums.row(row).data(), dim}, masses_(row, step));
    }

  private:
    std::vector<double> mass_;
    DoubleMatrix output_;  ///< sum of all classes so far; after `finish` the output itself
    DoubleMatrix masses_;
    std::vector<DoubleMatrix> outputs_;
    Matrix partial_;
    Index dim_;
};

}  // namespace

Damage measure_damage(std::span<const MatrixView> attention,
                      MatrixView values,
                      const NestedSets& sets) {
    const Classes classes = classify(sets, static_cast<Position>(values.rows()));
    const Matrix ordered = gathered_rows(values, classes.order);
    std::vector<Packed> packed;
    for (std::size_t c = 0; c + 1 < classes.begins.size(); ++c)
        packed.push_back(Packed::straight(view(ordered.data() + classes.begins[c] * values.cols(),
                                               classes.begins[c + 1] - classes.begins[c],
                                               values.cols())));
    const auto budgets = static_cast<std::size_t>(sets.budgets);
    std::vector<std::vector<double>> masses(budgets), errors(budgets);
    for (const MatrixView& head : attention) {
        const Matrix weights = gathered_columns(head, classes.order);
        Accumulation sum(weights.rows(), values.cols(), std::ssize(packed));
        for (std::size_t c = 0; c < packed.size(); ++c)
            sum.add(MatrixView(weights.data() + classes.begins[c],
                               weights.rows(),
                               classes.begins[c + 1] - classes.begins[c],
                               Eigen::OuterStride<>(weights.cols())),
                    packed[c]);
        sum.finish();
        for (std::size_t budget = 0; budget < budgets; ++budget)
            for (Index row = 0; row < weights.rows(); ++row) {
                const auto step = static_cast<Index>(budget) + 1;
                masses[budget].push_back(sum.mass_share(row, step));
                errors[budget].push_back(sum.output_error(row, step));
            }
    }
    Damage damage;
    for (std::size_t budget = 0; budget < budgets; ++budget) {
        damage.mass_kept.push_back(ordered_mean(masses[budget]));
        damage.output_error_median.push_back(quantile(errors[budget], 0.5));
        damage.output_error_p95.push_back(quantile(errors[budget], 0.95));
    }
    return damage;
}

}  // namespace kvtape
