// Lowering of a plan: kernels for phases, items for blocks, steps for launches.
#include "kernels/device_plan.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>
#include <set>
#include <tuple>

#include "core/error.h"
#include "core/text.h"
#include "kernels/cluster_layout.h"
#include "kernels/execution_order.h"
#include "kernels/plan_refusals.h"
#include "kernels/step_arrivals.h"

namespace espalier::kernels {
namespace {

using scheduler::Interval;
using scheduler::Launch;
using scheduler::LaunchId;
using scheduler::Phase;
using scheduler::PhaseKind;
using scheduler::PhaseStart;
using scheduler::Plan;
using scheduler::StepId;
using scheduler::Task;
using scheduler::TaskId;
using scheduler::TaskKind;

/// Most rows of a copy in a range of tasks.
std::int64_t most_rows(const Plan& plan, Interval tasks) {
  std::int64_t rows = 1;
  for (std::int32_t t = tasks.begin; t < tasks.end; ++t) {
    const Task& task = plan.tasks[TaskId(t)];
    rows = std::max(rows, std::int64_t{task.queries.size()} * task.head_count);
  }
  return rows;
}

/// What tasks of a launch ask of a kernel.
struct Wanted {
  TaskKind kind = TaskKind::attend;
  std::int64_t query_tile = 0, kv_tile = 0, stages = 0;
  std::int64_t rows = 1;  ///< of the largest task
  bool clusters = false;
};

Wanted wanted(const Plan& plan, const Phase& phase) {
  Wanted w;
  const costmodel::KernelConfig& kernel = plan.kernels[phase.kernel];
  w.query_tile = kernel.query_tile;
  w.kv_tile = kernel.kv_tile;
  w.stages = kernel.stages;
  std::set<TaskKind> kinds;
  for (std::int32_t t = phase.range.begin; t < phase.range.end; ++t) {
    if (const TaskKind kind = plan.tasks[TaskId(t)].kind; kind != TaskKind::padding) kinds.insert(kind);
  }
  if (kinds.size() > 1) {
    refuse(fmt::format("{} and {} tasks in one phase", scheduler::kind_name(*kinds.begin()),
                       scheduler::kind_name(*kinds.rbegin())));
  }
  if (!kinds.empty()) w.kind = *kinds.begin();
  // A block of the softmax goes through its rows one by one.
  if (w.kind == TaskKind::softmax) {
    w.query_tile = 1;
  } else {
    w.rows = most_rows(plan, phase.range);
  }
  return w;
}

/// The kernel with the tile the plan names, or the next larger one; a smaller one that still holds all rows where there
/// is none. Of equal tiles, the one furthest along the path; one for clusters where they are wanted; then the one with
/// the plan's KV tile and stages.
const AttendInstance& task_instance(const Plan& plan, const DeviceKernels& kernels, const Wanted& want) {
  const auto fitness = [&](const AttendInstance& i) {
    const bool holds = i.query_tile >= std::max(want.query_tile, want.rows);
    return std::tuple(!holds, holds ? i.query_tile : -i.query_tile, -static_cast<int>(i.path),
                      i.clusters != want.clusters, i.kv_tile != want.kv_tile, i.stages != want.stages);
  };
  const AttendInstance *chosen = nullptr, *too_large = nullptr;
  for (const AttendInstance& i : kernels.set.attend) {
    if (i.kind != want.kind || !fits_heads(i, plan.heads) || i.path > kernels.path || (i.clusters && !want.clusters)) {
      continue;
    }
    if (i.shared_bytes > kernels.most_shared_bytes) {
      too_large = &i;
    } else if (chosen == nullptr || fitness(i) < fitness(*chosen)) {
      chosen = &i;
    }
  }
  if (chosen == nullptr && too_large == nullptr) {
    refuse(fmt::format("no kernel for {} tasks with heads {}", scheduler::kind_name(want.kind),
                       traces::heads_text(plan.heads)));
  }
  if (chosen == nullptr) {
    refuse(fmt::format("kernel {} takes {} of shared memory, a block here has at most {}", too_large->name,
                       core::bytes_text(too_large->shared_bytes), core::bytes_text(kernels.most_shared_bytes)));
  }
  if (chosen->query_tile < want.rows && want.kind != TaskKind::softmax) {
    refuse(fmt::format("tasks of {} rows, where the largest tile for heads {} has {}", want.rows,
                       traces::heads_text(plan.heads), chosen->query_tile));
  }
  return *chosen;
}

const ReduceInstance& reduce_instance(const Plan& plan, const KernelSet& kernels) {
  const auto found = std::find_if(kernels.reduce.begin(), kernels.reduce.end(),
                                  [&](const ReduceInstance& r) { return r.v_dim == plan.heads.v_dim; });
  if (found == kernels.reduce.end()) refuse(fmt::format("no merge kernel for values of {} columns", plan.heads.v_dim));
  return *found;
}

MergeWork merge_work(const Plan& plan, const std::vector<std::int32_t>& steps) {
  MergeWork work;
  for (const std::int32_t s : steps) {
    const auto& step = plan.steps[StepId(s)];
    if (step.rows <= 0 || step.head_count <= 0) continue;
    work.steps.push_back({s, work.rows});
    work.rows += step.rows * step.head_count;
  }
  return work;
}

bool stores_scores(const Plan& plan) {
  return std::any_of(plan.tasks.begin(), plan.tasks.end(), [](const Task& t) { return t.kind == TaskKind::scores; });
}

/// Launches in an order in which each comes after those it waits for, and as written where it is free.
std::vector<LaunchId> launch_order(const Plan& plan) {
  LaunchWaits launches = launch_waits(plan);
  std::set<std::size_t> ready;
  for (std::size_t l = 0; l < launches.waits.size(); ++l) {
    if (launches.waits[l] == 0) ready.insert(l);
  }
  std::vector<LaunchId> order;
  while (!ready.empty()) {
    const std::size_t l = *ready.begin();
    ready.erase(ready.begin());
    order.push_back(LaunchId(l));
    for (const std::size_t next : launches.followers[l]) {
      if (--launches.waits[next] == 0) ready.insert(next);
    }
  }
  if (order.size() < plan.launches.size()) refuse("launches wait for each other in a circle");
  return order;
}

TokenRun first_run(const Plan& plan, const Task& task) {
  if (task.segments.size() == 0) return {};
  const scheduler::Segment& s = plan.segments[static_cast<std::size_t>(task.segments.begin)];
  const traces::PageTable& pages = plan.forest.pages;
  return {static_cast<std::int32_t>(scheduler::segment_tokens(plan, s)),
          static_cast<std::uint32_t>(pages.first_page[s.node]),
          static_cast<std::uint32_t>(pages.first_offset[s.node] + s.token_begin),
          static_cast<std::uint32_t>(s.row_begin * task.head_count) |
              static_cast<std::uint32_t>(s.row_end * task.head_count) << 16};
}

class Lowering {
 public:
  Lowering(const Plan& plan, const DeviceKernels& kernels) : plan_(plan), kernels_(kernels) {
    lowered_.facts = task_facts(plan);
  }

  DevicePlan run() {
    std::vector<Interval> on_arrival;
    for (const Phase& phase : plan_.phases) {
      if (phase.kind == PhaseKind::steps && phase.start == PhaseStart::on_arrival) on_arrival.push_back(phase.range);
    }
    fused_ = !on_arrival.empty() && !stores_scores(plan_) && count_arrivals(plan_, on_arrival, lowered_);
    for (const LaunchId l : launch_order(plan_)) {
      launch_ = l;
      if (plan_.launches[l].workers > 0) {
        persistent(plan_.launches[l]);
      } else {
        grid(plan_.launches[l]);
      }
    }
    return std::move(lowered_);
  }

 private:
  std::span<const Phase> phases(const Launch& launch) const {
    return std::span(plan_.phases)
        .subspan(static_cast<std::size_t>(launch.phases.begin), static_cast<std::size_t>(launch.phases.size()));
  }
  bool runs_on_arrival(const Phase& phase) const {
    return fused_ && phase.kind == PhaseKind::steps && phase.start == PhaseStart::on_arrival;
  }

  void steps(const Phase& phase) {
    for (const auto& level : step_levels(plan_, phase.range)) {
      DeviceLaunch launch;
      launch.plan_launch = launch_;
      launch.reduce = &reduce_instance(plan_, kernels_.set);
      launch.merge = merge_work(plan_, level);
      const auto rows = static_cast<std::int32_t>(launch.reduce->threads) / 32;
      launch.blocks = (launch.merge.rows + rows - 1) / rows;
      if (launch.blocks > 0) lowered_.launches.push_back(std::move(launch));
    }
  }

  /// One block a copy, phase after phase.
  void grid(const Launch& launch) {
    for (const Phase& phase : phases(launch)) {
      if (runs_on_arrival(phase)) continue;
      if (phase.kind == PhaseKind::steps) {
        steps(phase);
        continue;
      }
      DeviceLaunch l;
      l.plan_launch = launch_;
      const ClusterLayout layout = lay_out_clusters(plan_, phase);
      Wanted want = wanted(plan_, phase);
      want.clusters = layout.cluster > 1;
      l.attend = &task_instance(plan_, kernels_, want);
      l.arrivals = fused_;
      l.items.begin = static_cast<std::int32_t>(lowered_.items.size());
      if (l.attend->clusters) {
        l.cluster = layout.cluster;
        lowered_.mates.resize(lowered_.items.size());
        lowered_.mates.insert(lowered_.mates.end(), layout.mates.begin(), layout.mates.end());
        lowered_.items.insert(lowered_.items.end(), layout.items.begin(), layout.items.end());
      } else {
        add_items(phase.range);
      }
      l.items.end = static_cast<std::int32_t>(lowered_.items.size());
      l.blocks = l.items.size();
      if (l.blocks > 0) lowered_.launches.push_back(std::move(l));
    }
  }
  void add_items(Interval tasks) {
    for (std::int32_t t = tasks.begin; t < tasks.end; ++t) {
      for (std::int32_t copy = 0; copy < plan_.tasks[TaskId(t)].copies; ++copy) {
        lowered_.items.push_back({TaskId(t), copy});
      }
    }
  }

  /// Blocks with queues are dealt their work for a device on which all of them run at once.
  const AttendInstance& resident_instance(const Wanted& want, std::int32_t blocks) const {
    const AttendInstance& first = task_instance(plan_, kernels_, want);
    if (!kernels_.resident_blocks || kernels_.resident_blocks(first) >= blocks) return first;
    DeviceKernels others = kernels_;
    for (others.path = first.path; others.path > KernelPath::plain;) {
      others.path = static_cast<KernelPath>(static_cast<int>(others.path) - 1);
      const AttendInstance& second = task_instance(plan_, others, want);
      if (kernels_.resident_blocks(second) >= blocks) return second;
    }
    refuse(fmt::format("{} blocks with queues, where the device holds {} of {} at once", blocks,
                       kernels_.resident_blocks(first), first.name));
  }

  /// One kernel for all tasks, blocks that stay; steps behind the first barrier run in it, later ones after it.
  void persistent(const Launch& launch) {
    DeviceLaunch l;
    l.plan_launch = launch_;
    l.blocks = launch.workers;
    l.queue_begin = launch.queue_begin;
    l.arrivals = fused_;
    Wanted all;
    bool tasks = false;
    std::vector<const Phase*> after;
    for (const Phase& phase : phases(launch)) {
      if (runs_on_arrival(phase)) continue;
      if (phase.kind == PhaseKind::steps) {
        const auto levels = step_levels(plan_, phase.range);
        const bool inside =
            phase.start == PhaseStart::barrier && l.merge.rows == 0 && after.empty() && levels.size() == 1;
        if (inside) {
          l.merge = merge_work(plan_, levels.front());
        } else {
          after.push_back(&phase);
        }
        continue;
      }
      if (phase.start == PhaseStart::barrier && tasks) refuse("a grid barrier between tasks of one persistent launch");
      if (l.merge.rows > 0 || !after.empty()) refuse("tasks behind the steps of their own launch");
      const Wanted here = wanted(plan_, phase);
      if (here.kind != TaskKind::attend) {
        refuse(fmt::format("{} tasks in a persistent launch", scheduler::kind_name(here.kind)));
      }
      const std::int64_t rows = std::max(all.rows, here.rows);
      if (!tasks || here.query_tile > all.query_tile) all = here;
      all.rows = rows;
      tasks = true;
    }
    if (tasks) {
      l.attend = &resident_instance(all, launch.workers);
      lowered_.launches.push_back(std::move(l));
    }
    for (const Phase* phase : after) steps(*phase);
  }

  const Plan& plan_;
  const DeviceKernels& kernels_;
  DevicePlan lowered_;
  LaunchId launch_;  ///< being lowered
  bool fused_ = false;
};

}  // namespace

std::string_view kernel_path_name(KernelPath path) {
  switch (path) {
    case KernelPath::wgmma:
      return "wgmma";
    case KernelPath::bulk:
      return "bulk";
    case KernelPath::plain:
      break;
  }
  return "plain";
}

std::optional<KernelPath> kernel_path_of(const std::string& name) {
  if (name == "auto") return {};
  for (const KernelPath path : {KernelPath::plain, KernelPath::bulk, KernelPath::wgmma}) {
    if (name == kernel_path_name(path)) return path;
  }
  throw core::usage_error(core::unknown_name("kernel path", name, {"auto", "plain", "bulk", "wgmma"}));
}

std::vector<TaskFacts> task_facts(const Plan& plan) {
  std::vector<TaskFacts> facts;
  facts.reserve(plan.tasks.size());
  for (const Task& task : plan.tasks) {
    std::int64_t tokens = 0;
    bool unmasked = true;
    for (std::int32_t s = task.segments.begin; s < task.segments.end; ++s) {
      const scheduler::Segment& segment = plan.segments[static_cast<std::size_t>(s)];
      tokens += scheduler::segment_tokens(plan, segment);
      unmasked = unmasked && segment.row_begin == 0 && segment.row_end == task.queries.size();
    }
    if (tokens > std::numeric_limits<std::int32_t>::max() - 1024) refuse(fmt::format("a task of {} tokens", tokens));
    facts.push_back({static_cast<std::int32_t>(tokens), unmasked ? 1 : 0, first_run(plan, task)});
  }
  return facts;
}

DevicePlan lower_plan(const Plan& plan, const DeviceKernels& kernels) {
  require_runnable(plan, kernels.set);
  return Lowering(plan, kernels).run();
}

WorkspaceSize workspace_size(const Plan& plan, const DevicePlan& lowered) {
  constexpr std::int64_t kBarrierWords = 2;
  return {plan.workspace_bytes, (lowered.counters + kBarrierWords) * static_cast<std::int64_t>(sizeof(std::uint32_t))};
}

}  // namespace espalier::kernels
