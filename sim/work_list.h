// A plan as the event engine sees it: kinds of CTA, runs of equal CTAs in launch order, and the flow classes they load.
//
// This is where exact counts and L2 reuse turn into fixed times and flows; the engine knows neither kernels nor
// segments.
#pragma once

#include <cstdint>
#include <vector>

#include "costmodel/device_spec.h"
#include "costmodel/work_counts.h"
#include "scheduler/plan.h"
#include "sim/bandwidth.h"

namespace espalier::sim {

/// The life of a CTA, all of it fixed when the plan is: dispatch (device.cta_start_ns, not for padding that extends a
/// CTA) -> exposed latency -> main flow -> io flow -> epilogue. A class of -1 leaves that flow out.
struct CtaKind {
  std::int32_t main_class = -1;  ///< KV of an attend task; scores of a softmax; partial rows of a merge
  double main_bytes = 0;
  std::int32_t io_class = -1;  ///< queries, folded partials and scores, results
  double io_bytes = 0;
  double exposed_us = 0;  ///< latency that a short task's few bytes in flight can't hide
  double burst_us = 0;    ///< what memory needs to serve the requests a CTA opens with
  double end_us = 0;      ///< compute of the padded part of the last KV tile, and the epilogue
  friend auto operator<=>(const CtaKind&, const CtaKind&) = default;
};

/// Equal CTAs: the copies of a task, or the CTAs of a reduction step.
struct Work {
  std::int32_t kind = 0;
  std::int32_t copies = 1;
  std::int32_t item = -1;    ///< task or step id
  std::int32_t run_end = 0;  ///< first work of the same phase after this one that is of another kind
};

struct PhaseWork {
  scheduler::Interval works;
  std::int64_t ctas = 0;
  std::int64_t need = 1;  ///< share of an SM one CTA takes, in WorkList::sm_units
};

struct WorkList {
  std::vector<FlowClass> classes;  ///< counts are 0
  std::vector<CtaKind> kinds;
  std::vector<Work> works;
  std::vector<PhaseWork> phases;  ///< by index of Plan::phases
  std::int64_t sm_units = 1;      ///< of one SM: every kernel's occupancy divides it
  costmodel::WorkCounts counts;
  std::int64_t hbm_bytes = 0, l2_bytes = 0;
  double l2_hit_fraction = 0;
};

/// Of the plan as it stands: for a CPU, give the host's form (scheduler/host_form.h). Throws Error (bad input) when a
/// kernel of the plan doesn't fit the device.
WorkList make_work_list(const scheduler::Plan& plan, const costmodel::DeviceSpec& device,
                        KvReuse reuse = KvReuse::cold);

}  // namespace espalier::sim
