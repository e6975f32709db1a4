#include "tools/report/figures.hpp"

#include "analyze/csv_table.hpp"
#include "core/error.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

namespace kvtape::report {
namespace {

/// A mean of what is defined.
class Mean {
  public:
    void add(double value, double weight = 1.0) {
        if (std::isnan(value) || std::isnan(weight))
            return;
        sum_ += weight * value;
        weight_ += weight;
    }
    std::optional<double> value() const {
        return weight_ > 0.0 ? std::optional(sum_ / weight_) : std::nullopt;
    }

  private:
    double sum_ = 0.0, weight_ = 0.0;
};

struct Means {
    Mean weighted, recall, mass, error;

    void add(const CsvTable& table, std::size_t row) {
        const double share = table.number(row, "needle_recall");
        weighted.add(share, table.number(row, "needle_recall_weight"));
        recall.add(share);
        mass.add(table.number(row, "mass_kept"));
        error.add(table.number(row, "output_error_median"));
    }
    Figures figures() const {
        return {weighted.value(), recall.value(), mass.value(), error.value()};
    }
};

/// Index of `word`, which is added where it is new.
std::size_t index_of(std::vector<std::string>& words, const std::string& word) {
    const auto found = std::find(words.begin(), words.end(), word);
    if (found != words.end())
        return static_cast<std::size_t>(found - words.begin());
    words.push_back(word);
    return words.size() - 1;
}

std::int32_t place(const CsvTable& table, std::size_t row, const char* column) {
    const double number = table.number(row, column);
    if (!(number >= 0.0 && number < 65536.0))
        throw format_error("reading recall.csv: " + std::string(column) + " of record " +
                           std::to_string(row + 1) + " is '" + table.text(row, column) +
                           "', expected a number from 0 to 65535");
    return static_cast<std::int32_t>(number);
}

std::int64_t whole(const CsvTable& table, std::size_t row, const char* column) {
    const double number = table.number(row, column);
    if (!(number >= 0.0 && number < 9e15))
        throw format_error("reading recall.csv: " + std::string(column) + " of record " +
                           std::to_string(row + 1) + " is '" + table.text(row, column) +
                           "', expected a whole number");
    return static_cast<std::int64_t>(number);
}

/// Reads the rows of recall.csv into cells.
class Collector {
  public:
    explicit Collector(const CsvTable& table) : table_(table) { measure(); }

    Recall take() {
        for (std::size_t row = 0; row < table_.rows(); ++row)
            add(row);
        for (std::size_t i = 0; i < recall_.cells.size(); ++i)
            finish(i);
        for (const Mean& mean : weights_)
            recall_.needle_weight.push_back(mean.value().value_or(0.0));
        name_series();
        return std::move(recall_);
    }

  private:
    struct Open {
        std::map<std::size_t, std::pair<SequenceFigures, Means>> sequences;
        std::vector<Means> heads;
    };

    void measure() {
        for (std::size_t row = 0; row < table_.rows(); ++row) {
            recall_.layers = std::max(recall_.layers, place(table_, row, "layer") + 1);
            recall_.heads = std::max(recall_.heads, place(table_, row, "kv_head") + 1);
        }
        weights_.resize(heads());
    }

    std::size_t heads() const {
        return static_cast<std::size_t>(recall_.layers) * static_cast<std::size_t>(recall_.heads);
    }

    std::size_t cell_of(std::size_t row) {
        const std::vector<std::string> name{table_.text(row, "policy"),
                                            table_.text(row, "budget"),
                                            table_.text(row, "schedule"),
                                            table_.text(row, "query_source")};
        const auto [entry, added] = cells_.try_emplace(name, recall_.cells.size());
        if (added) {
            recall_.cells.push_back({.policy = name[0],
                                     .parameters = table_.text(row, "parameters"),
                                     .budget = name[1],
                                     .schedule = name[2],
                                     .query_source = name[3],
                                     .sequences = {},
                                     .heads = {}});
            open_.push_back({{}, std::vector<Means>(heads())});
        }
        return entry->second;
    }

    std::size_t sequence_of(std::size_t row) {
        const std::size_t sequence = index_of(recall_.sequences, table_.text(row, "sequence"));
        const std::size_t task = index_of(recall_.tasks, table_.text(row, "task"));
        if (sequence == recall_.task_of.size())
            recall_.task_of.push_back(task);
        else if (recall_.task_of[sequence] != task)
            throw format_error("reading recall.csv: sequence " + recall_.sequences[sequence] +
                               " has two tasks; the table mixes traces");
        return sequence;
    }

    void add(std::size_t row) {
        const std::size_t sequence = sequence_of(row);
        const std::size_t cell = cell_of(row);
        ++recall_.cells[cell].rows;
        Open& open = open_[cell];
        auto& [about, means] = open.sequences[sequence];
        about.sequence = sequence;
        about.tokens += whole(table_, row, "tokens");
        about.kept += whole(table_, row, "kept");
        about.kept_bytes += whole(table_, row, "kept_bytes");
        about.heads += 1;
        means.add(table_, row);
        const auto head = static_cast<std::size_t>(place(table_, row, "layer")) *
                              static_cast<std::size_t>(recall_.heads) +
                          static_cast<std::size_t>(place(table_, row, "kv_head"));
        open.heads[head].add(table_, row);
        weights_[head].add(table_.number(row, "needle_recall_weight"));
    }

    void finish(std::size_t index) {
        Cell& cell = recall_.cells[index];
        for (auto& [sequence, open] : open_[index].sequences) {
            open.first.figures = open.second.figures();
            cell.sequences.push_back(open.first);
        }
        for (const Means& head : open_[index].heads)
            cell.heads.push_back(head.figures());
    }

    /// The policy alone where that tells all, with schedule and query source where it does not.
    void name_series() {
        std::map<std::string, std::set<std::string>> schedules, sources;
        std::set<std::string> all_schedules;
        for (const Cell& cell : recall_.cells) {
            all_schedules.insert(cell.schedule);
            sources[cell.policy].insert(cell.query_source);
        }
        for (Cell& cell : recall_.cells) {
            std::string name = cell.policy;
            if (all_schedules.size() > 1)
                name += ", " + cell.schedule;
            if (sources[cell.policy].size() > 1)
                name += ", " + cell.query_source;
            cell.series = index_of(recall_.series, name);
        }
    }

    const CsvTable& table_;
    Recall recall_;
    std::map<std::vector<std::string>, std::size_t> cells_;
    std::vector<Open> open_;
    std::vector<Mean> weights_;
};

}  // namespace

KeptTotals Cell::kept() const {
    KeptTotals totals{.sequences = std::ssize(sequences)};
    for (const SequenceFigures& one : sequences) {
        totals.heads += one.heads;
        totals.tokens += one.tokens;
        totals.kept += one.kept;
    }
    return totals;
}

double Cell::kept_ratio() const {
    return kept().ratio();
}

Recall read_recall(const std::filesystem::path& directory) {
    const CsvTable table = CsvTable::read(directory / "recall.csv",
                                          {"policy",
                                           "parameters",
                                           "budget",
                                           "schedule",
                                           "query_source",
                                           "sequence",
                                           "task",
                                           "layer",
                                           "kv_head",
                                           "tokens",
                                           "kept",
                                           "kept_bytes",
                                           "needle_recall",
                                           "needle_recall_weight",
                                           "mass_kept",
                                           "output_error_median"});
    if (table.rows() == 0)
        throw format_error("reading " + (directory / "recall.csv").string() +
                           ": it holds no results; run kvtape replay into this directory");
    return Collector(table).take();
}

std::optional<Interval> mean_of(const Recall& recall,
                                const Cell& cell,
                                std::optional<double> Figures::*figure,
                                std::optional<std::size_t> task) {
    std::vector<double> values;
    for (const SequenceFigures& one : cell.sequences)
        if ((one.figures.*figure) && (!task || recall.task_of[one.sequence] == *task))
            values.push_back(*(one.figures.*figure));
    return values.empty() ? std::nullopt : std::optional(recall.bootstrap->mean(values));
}

}  // namespace kvtape::report
