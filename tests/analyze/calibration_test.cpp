#include "analyze/calibration.hpp"

#include "analyze/kendall.hpp"
#include "analyze/spearman.hpp"
#include "core/error.hpp"
#include "core/philox.hpp"
#include "tests/support/catch.hpp"

#include <cmath>
#include <limits>
#include <vector>

using namespace kvtape;

namespace {

constexpr std::size_t sequences = 8;

/// Cells whose answers are right with a chance that grows with the metric.
std::vector<CalibrationCell> honest_cells(std::size_t count, std::uint64_t seed) {
    std::vector<CalibrationCell> cells;
    const Philox random(seed);
    std::uint64_t word = 0;
    for (std::size_t cell = 0; cell < count; ++cell) {
        const double level = static_cast<double>(cell) / static_cast<double>(count);
        CalibrationCell& one = cells.emplace_back();
        one.task = cell % 2 == 0 ? "passkey" : "where";
        for (std::size_t i = 0; i < sequences; ++i) {
            one.metric.push_back(level + 0.05 * random.uniform(word++));
            one.correct.push_back(random.uniform(word++) < level ? 1.0 : 0.0);
        }
    }
    return cells;
}

double mean(const std::vector<double>& values) {
    double sum = 0.0;
    for (const double value : values)
        sum += value;
    return sum / static_cast<double>(values.size());
}

}  // namespace

TEST_CASE("calibration is the rank correlation of the cells' means", "[analyze][calibration]") {
    const std::vector<CalibrationCell> cells = honest_cells(40, 3);
    std::vector<double> metric, correct;
    for (const CalibrationCell& cell : cells) {
        metric.push_back(mean(cell.metric));
        correct.push_back(mean(cell.correct));
    }
    const Calibration found = calibrate(cells, 2);
    CHECK(found.cells == 40);
    CHECK(found.sequences == 2 * static_cast<std::int64_t>(sequences));
    REQUIRE(found.spearman);
    REQUIRE(found.kendall);
    CHECK(found.spearman->value == Approx(spearman_rho(metric, correct).value()).margin(1e-12));
    CHECK(found.kendall->value ==
          Approx(kendall_tau_b_double(metric, correct).value()).margin(1e-12));
    CHECK(found.spearman->low <= found.spearman->value);
    CHECK(found.spearman->value <= found.spearman->high + 0.05);
    CHECK(found.spearman->low < found.spearman->high);
}

TEST_CASE("calibration does not depend on the number of threads", "[analyze][calibration]") {
    const std::vector<CalibrationCell> cells = honest_cells(12, 5);
    const Calibration one = calibrate(cells, 1), three = calibrate(cells, 3);
    CHECK(one.spearman->low == three.spearman->low);
    CHECK(one.spearman->high == three.spearman->high);
    CHECK(one.kendall->low == three.kendall->low);
}

TEST_CASE("a metric that says nothing has an interval around zero", "[analyze][calibration]") {
    std::vector<CalibrationCell> cells = honest_cells(60, 7);
    const Philox random(9);
    std::uint64_t word = 0;
    for (CalibrationCell& cell : cells)
        for (double& value : cell.metric)
            value = random.uniform(word++);
    const Calibration found = calibrate(cells, 2);
    CHECK(std::abs(found.spearman->value) < 0.4);
}

TEST_CASE("few sequences give a correlation without an interval", "[analyze][calibration]") {
    const std::vector<CalibrationCell> cells = {{"passkey", {0.1, 0.2}, {0.0, 0.0}},
                                                {"passkey", {0.8, 0.9}, {1.0, 1.0}}};
    const Calibration found = calibrate(cells, 1);
    CHECK(found.spearman->value == 1.0);
    CHECK(std::isnan(found.spearman->low));
}

TEST_CASE("cells without a defined metric do not count", "[analyze][calibration]") {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    const std::vector<CalibrationCell> cells = {{"passkey", {0.1, 0.2}, {0.0, 0.0}},
                                                {"passkey", {nan, nan}, {0.0, 1.0}},
                                                {"passkey", {0.8, nan}, {1.0, 1.0}}};
    const Calibration found = calibrate(cells, 1);
    CHECK(found.cells == 2);
    CHECK(found.spearman->value == 1.0);
}

TEST_CASE("constant answers have no correlation", "[analyze][calibration]") {
    const std::vector<CalibrationCell> cells = {{"passkey", {0.1}, {0.0}},
                                                {"passkey", {0.8}, {0.0}}};
    CHECK_FALSE(calibrate(cells, 1).spearman.has_value());
}

TEST_CASE("cells of a task must hold the same sequences", "[analyze][calibration]") {
    const std::vector<CalibrationCell> cells = {{"passkey", {0.1}, {0.0}},
                                                {"passkey", {0.8, 0.9}, {0.0, 1.0}}};
    CHECK_THROWS_AS(calibrate(cells, 1), Error);
}
