// From sweeps to probes to records: measurement/1 of the device at hand.
#include "apps/cuda_calibration.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <map>

#include "core/error.h"
#include "core/text.h"
#include "costmodel/regression.h"
#include "kernels/device_plan.h"
#include "sim/calibration/fit.h"
#include "sim/calibration/microbenchmark_models.h"

namespace espalier::apps {
namespace {

using costmodel::DeviceSpec;
using costmodel::MeasuredFamily;

/// Most telling first, for runs that are cut off; quick ones end before C6.
constexpr std::array<std::string_view, 22> kOrder = {"C0", "C12", "C3",  "C5",  "C21", "C13", "C7", "C15",
                                                     "C1", "C9",  "C8",  "C10", "C11", "C19", "C2", "C4",
                                                     "C6", "C20", "C18", "C14", "C16", "C17"};
constexpr std::string_view kFirstNotQuick = "C6";
constexpr double kQuickMostCycles = 1e9;

kernels::ProbeValues points_of(std::string_view id, const DeviceSpec& device, bool quick) {
  kernels::ProbeValues points = sim::find_model(id).sweep(device);
  if (quick && id == "C21") std::erase_if(points, [](const auto& p) { return p[0] > kQuickMostCycles; });
  return points;
}

/// What doesn't fit the device is a reason as any other; an error of another kind means that nothing runs any more.
kernels::ProbeTimes answer(const ProbeRunner& run, std::string_view id, const kernels::ProbePoint& point) {
  try {
    return run(id, point);
  } catch (const kernels::PlanRefused& refusal) {
    return {{}, refusal.what()};
  }
}

std::size_t number_of(std::string_view id) {
  const auto& all = costmodel::microbenchmark_families();
  return static_cast<std::size_t>(std::find_if(all.begin(), all.end(), [&](const auto& f) { return f.id == id; }) -
                                  all.begin());
}

}  // namespace

DeviceSpec nearest_device(const kernels::ProbeTarget& target) {
  costmodel::MeasurementFile reported;
  reported.query = target.query;
  try {
    return sim::base_device(std::span(&reported, 1));
  } catch (const core::Error&) {
    DeviceSpec device = costmodel::find_device("h100-sxm");
    for (const costmodel::DeviceField& field : costmodel::device_fields()) {
      if (const auto found = target.query.find(field.name); found != target.query.end()) {
        device.*field.member = found->second;
      }
    }
    return device;
  }
}

void add_point(MeasuredFamily& family, const std::vector<double>& parameters, const std::vector<double>& repeats_us) {
  ESPALIER_CHECK(!repeats_us.empty() && (family.parameters.empty() || family.parameters.size() == parameters.size()));
  family.parameters.resize(parameters.size());
  for (std::size_t p = 0; p < parameters.size(); ++p) family.parameters[p].push_back(parameters[p]);
  const double median = costmodel::quantile(repeats_us, 0.5);
  family.repeats.push_back(static_cast<std::int32_t>(repeats_us.size()));
  family.median_us.push_back(median);
  family.spread.push_back((costmodel::quantile(repeats_us, 0.75) - costmodel::quantile(repeats_us, 0.25)) / median);
}

CudaCalibration measure_device(const kernels::ProbeTarget& target, const ProbeRunner& run,
                               const CudaCalibrationOptions& options) {
  CudaCalibration out;
  out.file.environment = {target.device, target.driver, costmodel::kernel_build_hash()};
  out.file.query = target.query;
  out.file.method = target.method;
  const DeviceSpec device = nearest_device(target);
  const auto begin = std::chrono::steady_clock::now();
  const auto late = [&] {
    return options.seconds > 0 &&
           std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() > options.seconds;
  };
  std::string lost;
  for (const std::string_view id : kOrder) {
    if (options.quick && id == kFirstNotQuick) break;
    if (!lost.empty() || late()) {
      out.left_out.push_back(fmt::format("{}: {}", id, lost.empty() ? "out of time" : lost));
      continue;
    }
    MeasuredFamily family;
    family.id = id;
    const kernels::ProbeValues wanted = points_of(id, device, options.quick);
    std::size_t unfit = wanted.size();
    std::map<std::string, int> reasons;
    try {
      for (const kernels::ProbePoint& point : kernels::plan_probes(id, wanted, device)) {
        const kernels::ProbeTimes times = answer(run, id, point);
        if (times.us.empty() && times.why_not.empty()) continue;
        --unfit;
        if (times.us.empty()) {
          ++reasons[times.why_not];
        } else {
          add_point(family, point.parameters, times.us);
        }
      }
    } catch (const core::Error& error) {
      lost = error.what();
      out.left_out.push_back(fmt::format("{}: {}", id, lost));
      lost = fmt::format("the device was lost in {}", id);
    }
    for (const auto& [why, points] : reasons) {
      out.left_out.push_back(fmt::format("{}: {} of {} points, n/a: {}", id, points, wanted.size(), why));
    }
    if (lost.empty() && unfit > 0) {
      out.left_out.push_back(fmt::format("{}: {} of {} points, which the device can't run or which repeat another", id,
                                         unfit, wanted.size()));
    }
    if (family.points() > 0) out.file.families.push_back(std::move(family));
  }
  std::sort(out.file.families.begin(), out.file.families.end(),
            [](const MeasuredFamily& a, const MeasuredFamily& b) { return number_of(a.id) < number_of(b.id); });
  return out;
}

}  // namespace espalier::apps
