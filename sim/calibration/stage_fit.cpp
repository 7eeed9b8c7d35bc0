// One stage at a time: the numbers that its points can move, their best values, and a verdict on each.
#include "sim/calibration/stage_fit.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "core/text.h"
#include "costmodel/regression.h"

namespace espalier::sim {
namespace {

constexpr double kCollinear = 0.995;
constexpr std::size_t kLeastSensitive = 3;
/// A time that is longer by this share shows a cost; and the least cost looked at, as a share of a usual one.
constexpr double kShows = 0.05, kFinest = 1e-3;
/// A law that misses by more than this at the median, and by more than twice what repeats differ by, doesn't describe
/// its points.
constexpr double kWorstMedian = 0.10;

class StageFit {
 public:
  StageFit(const FitStage& stage, const Samples& samples, const Findings& frozen, CalibrationSubject& subject)
      : stage_(stage), frozen_(frozen), subject_(subject) {
    for (const std::string_view id : stage.families) {
      const auto found = samples.find(id);
      if (found == samples.end()) continue;
      samples_.insert(samples_.end(), found->second.begin(), found->second.end());
      if (!family_.empty()) family_ += ", ";
      family_ += id;
      if (stage.families.front() == "C21") break;  // C0 only in its place
    }
  }

  /// Fits what may be fitted into the subject. With `findings`, says of each number whether the points identify it.
  void run(bool search, Findings* findings) {
    choose(findings);
    if (free_.empty()) return;
    if (samples_.size() < free_.size() + 2) {
      refuse_all(findings, fmt::format("too few points: {} for {} of {}", samples_.size(),
                                       core::counted(static_cast<std::int64_t>(free_.size()), "number"), family_));
      return;
    }
    const CalibrationSubject before = subject_;
    stage_.curve ? fit_curve(search) : fit_costs();
    if (findings != nullptr) judge(*findings, before);
  }

 private:
  bool is_nuisance(std::string_view name) const {
    return std::find(stage_.nuisance.begin(), stage_.nuisance.end(), name) != stage_.nuisance.end();
  }

  void refuse(Findings* findings, std::string_view name, std::string why) const {
    if (findings == nullptr || is_nuisance(name)) return;
    Finding& finding = (*findings)[std::string(name)];
    finding.family = family_.empty() ? std::string(stage_.families.front()) : family_;
    if (finding.why_not.empty()) finding.why_not = std::move(why);
  }
  void refuse_all(Findings* findings, const std::string& why) const {
    for (const CalibrationParameter* p : free_) refuse(findings, p->name, why);
  }

  /// The parameters that the points can move at all.
  void choose(Findings* findings) {
    std::vector<std::string_view> names = stage_.parameters;
    names.insert(names.end(), stage_.nuisance.begin(), stage_.nuisance.end());
    for (const std::string_view name : names) {
      const CalibrationParameter& p = calibration_parameter(name);
      if (samples_.empty()) {
        refuse(findings, name, fmt::format("no points of {}", stage_.families.front()));
      } else if (p.get(subject_) == 0 && p.is_rate) {
        refuse(findings, name, "the base device has none");
      } else if (const auto found = frozen_.find(name); found == frozen_.end() || found->second.why_not.empty()) {
        const auto moves = [&](const Sample& s) { return std::abs(slope(s, p, subject_)) > 1e-9; };
        if (std::any_of(samples_.begin(), samples_.end(), moves)) {
          free_.push_back(&p);
        } else {
          refuse(findings, name, fmt::format("no point of {} depends on it", family_));
        }
      }
    }
  }

  /// As little as makes a difference; logarithms of nothing can't be searched.
  static double least(const CalibrationParameter& p) { return p.logarithmic ? std::max(p.low, 1e-6 * p.high) : p.low; }

  /// What a number is at present or, of a cost that is nothing as yet, a little of it.
  static double unit_of(const CalibrationParameter& p, const CalibrationSubject& at) {
    const double value = p.get(at);
    return value == 0 && p.logarithmic ? p.high * 1e-3 : value;
  }

  /// d log time / d log parameter at `at`.
  static double slope(const Sample& sample, const CalibrationParameter& p, const CalibrationSubject& at) {
    constexpr double kStep = 1e-3;
    CalibrationSubject moved = at;
    const double value = p.get(at);
    if (!p.logarithmic) {  // a share: by what it changes itself, since none may be its value
      p.set(moved, value - kStep);
      return std::log(predicted(sample, at) / predicted(sample, moved)) / kStep;
    }
    if (value == 0) {  // a cost that may be nothing: does a little of it show?
      p.set(moved, unit_of(p, at));
      return std::log(predicted(sample, moved) / predicted(sample, at)) / std::log(2.0);
    }
    p.set(moved, value * (1 - kStep));
    return std::log(predicted(sample, moved) / predicted(sample, at)) / std::log(1 - kStep);
  }

  void fit_curve(bool search) {
    std::vector<costmodel::CurveParameter> parameters;
    for (const CalibrationParameter* p : free_) {
      parameters.push_back({unit_of(*p, subject_), least(*p), p->high, p->logarithmic});
    }
    std::vector<double> log_times;
    for (const Sample& s : samples_) log_times.push_back(std::log(s.us));
    CalibrationSubject tried = subject_;
    const costmodel::PredictLog predict = [&](std::span<const double> values, std::size_t i) {
      for (std::size_t k = 0; k < free_.size(); ++k) free_[k]->set(tried, values[k]);
      return std::log(predicted(samples_[i], tried));
    };
    const std::vector<double> values = costmodel::fit_curve(parameters, log_times, predict, search);
    for (std::size_t k = 0; k < free_.size(); ++k) free_[k]->set(subject_, values[k]);
  }

  /// Times are affine in the costs (a rate's cost is its inverse): the matrix is read off the predictions themselves.
  void fit_costs() {
    CalibrationSubject none = subject_;
    std::vector<double> unit;
    for (const CalibrationParameter* p : free_) {
      unit.push_back(unit_of(*p, subject_));
      p->set(none, p->is_rate ? INFINITY : 0);
    }
    costmodel::Rows rows;
    std::vector<double> right;
    for (const Sample& s : samples_) {
      const double constant = predicted(s, none);
      std::vector<double> row;
      for (std::size_t k = 0; k < free_.size(); ++k) {
        CalibrationSubject one = none;
        free_[k]->set(one, unit[k]);
        row.push_back((predicted(s, one) - constant) / s.us);
      }
      rows.push_back(std::move(row));
      right.push_back(1 - constant / s.us);
    }
    const std::vector<double> share = costmodel::robust_nonnegative(rows, right);
    for (std::size_t k = 0; k < free_.size(); ++k) {
      const double value = free_[k]->is_rate ? unit[k] / share[k] : unit[k] * share[k];
      free_[k]->set(subject_, std::clamp(value, free_[k]->low, free_[k]->high));
    }
  }

  /// The least of a cost that the points would show as more than is fitted: three of them by more than they scatter. 0
  /// if none would.
  double least_that_shows(const CalibrationParameter& p) const {
    CalibrationSubject more = subject_;
    for (double value = std::max(2 * p.get(subject_), unit_of(p, subject_) * kFinest); value <= p.high; value *= 1.1) {
      p.set(more, value);
      const auto shows = std::count_if(samples_.begin(), samples_.end(), [&](const Sample& s) {
        return std::log(predicted(s, more) / predicted(s, subject_)) > std::max(kShows, 2 * s.spread);
      });
      if (static_cast<std::size_t>(shows) >= kLeastSensitive) return value;
    }
    return 0;
  }

  void judge(Findings& findings, const CalibrationSubject& before) {
    // A number that ended at the edge of its range (often because another took its part) is looked at where it began.
    CalibrationSubject inside = subject_;
    for (const CalibrationParameter* p : free_) {
      const double value = p->get(subject_);
      if (value <= least(*p) || value >= p->high) p->set(inside, p->get(before));
    }
    std::vector<double> errors, spreads;
    costmodel::Rows jacobian;
    for (const Sample& s : samples_) {
      errors.push_back(std::abs(std::log(predicted(s, subject_) / s.us)));
      spreads.push_back(s.spread);
      std::vector<double> row;
      for (const CalibrationParameter* p : free_) row.push_back(slope(s, *p, inside));
      jacobian.push_back(std::move(row));
    }
    const double error = costmodel::quantile(errors, 0.5);
    if (error > std::max(kWorstMedian, 2 * costmodel::quantile(spreads, 0.5))) {
      refuse_all(&findings, fmt::format("the law misses the points of {} by {:.0f} % at the median", family_,
                                        100 * std::expm1(error)));
      subject_ = before;
      return;
    }
    const std::vector<costmodel::Identification> told = costmodel::identify(jacobian);
    const auto n = static_cast<double>(samples_.size());
    for (std::size_t k = 0; k < free_.size(); ++k) {
      const CalibrationParameter& p = *free_[k];
      if (is_nuisance(p.name)) continue;
      Finding& finding = findings[std::string(p.name)];
      finding.family = family_;
      finding.scatter = std::sqrt(n / (n - static_cast<double>(free_.size())));
      const double value = p.get(subject_);
      const bool is_low =
          told[k].correlation <= kCollinear && (told[k].sensitive < kLeastSensitive || value <= least(p));
      finding.most = is_low && p.may_be_nothing() ? least_that_shows(p) : 0;
      if (finding.most > 0) {
        refuse(&findings, p.name,
               fmt::format("too little to tell from nothing: {} at most {:.3g} {}", family_, finding.most, p.unit));
      } else if (told[k].sensitive < kLeastSensitive) {
        refuse(&findings, p.name,
               fmt::format("only {} of {} points of {} depend on it", told[k].sensitive, samples_.size(), family_));
      } else if (told[k].correlation > kCollinear) {
        refuse(&findings, p.name,
               fmt::format("collinear with {}: the points of {} only fix the two together",
                           free_[told[k].partner]->name, family_));
      } else if (value <= least(p) || value >= p.high) {
        refuse(&findings, p.name, fmt::format("the fit ends at {:g}, the edge of its range", value));
      }
    }
  }

  const FitStage& stage_;
  const Findings& frozen_;
  CalibrationSubject& subject_;
  std::vector<Sample> samples_;
  std::vector<const CalibrationParameter*> free_;
  std::string family_;
};

}  // namespace

const std::vector<FitStage>& fit_stages() {
  static const std::vector<FitStage> stages = {
      {{"C21", "C0"}, {"clock_ghz"}},
      {{"C12"}, {"launch_stream_us", "launch_graph_us", "launch_pdl_us"}, {"cta_start_ns"}},
      {{"C15"}, {"grid_sync_us"}},
      {{"C1"}, {"hbm_read_fraction", "stream_latency_ns", "stream_exponent"}, {}, true},
      {{"C3"}, {"hbm_latency_ns", "hbm_ramp_exponent"}, {}, true},
      {{"C4"}, {"bulk_latency_ns"}, {}, true},
      {{"C7"}, {"l2_latency_ns", "idle_latency_ns"}},
      {{"C5"}, {"l2_bytes_per_clk", "l2_knee_mib", "l2_knee_exponent", "sm_port_bytes_per_clk"}, {}, true},
      {{"C6"}, {"l2_merge_fraction"}, {}, true},
      {{"C8"}, {"smem_bytes_per_clk"}},
      {{"C9"}, {"mma_flop_per_clk", "wgmma_flop_per_clk", "fp8_rate_factor"}, {}, true},
      {{"C10"}, {"ex2_per_clk", "fma_flop_per_clk", "fp8_convert_per_clk"}},
      {{"C11"}, {"overlap"}, {}, true},
      {{"C12", "C13"}, {"cta_start_ns", "cta_end_ns", "tile_efficiency"}},
      {{"C2"}, {"write_gbps", "turnaround_ns_per_kib"}},
      {{"C19"}, {"page_ns"}, {}, true},
      {{"C14"},
       {"barrier_cycles", "named_barrier_cycles", "phase_barrier_cycles", "cluster_barrier_cycles",
        "barrier_warp_cycles", "phase_warp_cycles"}},
      {{"C16"}, {"address_reductions_per_clk", "reductions_per_clk"}, {}, true},
      {{"C17"}, {"dispatch_by_room"}, {}, true},
      {{"C18"}, {"stream_overlap"}, {}, true},
      {{"C20"}, {"merge_row_ns", "merge_part_ns"}, {}, true},
  };
  return stages;
}

double predicted(const Sample& sample, const CalibrationSubject& subject) {
  return sample.model->predict_us(sample.point, subject);
}

void run_stages(const Samples& samples, const Findings& frozen, bool search, CalibrationSubject& subject,
                Findings* findings) {
  for (const FitStage& stage : fit_stages()) StageFit(stage, samples, frozen, subject).run(search, findings);
}

}  // namespace espalier::sim
