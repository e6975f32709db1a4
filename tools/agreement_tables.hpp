#pragma once

#include "analyze/verification.hpp"
#include "sim/bootstrap.hpp"
#include "sim/csv.hpp"

#include <string>
#include <vector>

namespace kvtape {

/// agreement.csv (a row for every head and block), drift.csv (for every block) and parting.csv
/// (where kept sets first differ): what `verify` writes, of the pairs that were added.
class AgreementTables {
  public:
    AgreementTables();

    void add(const ResultPair& pair, const PairAgreement& found);

    const Csv& agreement() const { return agreement_; }
    const Csv& drift() const { return drift_; }
    const Csv& parting() const { return parting_; }

  private:
    void add_head(const ResultPair& pair, const PairAgreement& found, const HeadAgreement& head);
    /// The mean over heads of every sequence that got that far, then over sequences.
    void add_drift(const ResultPair& pair, const PairAgreement& found);

    Csv agreement_, drift_, parting_;
    Bootstrap bootstrap_;
};

/// calibration.csv.
std::string calibration_csv(const std::vector<MetricCalibration>& rows);

}  // namespace kvtape
