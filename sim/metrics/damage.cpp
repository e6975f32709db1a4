#include "sim/metrics/damage.hpp"

#include "core/kernels.hpp"
#include "core/reduce.hpp"

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

    /// After `step`; after the output projection where its norm is given.
    double output_error(Index row, Index step, const OutputNorm* norm) const {
        const DoubleMatrix& sums = outputs_[static_cast<std::size_t>(step)];
        const auto dim = static_cast<std::size_t>(dim_);
        return kvtape::output_error(
            {output_.row(row).data(), dim}, {sums.row(row).data(), dim}, masses_(row, step), norm);
    }

  private:
    std::vector<double> mass_;
    DoubleMatrix output_;  ///< sum of all classes so far; after `finish` the output itself
    DoubleMatrix masses_;
    std::vector<DoubleMatrix> outputs_;
    Matrix partial_;
    Index dim_;
};

/// What one budget does to every probe, query head by query head.
struct ProbeFigures {
    std::vector<double> masses, errors;
    std::vector<double> projected;  ///< empty without norms
};

/// Of `rows` values for each query head, those of a part.
std::vector<double> part_of(const std::vector<double>& values, std::size_t rows, RowRange part) {
    std::vector<double> chosen;
    for (std::size_t head = 0; head + rows <= values.size() && rows > 0; head += rows) {
        const auto first = values.begin() + static_cast<std::ptrdiff_t>(head) + part.first;
        chosen.insert(chosen.end(), first, first + part.count);
    }
    return chosen;
}

void add_figures(Damage& damage, const ProbeFigures& figures, std::size_t rows, RowRange part) {
    damage.mass_kept.push_back(ordered_mean(part_of(figures.masses, rows, part)));
    const std::vector<double> errors = part_of(figures.errors, rows, part);
    damage.output_error_median.push_back(quantile(errors, 0.5));
    damage.output_error_p95.push_back(quantile(errors, 0.95));
    if (figures.projected.empty())
        return;
    const std::vector<double> projected = part_of(figures.projected, rows, part);
    damage.projected_error_median.push_back(quantile(projected, 0.5));
    damage.projected_error_p95.push_back(quantile(projected, 0.95));
}

}  // namespace

std::vector<Damage> measure_damage(std::span<const MatrixView> attention,
                                   MatrixView values,
                                   const NestedSets& sets,
                                   std::span<const RowRange> parts,
                                   std::span<const OutputNorm> norms) {
    const Classes classes = classify(sets, static_cast<Position>(values.rows()));
    const Matrix ordered = gathered_rows(values, classes.order);
    std::vector<Packed> packed;
    for (std::size_t c = 0; c + 1 < classes.begins.size(); ++c)
        packed.push_back(Packed::straight(view(ordered.data() + classes.begins[c] * values.cols(),
                                               classes.begins[c + 1] - classes.begins[c],
                                               values.cols())));
    const auto budgets = static_cast<std::size_t>(sets.budgets);
    std::vector<ProbeFigures> figures(budgets);
    for (std::size_t head = 0; head < attention.size(); ++head) {
        const Matrix weights = gathered_columns(attention[head], classes.order);
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
                figures[budget].masses.push_back(sum.mass_share(row, step));
                figures[budget].errors.push_back(sum.output_error(row, step, nullptr));
                if (!norms.empty())
                    figures[budget].projected.push_back(sum.output_error(row, step, &norms[head]));
            }
    }
    std::vector<Damage> found(parts.size());
    const auto rows = static_cast<std::size_t>(attention.empty() ? 0 : attention[0].rows());
    for (std::size_t part = 0; part < parts.size(); ++part)
        for (const ProbeFigures& of_budget : figures)
            add_figures(found[part], of_budget, rows, parts[part]);
    return found;
}

}  // namespace kvtape
