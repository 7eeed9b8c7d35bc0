// Why a plan takes as long as it does on a device: where the SM time goes, the critical path, and what other hardware
// would buy.
//
// Everything is read off one simulation and a few more of changed devices or kernels; nothing here is estimated.
#pragma once

#include <string>
#include <vector>

#include "sim/bandwidth.h"
#include "sim/simulator.h"

namespace espalier::sim {

/// SM time in SM x us. An SM that holds CTAs works (compute, fixed) or waits for memory; one that holds none is idle
/// for one reason. All parts together are makespan x SMs.
struct SmTimeReasons {
  double compute = 0;      ///< the pipes are what limits its CTAs
  double fixed = 0;        ///< dispatch, prologues, epilogues
  double hbm = 0, l2 = 0;  ///< waits for bandwidth
  double latency = 0;      ///< waits on the latency ramp: too few bytes in flight for the bandwidth there is
  double launch = 0;       ///< empty: nobody on the device, between launches and at barriers
  double few = 0;          ///< empty: there never were CTAs for it
  double tail = 0;         ///< empty while the last CTAs end, none of them longer than the mean of its launch
  double imbalance =
      0;  ///< empty while CTAs run that have had more than the mean of their launch, or longer queues are worked off
  double merge = 0;  ///< empty while only merges run
  double working() const { return compute + fixed; }
  double total() const;
};

/// A stretch of the chain of events that nothing could have shortened but shortening one of its links.
struct PathPart {
  enum class Kind : std::uint8_t { launch_gap, barrier, tasks, steps, idle_worker };
  Kind kind = Kind::tasks;
  scheduler::LaunchId launch;
  std::int32_t phase = -1;  ///< index into Plan::phases, -1 for gaps
  double begin_us = 0, end_us = 0;
  std::int64_t ctas = 0;      ///< one after the other
  std::int32_t longest = -1;  ///< task or step that takes most of it
  double longest_us = 0;
  BoundTimes spent;  ///< gaps: all of it fixed
};
std::string_view path_kind_name(PathPart::Kind kind);

/// The same plan on a device (or with kernels) of which one thing is different.
struct Sensitivity {
  std::string key;         ///< "hbm", for files
  std::string change;      ///< "HBM bandwidth +10 %"
  double makespan_us = 0;  ///< 0: can't be, see why_not
  double gain = 0;         ///< share of the time it saves; negative: it costs
  std::string why_not;
};

struct Explanation {
  SimResult result;
  SmTimeReasons sm_time;
  std::vector<PathPart> path;              ///< from 0 to the makespan without a gap; empty for a plan without launches
  std::vector<Sensitivity> sensitivities;  ///< in a fixed order; of pages where they cost
};

/// One simulation: everything but the sensitivities.
Explanation explain_run(const scheduler::Plan& plan, const costmodel::DeviceSpec& device,
                        const SimOptions& options = {});
/// About a dozen simulations.
Explanation explain(const scheduler::Plan& plan, const costmodel::DeviceSpec& device, const SimOptions& options = {});

/// What each sensitivity simulates, without the rest.
std::vector<Sensitivity> sensitivities(const scheduler::Plan& plan, const costmodel::DeviceSpec& device,
                                       double makespan_us, const SimOptions& options = {});

}  // namespace espalier::sim
