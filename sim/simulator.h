// The simulator: what a plan costs on a device, event by event.
//
// It consumes a plan and a DeviceSpec and nothing else (it never reads a CostModel). Exact counts come from costmodel/,
// L2 reuse from a footprint rule over the launch order, bandwidth is shared max-min under the bytes-in-flight law, CTAs
// are dispatched by the hardware's order or the plan's queues. Deterministic: equal plans give equal bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "costmodel/device_spec.h"
#include "costmodel/work_counts.h"
#include "scheduler/plan.h"
#include "scheduler/timeline.h"

namespace espalier::sim {

/// What limits a CTA or a whole plan at a moment.
enum class Bound : std::uint8_t { hbm, l2, compute, latency, fixed };
inline constexpr int kBounds = 5;
std::string_view bound_name(Bound bound);

/// SM time, in SM x us. The parts sum to makespan x SMs.
struct TimeSplit {
  double busy[kBounds] = {};  ///< SM holds at least one CTA, by what limits its CTAs (fixed: dispatch and epilogues)
  double launch = 0;          ///< no CTA anywhere: gaps between launches and barriers
  double underfill = 0;  ///< SM empty although the launch could still start no more CTAs: it never had enough of them
  double tail = 0;       ///< SM empty while the last CTAs of a launch finish
  double merge = 0;      ///< SM empty during reduction phases
  double total() const;
};

struct PhaseTime {
  scheduler::LaunchId launch;
  std::int32_t phase = 0;  ///< index into Plan::phases
  double begin_us = 0;
  double end_us = 0;
};

/// Which KV reads L2 may serve.
enum class KvReuse : std::uint8_t {
  cold,  ///< of what the plan itself has read before, as between layers
  warm,  ///< also of what may be there from the start
  none,  ///< no read: all come from HBM, as if every task had KV of its own
};

struct SimOptions {
  bool timeline = false;  ///< record spans and counters (costs memory: one span a CTA, up to max_spans)
  std::int64_t max_spans = 200'000;
  KvReuse reuse = KvReuse::cold;
};

struct SimResult {
  std::string device;
  std::uint64_t plan_hash = 0;
  double makespan_us = 0;
  double low_us = 0, high_us = 0;  ///< the makespan's interval, see sim/interval.h; 0: not asked for
  costmodel::WorkCounts counts;    ///< whole plan
  std::int64_t hbm_bytes = 0;      ///< KV misses, queries, outputs, partials that don't stay in L2
  std::int64_t l2_bytes = 0;       ///< everything CTAs read and wrote
  double l2_hit_fraction = 0;      ///< of KV bytes
  Bound bound_by = Bound::fixed;   ///< where most busy time went
  TimeSplit split;
  std::vector<PhaseTime> phases;
  std::vector<Bound> task_bound;  ///< by task id: what limited it longest (padding: fixed)
  scheduler::Timeline timeline;   ///< empty unless asked for
};

struct RunLog;
/// Appends what happened to `log` unless it is null. On a CPU every kernel is what the host executor runs in its place
/// (scheduler/host_form.h).
SimResult simulate(const scheduler::Plan& plan, const costmodel::DeviceSpec& device, const SimOptions& options = {},
                   RunLog* log = nullptr);

struct Explanation;
/// sim/1; with an explanation (of this result) under "explanation".
std::string write_sim(const SimResult& result, const scheduler::Plan& plan, const Explanation* explanation = nullptr);

}  // namespace espalier::sim
