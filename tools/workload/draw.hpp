#pragma once

#include "core/philox.hpp"

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

namespace kvtape::workload {

/// Random choices in a row: a Philox stream read word by word.
class Draw {
  public:
    explicit Draw(Philox random) : random_(random) {}

    /// Uniform in (0, 1).
    double uniform() { return random_.uniform(next_++); }
    /// Uniform integer in [0, bound).
    std::size_t below(std::size_t bound) {
        return random_.below(next_++, static_cast<std::uint32_t>(bound));
    }
    /// Uniform integer in [lowest, highest].
    int between(int lowest, int highest) {
        return lowest + static_cast<int>(below(static_cast<std::size_t>(highest - lowest + 1)));
    }
    template <typename Item>
    const Item& choice(const std::vector<Item>& items) {
        return items[below(items.size())];
    }
    /// `count` different numbers below `bound`, in random order.
    std::vector<std::size_t> sample(std::size_t bound, std::size_t count) {
        std::vector<std::size_t> numbers(bound);
        std::iota(numbers.begin(), numbers.end(), std::size_t{0});
        for (std::size_t i = 0; i < count; ++i)
            std::swap(numbers[i], numbers[i + below(bound - i)]);
        numbers.resize(count);
        return numbers;
    }
    /// `count` decimal digits; the first may be 0.
    std::string digits(int count) {
        std::string text;
        for (int i = 0; i < count; ++i)
            text += static_cast<char>('0' + below(10));
        return text;
    }

  private:
    Philox random_;
    std::uint64_t next_ = 0;
};

}  // namespace kvtape::workload
