#pragma once

#include "core/types.hpp"

#include <cmath>
#include <vector>

/// Naive double-precision twins of the numeric routines: written to be obviously right, not fast.
namespace kvtape::reference {

/// Softmax of `logits` in double; entries of -inf get 0.
inline std::vector<double> softmax(const std::vector<double>& logits) {
    double largest = -INFINITY;
    for (const double logit : logits)
        largest = std::max(largest, logit);
    std::vector<double> probabilities;
    double sum = 0.0;
    for (const double logit : logits) {
        probabilities.push_back(std::exp(logit - largest));
        sum += probabilities.back();
    }
    for (double& probability : probabilities)
        probability /= sum;
    return probabilities;
}

inline double dot(const float* a, const float* b, Eigen::Index count) {
    double sum = 0.0;
    for (Eigen::Index i = 0; i < count; ++i)
        sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    return sum;
}

}  // namespace kvtape::reference
