// Lowering of a plan: kernels for phases, items for blocks, steps for launches.
#include "kernels/device_plan.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>
#include <set>

#include "core/error.h"
#include "core/text.h"
#include "kernels/execution_order.h"
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

[[noreturn]] void refuse(const std::string& sentence) {
  throw core::Error(core::ErrorKind::check_failed, "the kernels can't run this plan: " + sentence);
}

bool fits_heads(const AttendInstance& instance, const traces::HeadConfig& heads) {
  return instance.q_dtype == heads.q_dtype && instance.kv_dtype == heads.kv_dtype && instance.qk_dim == heads.qk_dim &&
         instance.v_dim == heads.v_dim && instance.v_in_k == heads.v_in_k;
}

void require_known_kinds(const Plan& plan) {
  for (const Task& task : plan.tasks) {
    if (task.kind == TaskKind::attend || task.kind == TaskKind::padding) continue;
    refuse(fmt::format("no kernel for {} tasks (stored scores)", scheduler::kind_name(task.kind)));
  }
  for (const scheduler::Slot& slot : plan.slots) {
    if (slot.dtype == traces::Dtype::fp8_e4m3) refuse("partial rows in fp8_e4m3");
    if (slot.kind == scheduler::SlotKind::partial && slot.columns != plan.heads.v_dim) {
      refuse(fmt::format("a slot of {} columns for values of {}", slot.columns, plan.heads.v_dim));
    }
  }
}

void require_known_heads(const Plan& plan, const KernelSet& kernels) {
  const bool known = std::any_of(kernels.attend.begin(), kernels.attend.end(), [&](const AttendInstance& i) { return fits_heads(i, plan.heads); });
  if (!known) {
    refuse(fmt::format("no kernel for heads {} with {} queries and a {} cache (64, 128 and 256 columns in bf16; 128 in fp16, and over fp8_e4m3; latent 576:512 in bf16)",
                       traces::heads_text(plan.heads), traces::dtype_name(plan.heads.q_dtype), traces::dtype_name(plan.heads.kv_dtype)));
  }
  if (!(plan.heads.softmax_scale() > 0)) refuse("a softmax scale that isn't positive");
  const auto& ids = plan.forest.pages.page_ids;
  const auto most = ids.empty() ? 0 : *std::max_element(ids.begin(), ids.end());
  if (most > std::numeric_limits<std::int32_t>::max()) refuse(fmt::format("page id {} doesn't fit 32 bits", most));
}

/// Most rows of a copy in a range of tasks.
std::int64_t most_rows(const Plan& plan, Interval tasks) {
  std::int64_t rows = 1;
  for (std::int32_t t = tasks.begin; t < tasks.end; ++t) {
    const Task& task = plan.tasks[TaskId(t)];
    rows = std::max(rows, std::int64_t{task.queries.size()} * task.head_count);
  }
  return rows;
}

/// The tile the plan names, or the next larger one; a smaller one that still holds all rows where there is none.
const AttendInstance& attend_instance(const Plan& plan, const KernelSet& kernels, std::int64_t named, std::int64_t rows) {
  const AttendInstance *at_least = nullptr, *largest = nullptr;
  for (const AttendInstance& i : kernels.attend) {
    if (!fits_heads(i, plan.heads)) continue;
    if (i.query_tile >= std::max(named, rows) && (at_least == nullptr || i.query_tile < at_least->query_tile)) at_least = &i;
    if (largest == nullptr || i.query_tile > largest->query_tile) largest = &i;
  }
  const AttendInstance* chosen = at_least != nullptr ? at_least : largest;
  if (chosen->query_tile < rows) {
    refuse(fmt::format("tasks of {} rows, where the largest tile for heads {} has {}", rows, traces::heads_text(plan.heads), chosen->query_tile));
  }
  return *chosen;
}

const ReduceInstance& reduce_instance(const Plan& plan, const KernelSet& kernels) {
  const auto found = std::find_if(kernels.reduce.begin(), kernels.reduce.end(), [&](const ReduceInstance& r) { return r.v_dim == plan.heads.v_dim; });
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

class Lowering {
 public:
  Lowering(const Plan& plan, const KernelSet& kernels) : plan_(plan), kernels_(kernels) { lowered_.facts = task_facts(plan); }

  DevicePlan run() {
    std::vector<Interval> on_arrival;
    for (const Phase& phase : plan_.phases) {
      if (phase.kind == PhaseKind::steps && phase.start == PhaseStart::on_arrival) on_arrival.push_back(phase.range);
    }
    fused_ = !on_arrival.empty() && count_arrivals(plan_, on_arrival, lowered_);
    for (const LaunchId l : launch_order(plan_)) {
      if (plan_.launches[l].workers > 0) persistent(plan_.launches[l]);
      else grid(plan_.launches[l]);
    }
    return std::move(lowered_);
  }

 private:
  std::span<const Phase> phases(const Launch& launch) const {
    return std::span(plan_.phases).subspan(static_cast<std::size_t>(launch.phases.begin), static_cast<std::size_t>(launch.phases.size()));
  }
  bool runs_on_arrival(const Phase& phase) const { return fused_ && phase.kind == PhaseKind::steps && phase.start == PhaseStart::on_arrival; }

  void steps(const Phase& phase) {
    for (const auto& level : step_levels(plan_, phase.range)) {
      DeviceLaunch launch;
      launch.reduce = &reduce_instance(plan_, kernels_);
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
      l.attend = &attend_instance(plan_, kernels_, plan_.kernels[phase.kernel].query_tile, most_rows(plan_, phase.range));
      l.arrivals = fused_;
      l.items.begin = static_cast<std::int32_t>(lowered_.items.size());
      for (std::int32_t t = phase.range.begin; t < phase.range.end; ++t) {
        for (std::int32_t copy = 0; copy < plan_.tasks[TaskId(t)].copies; ++copy) lowered_.items.push_back({TaskId(t), copy});
      }
      l.items.end = static_cast<std::int32_t>(lowered_.items.size());
      l.blocks = l.items.size();
      if (l.blocks > 0) lowered_.launches.push_back(std::move(l));
    }
  }

  /// One kernel for all tasks, blocks that stay; steps behind the first barrier run in it, later ones after it.
  void persistent(const Launch& launch) {
    DeviceLaunch l;
    l.blocks = launch.workers;
    l.queue_begin = launch.queue_begin;
    l.arrivals = fused_;
    std::int64_t named = 0, rows = 0;
    std::vector<const Phase*> after;
    for (const Phase& phase : phases(launch)) {
      if (runs_on_arrival(phase)) continue;
      if (phase.kind == PhaseKind::steps) {
        const auto levels = step_levels(plan_, phase.range);
        const bool inside = phase.start == PhaseStart::barrier && l.merge.rows == 0 && after.empty() && levels.size() == 1;
        if (inside) l.merge = merge_work(plan_, levels.front());
        else after.push_back(&phase);
        continue;
      }
      if (phase.start == PhaseStart::barrier && named > 0) refuse("a grid barrier between tasks of one persistent launch");
      if (l.merge.rows > 0 || !after.empty()) refuse("tasks behind the steps of their own launch");
      named = std::max<std::int64_t>(named, plan_.kernels[phase.kernel].query_tile);
      rows = std::max(rows, most_rows(plan_, phase.range));
    }
    if (named > 0) {
      l.attend = &attend_instance(plan_, kernels_, named, rows);
      lowered_.launches.push_back(std::move(l));
    }
    for (const Phase* phase : after) steps(*phase);
  }

  const Plan& plan_;
  const KernelSet& kernels_;
  DevicePlan lowered_;
  bool fused_ = false;
};

}  // namespace

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
    facts.push_back({static_cast<std::int32_t>(tokens), unmasked ? 1 : 0});
  }
  return facts;
}

DevicePlan lower_plan(const Plan& plan, const KernelSet& kernels) {
  require_known_kinds(plan);
  require_known_heads(plan, kernels);
  return Lowering(plan, kernels).run();
}

WorkspaceSize workspace_size(const Plan& plan, const DevicePlan& lowered) {
  constexpr std::int64_t kBarrierWords = 2;
  return {plan.workspace_bytes, (lowered.counters + kBarrierWords) * static_cast<std::int64_t>(sizeof(std::uint32_t))};
}

}  // namespace espalier::kernels
