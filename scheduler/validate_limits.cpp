// What the device and its kernels allow: roles and query tiles, residency of persistent workers, queues that hold each
// task copy exactly once, memory.
#include <algorithm>
#include <cmath>

#include "core/text.h"
#include "scheduler/validate_internal.h"

namespace espalier::scheduler::validation {
namespace {

using costmodel::KernelConfig;
using costmodel::KernelRole;
using enum ViolationClass;

/// Beyond these no kernel is one, and products of the fields might not fit their types.
constexpr std::int32_t kMaxTile = 1 << 16;
constexpr std::int32_t kMaxCount = 1 << 12;
constexpr std::int32_t kMaxCluster = 16;  // no device has larger ones

/// Why the numbers of this configuration make no kernel at all; empty when they may be handed to the cost model.
std::string senseless(const KernelConfig& kernel) {
  const auto within = [](std::int32_t value, std::int32_t low, std::int32_t high) {
    return value >= low && value <= high;
  };
  if (kernel.role > KernelRole::values || kernel.engine > costmodel::Engine::cpu) {
    return "its role or engine doesn't exist";
  }
  if (!known_dtype(kernel.partial_dtype)) return "its partial type doesn't exist";
  if (!within(kernel.query_tile, 1, kMaxTile) || !within(kernel.kv_tile, 1, kMaxTile) ||
      !within(kernel.rows_per_warp, 1, kMaxTile)) {
    return "its tiles are out of range";
  }
  if (!within(kernel.stages, 1, kMaxCount) || !within(kernel.warps, 1, kMaxCount) ||
      !within(kernel.registers, 1, kMaxCount) || !within(kernel.cluster, 1, kMaxCluster) || kernel.smem_bytes < 0) {
    return "its resources are out of range";
  }
  if (!std::isfinite(kernel.overlap) || !std::isfinite(kernel.efficiency)) return "its rates are no numbers";
  return {};
}

KernelRole role_for(TaskKind kind) {
  switch (kind) {
    case TaskKind::scores:
      return KernelRole::scores;
    case TaskKind::softmax:
      return KernelRole::softmax;
    case TaskKind::values:
      return KernelRole::values;
    default:
      return KernelRole::attend;
  }
}

/// Roles and rows of one phase of tasks.
void check_task_kernel(const Facts& facts, const Phase& phase, const KernelConfig& kernel, Report& report) {
  for (std::int32_t i = phase.range.begin; i < phase.range.end; ++i) {
    const Task& task = facts.plan.tasks[TaskId(i)];
    if (task.kind == TaskKind::padding) continue;
    if (kernel.role != role_for(task.kind)) {
      report.add(kernel_limit, "task {} is of kind {}, its kernel {} isn't", i, kind_name(task.kind), kernel.name);
      continue;
    }
    // A softmax streams rows through; tiles bind the kernels that multiply.
    if (kernel.role == KernelRole::softmax || !facts.task_good[static_cast<std::size_t>(i)]) continue;
    const std::int64_t rows = std::int64_t{task.queries.size()} * task.head_count;
    if (rows > kernel.query_tile) {
      report.add(kernel_limit, "task {}: {} queries of {} heads are {} rows, the tile of {} takes {}", i,
                 task.queries.size(), task.head_count, rows, kernel.name, kernel.query_tile);
    } else if (!kernel.packs_heads && task.head_count != 1) {
      report.add(kernel_limit, "task {}: {} heads a copy, {} takes one", i, task.head_count, kernel.name);
    }
  }
}

/// CTAs of the launch's task kernels that the device holds at once: the least over its kernels.
std::int64_t resident_ctas(const Facts& facts, const Launch& launch) {
  std::int64_t least = INT64_MAX;
  for (std::int32_t p = launch.phases.begin; p < launch.phases.end; ++p) {
    const Phase& phase = facts.plan.phases[static_cast<std::size_t>(p)];
    const KernelConfig& kernel = facts.plan.kernels[phase.kernel];
    if (phase.kind != PhaseKind::tasks || !senseless(kernel).empty()) continue;
    const std::int64_t per_sm = costmodel::ctas_per_sm(kernel, facts.plan.heads, facts.device);
    least = std::min(least, per_sm * static_cast<std::int64_t>(facts.device.sms));
  }
  return least;
}

template <class F>
void for_queue_items(const Plan& plan, const Launch& launch, F&& visit) {
  for (std::int32_t w = 0; w < launch.workers; ++w) {
    const Interval queue = plan.queues[static_cast<std::size_t>(launch.queue_begin + w)];
    for (std::int32_t i = queue.begin; i < queue.end; ++i) visit(w, plan.queue_items[static_cast<std::size_t>(i)]);
  }
}

/// Tasks by the launch that runs them, rising in each.
std::vector<std::vector<TaskId>> tasks_by_launch(const Facts& facts) {
  std::vector<std::vector<TaskId>> tasks(facts.plan.launches.size());
  for (const TaskId t : core::ids<TaskId>(facts.plan.tasks.size())) {
    const std::int32_t phase = facts.task_phase[t.index()];
    const std::int32_t launch = phase < 0 ? -1 : facts.phase_launch[static_cast<std::size_t>(phase)];
    if (launch >= 0) tasks[static_cast<std::size_t>(launch)].push_back(t);
  }
  return tasks;
}

/// `items`: all of one task, by copy.
void check_copies(const Plan& plan, std::size_t l, TaskId t, std::span<const QueueItem> items, Report& report) {
  const std::int32_t wanted = plan.tasks[t].copies;
  std::int32_t next = 0;
  for (const QueueItem& item : items) {
    const std::int32_t copy = item.copy;
    if (copy < 0 || copy >= wanted) {
      report.add(bad_index, "launch {}: a queue names copy {} of task {}, which has {}", l, copy, t.value, wanted);
      continue;
    }
    if (copy < next) {
      report.add(queue_repeats, "launch {}: copy {} of task {} stands in the queues twice", l, copy, t.value);
    }
    if (copy > next) report.add(queue_misses, "launch {}: copy {} of task {} stands in no queue", l, next, t.value);
    next = std::max(next, copy + 1);
  }
  if (next < wanted) report.add(queue_misses, "launch {}: copy {} of task {} stands in no queue", l, next, t.value);
}

/// Costs what the launch holds, not what the plan does: `own` are the launch's tasks, rising.
void check_each_copy_once(const Plan& plan, std::size_t l, std::span<const TaskId> own, Report& report) {
  std::vector<QueueItem> items;
  for_queue_items(plan, plan.launches.raw()[l], [&](std::int32_t, const QueueItem& item) { items.push_back(item); });
  std::sort(items.begin(), items.end(), [](const QueueItem& a, const QueueItem& b) {
    return a.task != b.task ? a.task < b.task : a.copy < b.copy;
  });
  auto from = items.begin();
  auto next_own = own.begin();
  while (from != items.end() || next_own != own.end()) {
    const bool runs = next_own != own.end() && (from == items.end() || *next_own <= from->task);
    const TaskId t = runs ? *next_own : from->task;
    const auto to = std::find_if(from, items.end(), [&](const QueueItem& item) { return item.task != t; });
    if (runs) {
      check_copies(plan, l, t, {from, to}, report);
      ++next_own;
    } else {
      report.add(queue_repeats, "launch {}: a queue names task {}, which another launch runs", l, t.value);
    }
    from = to;
  }
}

/// A worker that meets a task of after a barrier before one of before it would wait for itself.
void check_queue_order(const Facts& facts, std::size_t l, const Launch& launch, Report& report) {
  std::int32_t worker = -1, passed = 0;
  for_queue_items(facts.plan, launch, [&](std::int32_t w, const QueueItem& item) {
    if (w != worker) passed = 0;
    worker = w;
    const std::int32_t phase = facts.task_phase[item.task.index()];
    if (phase < 0) return;
    const std::int32_t barriers = facts.barriers[static_cast<std::size_t>(phase)];
    if (barriers < passed) {
      report.add(merge_cycle, "launch {}: worker {} meets task {} after tasks that wait for a barrier behind it", l, w,
                 item.task.value);
    }
    passed = std::max(passed, barriers);
  });
}

std::int64_t saturating_mul(std::int64_t a, std::int64_t b) {
  std::int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? INT64_MAX : product;
}

/// Distinct pages the forest touches. Nodes may share a page at their border, and logical pages may name the same
/// physical one.
std::int64_t pages_in_use(const traces::PrefixForest& forest) {
  const traces::PageTable& pages = forest.pages;
  std::vector<std::pair<std::int64_t, std::int64_t>> spans;
  spans.reserve(forest.node_count());
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    const std::int64_t last = pages.first_page[n] + (pages.first_offset[n] + forest.tokens[n] - 1) / pages.page_size;
    spans.emplace_back(pages.first_page[n], last + 1);
  }
  std::sort(spans.begin(), spans.end());
  std::int64_t count = 0, end = 0;
  std::vector<std::int64_t> physical;
  for (const auto& [first, last] : spans) {
    const std::int64_t begin = std::max(first, end);
    if (begin >= last) continue;
    count += last - begin;
    if (!pages.page_ids.empty()) {
      physical.insert(physical.end(), pages.page_ids.begin() + begin, pages.page_ids.begin() + last);
    }
    end = last;
  }
  if (pages.page_ids.empty()) return count;
  std::sort(physical.begin(), physical.end());
  return std::unique(physical.begin(), physical.end()) - physical.begin();
}

}  // namespace

void check_kernels(const Facts& facts, Report& report) {
  const Plan& plan = facts.plan;
  std::vector<char> told(plan.kernels.size(), 0);
  for (std::size_t p = 0; p < plan.phases.size(); ++p) {
    const Phase& phase = plan.phases[p];
    const KernelConfig& kernel = plan.kernels[phase.kernel];
    if (!told[phase.kernel.index()]) {
      told[phase.kernel.index()] = 1;
      std::string reason = senseless(kernel);
      if (reason.empty()) reason = costmodel::unfit_reason(kernel, plan.heads, facts.device);
      if (!reason.empty()) report.add(kernel_limit, "kernel {}: {}", kernel.name, reason);
    }
    if (phase.kind == PhaseKind::tasks) {
      check_task_kernel(facts, phase, kernel, report);
    } else if (phase.range.size() > 0 && kernel.role != KernelRole::reduce) {
      report.add(kernel_limit, "phase {} merges rows, its kernel {} doesn't", p, kernel.name);
    }
  }
}

void check_queues(const Facts& facts, Report& report) {
  const std::vector<std::vector<TaskId>> own = tasks_by_launch(facts);
  for (std::size_t l = 0; l < facts.plan.launches.size(); ++l) {
    const Launch& launch = facts.plan.launches.raw()[l];
    if (launch.workers == 0) continue;
    const std::int64_t resident = resident_ctas(facts, launch);
    if (launch.workers > resident) {
      report.add(queue_workers, "launch {} has queues for {} workers, {} holds {} at once", l, launch.workers,
                 facts.device.name, resident);
    }
    check_each_copy_once(facts.plan, l, own[l], report);
    check_queue_order(facts, l, launch, report);
  }
}

void check_memory(const Facts& facts, Report& report) {
  const Plan& plan = facts.plan;
  const std::int64_t tokens = saturating_mul(pages_in_use(plan.forest), plan.forest.pages.page_size);
  const std::int64_t kv_bytes = saturating_mul(tokens, plan.heads.kv_bytes_per_token());
  const std::int64_t room = facts.device.hbm_bytes();
  if (kv_bytes <= room && plan.workspace_bytes <= room - kv_bytes) return;
  report.add(workspace_too_large, "the workspace takes {} beside {} of KV, {} has {}",
             core::bytes_text(plan.workspace_bytes), core::bytes_text(kv_bytes), facts.device.name,
             core::bytes_text(room));
}

}  // namespace espalier::scheduler::validation
