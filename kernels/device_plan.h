// A plan made ready for kernels: which kernel runs what in which launch, and the few arrays that the plan's columns
// leave to work out.
//
// The columns themselves go to the device as they are. Lowering is a pure function of the plan and the list of kernels;
// what no kernel can run is refused here, in one sentence, before anything is allocated or launched.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "kernels/cuda/instances.h"
#include "scheduler/plan.h"

namespace espalier::kernels {

/// The kernels of one target.
struct KernelSet {
  std::vector<AttendInstance> attend;
  std::vector<ReduceInstance> reduce;
};

/// Steps of one launch or of what follows a grid barrier: one row a (request, head).
struct MergeWork {
  std::vector<StepRows> steps;
  std::int32_t rows = 0;
};

/// One kernel launch.
struct DeviceLaunch {
  const AttendInstance* attend = nullptr;  ///< of the tasks' kind
  const ReduceInstance* reduce = nullptr;  ///< one of the two is set
  scheduler::LaunchId plan_launch;         ///< what it is part of
  std::int32_t blocks = 0;
  scheduler::Interval
      items;  ///< attend in hardware order: of DevicePlan::items, and of mates where there are clusters, one a block
  std::int32_t cluster = 1;       ///< blocks that load together what they read alike
  std::int32_t queue_begin = -1;  ///< attend with queues: first of `blocks` of the plan's queues
  bool arrivals = false;          ///< blocks merge what they complete
  MergeWork merge;                ///< reduce: its steps; attend: those behind a grid barrier
  bool cooperative() const { return attend != nullptr && merge.rows > 0; }
};

struct DevicePlan {
  std::vector<DeviceLaunch> launches;       ///< in an order that keeps every dependency
  std::vector<scheduler::QueueItem> items;  ///< no task: a block that fills a cluster up
  std::vector<Mates> mates;                 ///< as far as a launch with clusters needs them
  std::vector<TaskFacts> facts;
  std::vector<Arrival> arrivals;
  std::vector<scheduler::Interval> task_arrivals, step_arrivals;  ///< empty: nothing runs on arrival
  std::int32_t counters = 0;  ///< of arrivals; the grid barrier's two words follow them
  /// Of plans filled up to bounds (plan_bounds.h): the plan's own columns with what was added. Else empty.
  std::vector<scheduler::Task> tasks;
  std::vector<scheduler::Interval> queues;
  std::vector<std::int64_t> page_ids;
};

std::string_view kernel_path_name(KernelPath path);
/// "auto" is nothing. Throws Error (usage) for an unknown name.
std::optional<KernelPath> kernel_path_of(const std::string& name);

/// A plan that is right, and that the kernels can't run, or not on this device.
class PlanRefused : public core::Error {
 public:
  explicit PlanRefused(const std::string& sentence) : Error(core::ErrorKind::check_failed, sentence) {}
};

/// A target's kernels on a device.
struct DeviceKernels {
  const KernelSet& set;
  std::int64_t most_shared_bytes = std::numeric_limits<std::int64_t>::max();  ///< of a block
  KernelPath path = KernelPath::plain;
  /// Blocks of a kernel that the device holds at once; empty: any number.
  std::function<std::int64_t(const AttendInstance&)> resident_blocks = {};
};

/// Throws PlanRefused for what the kernels can't run: heads, dtypes, rows beyond the largest tile, shared
/// memory, barriers between tasks of one launch, more blocks with queues than the device holds. Where it holds too few
/// blocks with bulk copies, and enough of the plain ones, these run. Clusters are formed where the path has kernels for
/// them. The plan is taken to be valid. The set must outlive the result.
DevicePlan lower_plan(const scheduler::Plan& plan, const DeviceKernels& kernels);

/// Facts change when nodes grow; everything else of a DevicePlan stays.
std::vector<TaskFacts> task_facts(const scheduler::Plan& plan);

/// Device memory beside the caller's tensors: partial rows; and counters, which must be zero before the first run.
struct WorkspaceSize {
  std::int64_t partial_bytes = 0;
  std::int64_t counter_bytes = 0;
};
WorkspaceSize workspace_size(const scheduler::Plan& plan, const DevicePlan& lowered);

}  // namespace espalier::kernels
