// All stages once for each bootstrap draw, so that what is frozen early passes its uncertainty on.
#include "sim/calibration/fit.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/rng.h"
#include "costmodel/regression.h"
#include "sim/calibration/kept_numbers.h"
#include "sim/calibration/microbenchmark_models.h"
#include "sim/calibration/stage_fit.h"
#include "sim/interval.h"

namespace espalier::sim {
namespace {

using costmodel::DeviceSpec;
using costmodel::MeasuredFamily;
using costmodel::MeasurementFile;

/// No timer and no clock is better.
constexpr double kLeastWidth = 1e-3;

Samples resampled(const Samples& samples, core::Rng& rng) {
  Samples drawn;
  for (const auto& [id, all] : samples) {
    auto& out = drawn[id];
    for (std::size_t i = 0; i < all.size(); ++i) {
      out.push_back(all[static_cast<std::size_t>(rng.integer(0, static_cast<std::int64_t>(all.size()) - 1))]);
    }
  }
  return drawn;
}

struct Spread {
  double low = 0, high = 0;
};

Spread spread_of(const CalibrationParameter& p, double value, const Finding& finding, const Draws& draws) {
  const auto found = draws.find(p.name);
  if (found == draws.end() || found->second.empty()) return {value, value};
  constexpr double kTail = 0.025;
  const double below = std::max(0.0, value - costmodel::quantile(found->second, kTail)),
               above = std::max(0.0, costmodel::quantile(found->second, 1 - kTail) - value);
  const double least = kLeastWidth * std::abs(value);
  return {std::max(p.low, value - std::max(least, finding.scatter * below)),
          std::min(p.high, value + std::max(least, finding.scatter * above))};
}

Samples gather(std::span<const MeasurementFile> files, const CalibrationSubject& base,
               std::vector<FamilyResidual>& residuals) {
  Samples samples;
  for (const costmodel::MicrobenchmarkFamily& known : costmodel::microbenchmark_families()) {
    const MicrobenchmarkModel& model = find_model(known.id);
    FamilyResidual residual{.id = std::string(known.id)};
    for (const MeasurementFile& file : files) {
      const auto of = [&](const MeasuredFamily& f) { return f.id == known.id; };
      const auto family = std::find_if(file.families.begin(), file.families.end(), of);
      if (family == file.families.end()) continue;
      residual.points += family->points();
      for (std::size_t i = 0; i < family->points(); ++i) {
        Sample sample{&model, {}, family->median_us[i], family->spread[i]};
        for (const std::vector<double>& column : family->parameters) sample.point.push_back(column[i]);
        if (model.usable != nullptr && !model.usable(sample.point, base.device)) continue;
        const double us = predicted(sample, base);
        if (std::isfinite(us) && us > 0) samples[std::string(known.id)].push_back(std::move(sample));
      }
    }
    if (residual.points > 0) residuals.push_back(std::move(residual));
  }
  return samples;
}

void score(const Samples& samples, const CalibrationSubject& subject, std::vector<FamilyResidual>& residuals) {
  for (FamilyResidual& residual : residuals) {
    const auto found = samples.find(residual.id);
    if (found == samples.end()) continue;
    std::vector<double> errors, spreads;
    for (const Sample& s : found->second) {
      errors.push_back(std::abs(std::log(predicted(s, subject) / s.us)));
      spreads.push_back(s.spread);
    }
    residual.used = errors.size();
    residual.median = costmodel::quantile(errors, 0.5);
    residual.worst = *std::max_element(errors.begin(), errors.end());
    residual.spread = costmodel::quantile(spreads, 0.5);
  }
}

/// One pass: fit, draws, intervals; numbers whose interval is too wide get their reason.
struct Pass {
  CalibrationSubject subject;
  Findings findings;
  Draws draws;
};

/// Numbers that keep the base's value, each somewhere within its width: what is fitted beside them takes the error
/// over.
void spread_kept(const std::vector<std::string>& kept, const DeviceSpec& base, core::Rng& rng,
                 CalibrationSubject& subject) {
  for (const std::string& name : kept) {
    const CalibrationParameter& p = calibration_parameter(name);
    const double off = kept_half_width(base, name) * (2 * rng.uniform() - 1), value = p.get(subject);
    p.set(subject, std::clamp(p.logarithmic ? value * (1 + off) : value + off, p.low, p.high));
  }
}

/// From `start` on, made of `base`.
Pass one_pass(const Samples& samples, const CalibrationSubject& start, const Findings& frozen, const DeviceSpec& base,
              const CalibrationOptions& options) {
  Pass pass{start, frozen, {}};
  std::vector<std::string> kept;
  for (const auto& [name, finding] : frozen) {
    if (!finding.why_not.empty()) kept.push_back(name);
  }
  run_stages(samples, frozen, true, pass.subject, &pass.findings);
  core::Rng rng(options.seed);
  for (std::int32_t d = 0; d < options.draws; ++d) {
    CalibrationSubject drawn = pass.subject;
    spread_kept(kept, base, rng, drawn);
    run_stages(resampled(samples, rng), pass.findings, false, drawn, nullptr);
    for (const auto& [name, finding] : pass.findings) {
      pass.draws[name].push_back(calibration_parameter(name).get(drawn));
    }
  }
  for (auto& [name, finding] : pass.findings) {
    if (!finding.why_not.empty()) continue;
    const CalibrationParameter& p = calibration_parameter(name);
    const double value = p.get(pass.subject);
    const Spread spread = spread_of(p, value, finding, pass.draws);
    // An interval that is wider is no better than an assumption.
    if (spread.high - spread.low <= 2 * kAssumedHalfWidth * (p.logarithmic ? value : 1)) continue;
    finding.why_not = fmt::format("its interval, {:.4g} to {:.4g}, is wider than +- {:.0f} %{}", spread.low,
                                  spread.high, 100 * kAssumedHalfWidth, p.logarithmic ? "" : " of the whole");
    // A cost that may be nothing, and isn't more than that.
    if (p.may_be_nothing() && spread.low < spread.high / 10) finding.most = spread.high;
    if (const std::string other = followed_by(name, kept, pass.draws); !other.empty()) {
      finding.why_not += fmt::format(": it follows {}, which isn't measured", other);
    }
  }
  return pass;
}

void take_reported(std::span<const MeasurementFile> files, DeviceSpec& device) {
  for (const MeasurementFile& file : files) {
    for (const auto& [name, value] : file.query) {
      for (const costmodel::DeviceField& field : costmodel::device_fields()) {
        if (field.name != name) continue;
        const bool decides = name == "sms" || name == "compute_capability";
        if (decides && device.*field.member != value) {
          throw core::bad_input(fmt::format("base device {}", device.name),
                                fmt::format("the {} that the measured device reports, {:g}", name, value),
                                fmt::format("{:g}", device.*field.member));
        }
        device.*field.member = value;
        device.provenance.insert_or_assign(
            name, costmodel::Provenance{costmodel::Origin::measured, "reported by the device"});
      }
    }
  }
}

}  // namespace

DeviceCalibration calibrate_device(std::span<const MeasurementFile> files, const DeviceSpec& base,
                                   const CalibrationOptions& options) {
  DeviceCalibration out;
  out.device = base;
  out.device.intervals.clear();  // of predictions with other numbers
  take_reported(files, out.device);
  CalibrationSubject start = usual_subject(out.device);
  start.device.provenance.clear();  // copied for every prediction, needed by none
  const Samples samples = gather(files, start, out.residuals);
  if (samples.empty()) {
    throw core::bad_input("measurements", "points of a microbenchmark that shows a number of the device", "none");
  }
  Pass pass = one_pass(samples, start, {}, out.device, options);
  const auto refused = [](const Findings& findings) {
    return std::count_if(findings.begin(), findings.end(), [](const auto& f) { return !f.second.why_not.empty(); });
  };
  // Once more with what can't be told left at the base's value, so that a wild guess bends nothing else; what was
  // refused stays so.
  constexpr int kPasses = 3;
  for (int i = 1; i < kPasses && refused(pass.findings) > 0; ++i) {
    const auto before = refused(pass.findings);
    Pass next = one_pass(samples, start, pass.findings, out.device, options);
    const bool settled = refused(next.findings) == before;
    for (auto& [name, finding] : next.findings) {
      if (!finding.why_not.empty() && !pass.findings[name].why_not.empty()) next.draws[name] = pass.draws[name];
    }
    pass = std::move(next);
    if (settled) break;
  }
  score(samples, pass.subject, out.residuals);
  for (const FitStage& stage : fit_stages()) {
    for (const std::string_view name : stage.parameters) {
      const CalibrationParameter& p = calibration_parameter(name);
      const Finding& finding = pass.findings.at(std::string(name));
      const double value = p.get(pass.subject);
      const Spread spread = finding.why_not.empty() ? spread_of(p, value, finding, pass.draws) : Spread{value, value};
      CalibratedNumber number{.name = std::string(name),
                              .unit = std::string(p.unit),
                              .in_device = p.field != nullptr,
                              .family = finding.family,
                              .base = p.get(start),
                              .fitted = value,
                              .low = spread.low,
                              .high = spread.high,
                              .why_not = finding.why_not};
      const bool none = finding.most > 0 && number.in_device && out.device.*p.field > finding.most;
      if (none) number.why_not += "; taken as none";
      if (number.in_device && number.measured()) {
        out.device.*p.field = value;
        out.device.provenance.insert_or_assign(
            number.name,
            costmodel::Provenance{
                costmodel::Origin::measured,
                fmt::format("{}: {:.4g} to {:.4g} in 95 % of draws, on {}, driver {}", number.family, number.low,
                            number.high, files.front().environment.device, files.front().environment.driver)});
      } else if (none) {
        out.device.*p.field = 0;
        out.device.provenance.insert_or_assign(number.name,
                                               costmodel::Provenance{costmodel::Origin::assumed, number.why_not});
      } else if (number.in_device) {
        keep_as_assumed(out.device, base.name, number.name, number.why_not);
      }
      out.numbers.push_back(std::move(number));
    }
  }
  out.device.name = base.name + "-calibrated";
  out.device.label = files.front().environment.device;
  out.device.calibrated = files.front().environment;
  return out;
}

}  // namespace espalier::sim
